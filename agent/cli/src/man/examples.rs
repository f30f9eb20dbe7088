//! What the manual shows of each command: lines that work as they stand, on the networks and containers of the README.

/// A command's words after `tapestry`, and its lines.
pub(super) const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "tapestry network create mynet",
            "tapestry run -d --name web --network mynet -p 8080:80 -- busybox httpd -f -p 80 -h /srv/www",
            "tapestry run --rm --network mynet -- busybox wget -q -O - http://web/",
        ],
    ),
    (
        "agent",
        &[
            "tapestry agent --config /etc/tapestry/agent.toml",
            "tapestry agent --replace",
        ],
    ),
    (
        "network create",
        &[
            "tapestry network create mynet",
            "tapestry network create --subnet 10.1.0.0/24 --gateway 10.1.0.254 --ipv6 office",
            "tapestry network create --driver overlay -o encap=vxlan far",
            "tapestry network create -o vlan=aware campus",
        ],
    ),
    (
        "network ls",
        &["tapestry network ls --filter driver=overlay"],
    ),
    (
        "network inspect",
        &["tapestry network inspect -f '{{.Id}}' mynet"],
    ),
    ("network rm", &["tapestry network rm mynet office"]),
    ("network prune", &["tapestry network prune -f"]),
    (
        "network connect",
        &[
            "tapestry network connect --alias db mynet web",
            "tapestry network connect --vlan 10 --trunk 20-30 campus web",
        ],
    ),
    (
        "network disconnect",
        &["tapestry network disconnect mynet web"],
    ),
    ("network patch", &["tapestry network patch mynet office"]),
    (
        "network unpatch",
        &["tapestry network unpatch mynet office"],
    ),
    (
        "network graph",
        &["tapestry network graph --all --svg > map.svg"],
    ),
    (
        "run",
        &[
            "tapestry run -it --rm -- bash",
            "tapestry run -d --name web --network mynet -p 8080:80 -- busybox httpd -f -p 80 -h /srv/www",
        ],
    ),
    ("ps", &["tapestry ps -a --filter status=exited"]),
    ("exec", &["tapestry exec -it web -- sh"]),
    ("logs", &["tapestry logs -f web"]),
    ("stop", &["tapestry stop -t 30 web"]),
    ("start", &["tapestry start web"]),
    ("restart", &["tapestry restart web"]),
    ("rm", &["tapestry rm -f web"]),
    ("inspect", &["tapestry inspect -f '{{.State.Pid}}' web"]),
    ("fdb ls", &["tapestry fdb ls mynet"]),
    ("mdb ls", &["tapestry mdb ls mynet"]),
    (
        "fdb add",
        &["tapestry fdb add mynet 0a:00:00:00:00:01 web --sticky"],
    ),
    ("fdb rm", &["tapestry fdb rm mynet 0a:00:00:00:00:01"]),
    ("fdb flush", &["tapestry fdb flush mynet"]),
    (
        "acl add",
        &[
            "tapestry acl add mynet deny from label:tier=web to name:db proto tcp port 5432",
            "tapestry acl add --both mynet allow from name:web to gateway proto udp port 53",
        ],
    ),
    ("acl ls", &["tapestry acl ls mynet"]),
    ("acl rm", &["tapestry acl rm mynet 10"]),
    ("acl default", &["tapestry acl default mynet deny"]),
    ("acl label", &["tapestry acl label web tier=front"]),
    ("port", &["tapestry port web"]),
    ("port ls", &["tapestry port ls mynet"]),
    (
        "port set",
        &["tapestry port set web mynet locked=on learn_limit=8"],
    ),
    ("port show", &["tapestry port show web"]),
    ("port up", &["tapestry port up mynet 2"]),
    ("port down", &["tapestry port down mynet 2"]),
    (
        "capture",
        &[
            "tapestry capture mynet -w lab.pcapng tcp port 80",
            "tapestry capture web -w - | wireshark -k -i -",
        ],
    ),
    (
        "mirror add",
        &["tapestry mirror add mynet --from web --to ids"],
    ),
    ("mirror ls", &["tapestry mirror ls mynet"]),
    ("mirror rm", &["tapestry mirror rm mynet --from web"]),
    (
        "link set",
        &["tapestry link set web eth0 --delay 50ms --jitter 5ms --loss 1% --rate 10mbit"],
    ),
    ("link show", &["tapestry link show web"]),
    ("link reset", &["tapestry link reset web"]),
    ("link down", &["tapestry link down web eth0"]),
    ("link up", &["tapestry link up web eth0"]),
    (
        "rate set",
        &[
            "tapestry rate set web --rate 100mbit",
            "tapestry rate set web mynet --ingress-rate 1gbit --egress-rate 100mbit --egress-burst 64kb",
        ],
    ),
    ("rate show", &["tapestry rate show web"]),
    ("rate reset", &["tapestry rate reset web"]),
    ("dns log", &["tapestry dns log mynet"]),
    (
        "trace",
        &[
            "tapestry trace mynet --from web --to 8.8.8.8 --udp 53",
            "tapestry trace mynet --live --drops",
        ],
    ),
    (
        "flows",
        &[
            "tapestry flows mynet --top 5",
            "tapestry flows mynet --live --drops",
        ],
    ),
    (
        "ui",
        &[
            "tapestry ui --listen 127.0.0.1:8080",
            "tapestry ui --set-links",
        ],
    ),
    ("lab up", &["tapestry lab up leaf-spine.clab.yml"]),
    ("lab down", &["tapestry lab down leaf-spine.clab.yml"]),
    ("lab ls", &["tapestry lab ls"]),
    ("lab inspect", &["tapestry lab inspect leaf-spine.clab.yml"]),
    (
        "lab exec",
        &["tapestry lab exec leaf-spine.clab.yml leaf1 -- vtysh -c 'show ip route'"],
    ),
    (
        "lab graph",
        &["tapestry lab graph --svg leaf-spine.clab.yml > lab.svg"],
    ),
    (
        "lab validate",
        &["tapestry lab validate leaf-spine.clab.yml"],
    ),
    (
        "cluster init",
        &["tapestry cluster init --advertise 192.0.2.1"],
    ),
    ("cluster token", &["tapestry cluster token"]),
    ("cluster join", &["tapestry cluster join TOKEN 192.0.2.1"]),
    ("cluster leave", &["tapestry cluster leave"]),
    ("cluster ls", &["tapestry cluster ls"]),
    ("cluster promote", &["tapestry cluster promote host-2"]),
    ("cluster demote", &["tapestry cluster demote host-2"]),
    ("cluster managers", &["tapestry cluster managers 192.0.2.2"]),
    ("cluster revoke", &["tapestry cluster revoke host-3"]),
    ("cluster rm", &["tapestry cluster rm host-3"]),
    ("cluster recover", &["tapestry cluster recover"]),
    (
        "cluster backup",
        &["tapestry cluster backup - | ssh vault 'cat > cluster.backup'"],
    ),
    (
        "cluster restore",
        &["tapestry cluster restore cluster.backup"],
    ),
    ("cluster ca rotate", &["tapestry cluster ca rotate"]),
    (
        "events",
        &[
            "tapestry events --since 10m --filter type=container",
            "tapestry events --json --filter network=mynet --filter event=storm",
        ],
    ),
    ("top", &["tapestry top", "tapestry top --once mynet"]),
    ("doctor", &["tapestry doctor"]),
    (
        "completions",
        &["tapestry completions bash > /etc/bash_completion.d/tapestry"],
    ),
    ("man", &["tapestry man | man -l -"]),
    ("help", &["tapestry help network create"]),
];
