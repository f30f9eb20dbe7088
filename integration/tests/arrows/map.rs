//! The house's plan: which crate may depend on which, and why; and what no core may reach.
//!
//! A crate that is new, or that needs another one, gets a line here with its reason.

/// From, to, reason.
pub(crate) const ARROWS: &[(&str, &str, &str)] = &[
    (
        "switch-io",
        "switch-core",
        "moves the frames that its core decides about",
    ),
    (
        "overlay-core",
        "switch-core",
        "cuts and rebuilds its frames, and speaks of Mac and Vni",
    ),
    (
        "overlay-io",
        "overlay-core",
        "drives the state machines of its core",
    ),
    ("overlay-io", "switch-core", "speaks of Mac and Vni"),
    (
        "overlay-io",
        "switch-io",
        "FramePort, so that a tunnel looks like a TAP",
    ),
    ("overlay-lab", "overlay-core", "names the hosts of a test"),
    ("overlay-lab", "overlay-io", "connects them"),
    ("overlay-lab", "switch-core", "gives each a network"),
    ("overlay-lab", "switch-io", "and containers at its switch"),
    ("overlay-lab", "switch-lab", "has them live in stations"),
    ("dns-io", "dns-core", "asks upstream what its core forwards"),
    ("agent-api", "switch-core", "checks a MAC where it is read"),
    (
        "agent-core",
        "agent-api",
        "plans what is asked in its types, and refuses in its errors",
    ),
    (
        "agent-core",
        "dns-core",
        "one grammar of names, for a network's records and for search domains",
    ),
    (
        "agent-core",
        "switch-core",
        "says how a bridge treats a port, and speaks of Mac and Vni",
    ),
    (
        "agent-cluster",
        "agent-api",
        "says in the API's words whether a port is of TCP or UDP",
    ),
    (
        "agent-cluster",
        "agent-core",
        "checks names, and names the ports that hosts need",
    ),
    (
        "agent-cluster",
        "agent-store",
        "shares through etcd what all hosts know",
    ),
    (
        "agent-cluster",
        "overlay-io",
        "gives tunnels the credentials of this host",
    ),
    (
        "agent-host",
        "agent-api",
        "publishes the runs of ports that its requests name",
    ),
    (
        "agent-host",
        "agent-core",
        "does to the kernel what its plans and rules say",
    ),
    ("agent-daemon", "agent-api", "serves it"),
    (
        "agent-daemon",
        "agent-container",
        "starts the shim of each container, and asks and ends it",
    ),
    (
        "agent-daemon",
        "agent-core",
        "does what it plans, and keeps its records",
    ),
    (
        "agent-daemon",
        "agent-cluster",
        "makes, joins and follows a cluster",
    ),
    (
        "agent-daemon",
        "agent-store",
        "remembers what it was asked for",
    ),
    (
        "agent-daemon",
        "agent-host",
        "changes links, settings and ports as its networks need them",
    ),
    ("agent-daemon", "switch-core", "makes bridges and edges"),
    ("agent-daemon", "switch-io", "gives them ports and workers"),
    ("agent-daemon", "overlay-core", "names peers and tunnels"),
    ("agent-daemon", "overlay-io", "raises tunnels"),
    ("agent-daemon", "dns-core", "fills a zone per network"),
    (
        "agent-daemon",
        "dns-io",
        "forwards the rest to the host's servers",
    ),
    ("tapestry", "agent-api", "every command is a request"),
    (
        "tapestry",
        "integration",
        "container runtimes call the command as their plugin",
    ),
    (
        "tapestry",
        "agent-container",
        "is the shim and the init, and attaches a terminal",
    ),
    (
        "tapestry",
        "agent-core",
        "its doctor says which subnet the next network gets",
    ),
    (
        "tapestry",
        "agent-host",
        "its doctor looks at the host as the agent does",
    ),
    (
        "tapestry",
        "agent-daemon",
        "`tapestry agent` is the daemon, and one binary is enough",
    ),
    (
        "tapestry",
        "switch-core",
        "takes a capture apart, and names the instructions of a filter",
    ),
    ("bench", "agent-api", "attaches its stations to an agent"),
    ("bench", "fresh", "measures no binary that is old"),
    ("bench", "switch-core", "times decisions by themselves"),
    ("bench", "switch-io", "sends frames through packet sockets"),
    (
        "integration",
        "agent-api",
        "plugins are clients of the agent like any other",
    ),
    (
        "integration",
        "agent-container",
        "reads the logs of labs' nodes, which the agent passes on as the shim wrote them",
    ),
    ("fuzz", "agent-api", "asks what anybody may ask"),
    (
        "fuzz",
        "agent-cluster",
        "says to the signer what a stranger may say",
    ),
    (
        "fuzz",
        "agent-container",
        "speaks to a container as its clients do",
    ),
    (
        "fuzz",
        "agent-core",
        "has it plan, and keeps what comes of it",
    ),
    ("fuzz", "agent-daemon", "writes its configuration"),
    ("fuzz", "agent-host", "answers as the kernel does"),
    ("fuzz", "agent-store", "asks a manager as members do"),
    (
        "fuzz",
        "dns-core",
        "asks, and answers as servers upstream do",
    ),
    (
        "fuzz",
        "integration",
        "calls the plugins as container runtimes do",
    ),
    ("fuzz", "overlay-core", "sends datagrams as other hosts do"),
    ("fuzz", "switch-core", "sends frames as containers do"),
    ("fuzz", "switch-lab", "puts their checksums right"),
];

/// What no core may touch: whoever links one of these can do I/O.
pub(crate) const SANS_IO: &[(&str, &str)] = &[
    ("axum", "an HTTP server"),
    ("hickory-resolver", "sockets and a runtime"),
    ("hyper", "an HTTP implementation on a runtime"),
    ("io-uring", "system calls"),
    ("libc", "system calls"),
    ("mio", "system calls"),
    ("nix", "system calls"),
    ("quinn", "sockets and a runtime; quinn-proto is the core"),
    ("rustix", "system calls"),
    ("socket2", "sockets"),
    ("tokio", "a runtime, clocks and sockets"),
    ("tracing", "logs"),
    ("tun-tap", "devices"),
];

/// Where a core reaches one of [`SANS_IO`] all the same, below crates of others: from, to, reason.
pub(crate) const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "getrandom",
        "libc",
        "hickory-proto draws the numbers of questions of its own with it; our cores ask none",
    ),
    (
        "hickory-proto",
        "tracing",
        "it logs what is odd in a message, where somebody listens",
    ),
    (
        "parking_lot_core",
        "libc",
        "a futex, where two threads meet at one shard of a table",
    ),
];
