//! A host: a namespace with an agent in it, and a way out.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent_api::{
    ContainerDetail, ContainerState, ContainerSummary, EndpointSettings, NetworkDetail,
    NetworkSummary, PortView,
};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::leftovers::{kill_strays, lasting_leftovers, remove_groups};
use super::{Endpoint, Mounts, Netns, Output, Reply, Terminal, eventually, request};

/// The agent's host. Everything of it lives in `netns` and under one scratch directory.
pub(crate) struct Host {
    pub(crate) netns: Netns,
    /// The rest of the world, with a name server.
    pub(crate) outside: Netns,
    dir: TempDir,
    name_server: Child,
    agent: Mutex<Option<Child>>,
    /// Whose mount namespace the agent is in, where it is not the test's own.
    pub(crate) mounts: Option<u32>,
}

impl Host {
    /// With a running agent.
    pub(crate) fn start() -> Self {
        let host = Self::without_agent();
        host.launch();
        host
    }

    /// For tests that prepare the host first; [`Host::launch`] starts the agent.
    pub(crate) fn without_agent() -> Self {
        let (netns, outside) = (Netns::new("host"), Netns::new("out"));
        join(&netns, &outside);
        // Short names: a container's sockets live below, and the path of a unix socket has 107 bytes.
        let dir = TempDir::with_prefix("t").unwrap();
        fs::write(
            dir.path().join("resolv.conf"),
            format!("nameserver {OUTSIDE_IP}\n"),
        )
        .unwrap();
        let host_resolv_conf = dir.path().join("resolv.conf");
        fs::write(
            dir.path().join("agent.toml"),
            // A Docker that runs on this machine has nothing to do with the test.
            format!("[dns]\nresolv_conf = {host_resolv_conf:?}\n[docker]\nplugin = \"off\"\n"),
        )
        .unwrap();
        let name_server = serve_names(&outside, dir.path());
        Self {
            netns,
            outside,
            dir,
            name_server,
            agent: Mutex::new(None),
            mounts: None,
        }
    }

    /// Starts the agent, for the first time or again, and waits until it answers.
    pub(crate) fn launch(&self) {
        self.launch_with(|_| {});
    }

    /// The same, after `prepare` has changed the command.
    pub(crate) fn launch_with(&self, prepare: impl FnOnce(&mut Command)) {
        let mut command = self.agent_command();
        self.keep_log(&mut command);
        prepare(&mut command);
        self.wait_for(command);
    }

    /// The same with an `nft` of the test's own, a link to the real one as yet: where it is.
    pub(crate) fn launch_with_own_nft(&self) -> PathBuf {
        let nft = self.own_nft();
        self.launch_with(|command| {
            command.env("PATH", self.own_path());
        });
        nft
    }

    /// Makes an `nft` of the test's own, which is found by [`Host::own_path`].
    pub(crate) fn own_nft(&self) -> PathBuf {
        let nft = self.dir().join("nft");
        self.netns
            .sh(&format!("ln -s $(command -v nft) {}", nft.display()));
        nft
    }

    /// A search path with the test's own programs first.
    pub(crate) fn own_path(&self) -> String {
        let path = std::env::var("PATH").unwrap();
        format!("{}:{path}", self.dir().display())
    }

    /// The same as systemd would, with a descriptor by that name (sd_listen_fds(3)).
    pub(crate) fn launch_handed(&self, name: &str, descriptor: OwnedFd) {
        let agent = self.agent_command();
        let script = r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ exec "$@""#;
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh"])
            .arg(agent.get_program())
            .args(agent.get_args())
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", name);
        self.keep_log(&mut command);
        command.stdin(descriptor);
        self.wait_for(command);
    }

    /// Starts the agent in a mount namespace of this host's.
    pub(crate) fn launch_in(&self, mounts: &Mounts) {
        let mut command = mounts.inside(&self.agent_command());
        self.keep_log(&mut command);
        self.wait_for(command);
    }

    fn keep_log(&self, command: &mut Command) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
    }

    fn wait_for(&self, mut command: Command) {
        let mut child = self.netns.enter(|| command.spawn()).unwrap();
        eventually(Duration::from_secs(10), "the agent answers", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the agent ended with {status}:\n{}", self.log());
            }
            request(&self.socket(), "GET", "/v1/version", None)
                .ok()
                .filter(|reply| reply.status == 200)
        });
        *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    }

    /// `tapestry agent` with this host's paths, not yet started.
    pub(crate) fn agent_command(&self) -> Command {
        let mut command = self.in_mounts(&binary());
        command.arg("agent").arg("--socket").arg(self.socket());
        command
            .arg("--state-dir")
            .arg(self.state_dir())
            .arg("--config")
            .arg(self.dir.path().join("agent.toml"));
        command
    }

    /// A program where the agent is.
    pub(crate) fn in_mounts(&self, program: &Path) -> Command {
        let Some(pid) = self.mounts else {
            return Command::new(program);
        };
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid.to_string(), "--mount", "--wd=/", "--"]);
        command.arg(program);
        command
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("a.sock")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    /// A place for a test's own files.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the agent wrote so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("agent.log")
    }

    /// The process of the running agent proper, which its guardian started.
    pub(crate) fn agent_pid(&self) -> Pid {
        let guardian = self.guardian_pid();
        eventually(Duration::from_secs(5), "the agent runs", || {
            child_of(guardian)
        })
    }

    /// All that the guardian has started: two while one takes the place of another.
    pub(crate) fn agents(&self) -> Vec<Pid> {
        children_of(self.guardian_pid())
    }

    /// The process that this host started.
    pub(crate) fn guardian_pid(&self) -> Pid {
        let agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        Pid::from_child(agent.as_ref().expect("the agent runs"))
    }

    /// Kills the agent and its guardian, and waits for neither.
    pub(crate) fn kill_both(&self) {
        kill_at_once(self.guardian_pid(), Some(self.agent_pid()));
    }

    /// Kills the agent proper, which its guardian starts again, and waits until that answers.
    pub(crate) fn kill_agent_proper(&self) {
        let before = self.agent_pid();
        kill_process(before, Signal::KILL).unwrap();
        eventually(Duration::from_secs(10), "another agent runs", || {
            child_of(self.guardian_pid()).filter(|now| *now != before)
        });
        eventually(Duration::from_secs(10), "the agent answers", || {
            self.try_api("GET", "/v1/version", None).ok()
        });
    }

    /// User and system time of all the agent's threads so far (proc(5), `stat`).
    pub(crate) fn agent_processor_time(&self) -> Duration {
        self.processor_time(2)
    }

    /// The same with that of the programs which it has started, and which have ended.
    pub(crate) fn agent_work(&self) -> Duration {
        self.processor_time(4)
    }

    /// The sum of so many fields of proc_pid_stat(5) from `utime` on.
    fn processor_time(&self, fields: usize) -> Duration {
        let pid = self.agent_pid().as_raw_nonzero();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        let ticks: u64 = after_name
            .split_whitespace()
            .skip(11)
            .take(fields)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 1000 / clock_ticks_per_second())
    }

    /// Ends the agent and its guardian with `signal` and waits for both.
    pub(crate) fn stop_agent(&self, signal: Signal) {
        let Some(mut child) = self
            .agent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return;
        };
        let guardian = Pid::from_child(&child);
        let proper = child_of(guardian);
        match signal {
            Signal::KILL => kill_at_once(guardian, proper),
            signal => kill_process(guardian, signal).unwrap(),
        }
        eventually(Duration::from_secs(15), "the agent ends", || {
            child.try_wait().unwrap()
        });
        eventually(Duration::from_secs(5), "the agent proper ends", || {
            proper.is_none_or(is_gone).then_some(())
        });
    }

    /// `tapestry` with `arguments`, against this agent.
    pub(crate) fn tapestry(&self, arguments: &[&str]) -> Output {
        self.netns.run(&mut self.command(arguments))
    }

    /// The same, not yet started; to be spawned inside `netns`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env("TAPESTRY_SOCKET", self.socket());
        command
    }

    /// The same, spawned with pipes.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.netns.enter(|| command.spawn()).unwrap()
    }

    /// The same, with a terminal.
    pub(crate) fn terminal(&self, arguments: &[&str]) -> Terminal {
        self.netns.enter(|| Terminal::open(self.command(arguments)))
    }

    /// Starts a container that does nothing on `network`.
    #[track_caller]
    pub(crate) fn idle(&self, name: &str, network: &str, options: &[&str]) {
        let head = ["run", "-d", "--name", name, "--network", network];
        let tail = ["--", "sleep", "1000"];
        self.tapestry(&[&head[..], options, &tail[..]].concat())
            .ok();
    }

    /// Runs a shell script in a container.
    pub(crate) fn exec(&self, container: &str, script: &str) -> Output {
        self.tapestry(&["exec", container, "--", "sh", "-c", script])
    }

    pub(crate) fn try_api(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> std::io::Result<Reply> {
        request(&self.socket(), method, path, body)
    }

    #[track_caller]
    pub(crate) fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        self.try_api(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()))
    }

    pub(crate) fn networks(&self) -> Vec<NetworkSummary> {
        self.api("GET", "/v1/networks", None).ok()
    }

    #[track_caller]
    pub(crate) fn network(&self, name: &str) -> NetworkDetail {
        self.api("GET", &format!("/v1/networks/{name}"), None).ok()
    }

    pub(crate) fn ports(&self, network: &str) -> Vec<PortView> {
        self.api("GET", &format!("/v1/networks/{network}/ports"), None)
            .ok()
    }

    pub(crate) fn containers(&self) -> Vec<ContainerSummary> {
        self.api("GET", "/v1/containers", None).ok()
    }

    #[track_caller]
    pub(crate) fn container(&self, name: &str) -> ContainerDetail {
        self.api("GET", &format!("/v1/containers/{name}"), None)
            .ok()
    }

    pub(crate) fn is_known(&self, container: &str) -> bool {
        self.containers()
            .iter()
            .any(|known| known.name == container)
    }

    /// The container's first process, as the host numbers it.
    #[track_caller]
    pub(crate) fn pid(&self, container: &str) -> Pid {
        let state = self.container(container).summary.state;
        let ContainerState::Running { pid } = state else {
            panic!("{container} is {state:?}")
        };
        Pid::from_raw(pid).unwrap()
    }

    /// The container's network namespace.
    #[track_caller]
    pub(crate) fn sandbox(&self, container: &str) -> PathBuf {
        self.container(container)
            .sandbox
            .unwrap_or_else(|| panic!("{container} does not run"))
    }

    /// The container's first address of the family of `like`.
    #[track_caller]
    fn address(&self, container: &str, like: IpAddr) -> IpAddr {
        let detail = self.container(container);
        let mut addresses = detail
            .endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.addresses)
            .map(|net| net.addr());
        addresses
            .find(|address| address.is_ipv4() == like.is_ipv4())
            .unwrap_or_else(|| panic!("{detail:#?}"))
    }

    #[track_caller]
    pub(crate) fn ipv4(&self, container: &str) -> IpAddr {
        self.address(container, Ipv4Addr::UNSPECIFIED.into())
    }

    #[track_caller]
    pub(crate) fn ipv6(&self, container: &str) -> IpAddr {
        self.address(container, Ipv6Addr::UNSPECIFIED.into())
    }

    /// Attaches a new namespace to `network`.
    #[track_caller]
    pub(crate) fn endpoint(&self, network: &str, name: &str) -> Endpoint<'_> {
        Endpoint::attach(self, network, name, EndpointSettings::default())
    }

    /// Attaches a new namespace to `network`, as the settings say.
    #[track_caller]
    pub(crate) fn endpoint_with(
        &self,
        network: &str,
        name: &str,
        settings: EndpointSettings,
    ) -> Endpoint<'_> {
        Endpoint::attach(self, network, name, settings)
    }

    /// Attaches a namespace that the test has prepared.
    #[track_caller]
    pub(crate) fn endpoint_in(&self, network: &str, name: &str, netns: Netns) -> Endpoint<'_> {
        Endpoint::attach_namespace(self, network, name, EndpointSettings::default(), netns)
    }

    fn remove_everything(&self) {
        let Ok(containers) = self.try_api("GET", "/v1/containers", None) else {
            return;
        };
        for container in containers.ok::<Vec<ContainerSummary>>() {
            self.tapestry(&["rm", "-f", &container.name]);
        }
        for name in self.made_networks() {
            self.remove_network(&name);
        }
    }

    /// The agent notices within a second that sandboxes have gone, and that nobody is on the network any more.
    fn remove_network(&self, name: &str) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.tapestry(&["network", "rm", name]).status != 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The names of networks that are not there by themselves.
    pub(crate) fn made_networks(&self) -> Vec<String> {
        let names = self.networks().into_iter().map(|network| network.name);
        names
            .filter(|name| !PREDEFINED.contains(&name.as_str()))
            .collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the agent's log\n{}", self.log());
        } else {
            self.remove_everything();
            self.stop_agent(Signal::TERM);
        }
        let agent = self
            .agent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        for mut child in agent.into_iter() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.name_server.kill();
        let _ = self.name_server.wait();
        let left = if std::thread::panicking() {
            Vec::new()
        } else {
            lasting_leftovers(&self.netns, self.dir.path())
        };
        kill_strays(self.dir.path());
        remove_groups(self.dir.path());
        if !left.is_empty() {
            eprintln!("--- the agent's log\n{}", self.log());
        }
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

/// The process that `parent` started, if there is one.
pub(crate) fn child_of(parent: Pid) -> Option<Pid> {
    children_of(parent).first().copied()
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let children = children.unwrap_or_default();
    let pids = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}

/// Neither gets a moment to notice that the other has gone. They may have gone before.
fn kill_at_once(guardian: Pid, proper: Option<Pid>) {
    let _ = kill_process(guardian, Signal::STOP);
    for pid in proper.into_iter().chain([guardian]) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Whether nothing of the process is left but its entry, which stays until somebody has asked for it. The first of its threads may
/// be dead while others still close what it had.
fn is_gone(pid: Pid) -> bool {
    let proc = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let stat = fs::read_to_string(proc.join("stat")).unwrap_or_default();
    let threads = fs::read_dir(proc.join("task")).map_or(0, Iterator::count);
    stat.is_empty() || (stat.contains(") Z ") && threads == 1)
}

/// The built command: `TAPESTRY` where set, else the one next to this test, which has to be as new as its sources.
pub(crate) fn binary() -> PathBuf {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(named) = std::env::var_os("TAPESTRY") {
            return named.into();
        }
        let test = std::env::current_exe().unwrap();
        let built = test.ancestors().nth(2).unwrap().join("tapestry");
        fresh::check(&built).unwrap_or_else(|refusal| panic!("{refusal}"));
        built
    });
    BINARY.clone()
}

/// A veth pair between the host and the outside, which also owns [`OUTSIDE_NAME_SERVER`].
fn join(host: &Netns, outside: &Netns) {
    let (near, far) = (host.name(), outside.name());
    host.sh(&format!(
        "ip link add up0 type veth peer name up0 netns {far}"
    ));
    // Duplicate address detection would keep IPv6 silent for the first seconds.
    for end in [host, outside] {
        end.sh("echo 0 >/proc/sys/net/ipv6/conf/up0/accept_dad");
    }
    host.sh(&format!(
        "ip addr add {HOST_IP}/24 dev up0; ip addr add {HOST_IP6}/64 dev up0 nodad; ip link set up0 up
         ip route add default via {OUTSIDE_IP}; ip route add default via {OUTSIDE_IP6} || true"
    ));
    outside.sh(&format!(
        "ip addr add {OUTSIDE_IP}/24 dev up0; ip addr add {OUTSIDE_IP6}/64 dev up0 nodad; ip link set up0 up
         ip addr add {OUTSIDE_NAME_SERVER}/32 dev lo"
    ));
    eventually(
        Duration::from_secs(5),
        &format!("{near} reaches {far}"),
        || host.pings(OUTSIDE_IP).then_some(()),
    );
}

fn serve_names(outside: &Netns, dir: &Path) -> Child {
    let mut command = Command::new("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--pid-file=",
        "--user=root",
    ]);
    command.args([
        "--cname=www.example.com,www.example.com.edge.example.net",
        "--local=/example.com/",
        "--local=/example.net/",
    ]);
    command.arg("--host-record=www.example.com.edge.example.net,203.0.113.80,2001:db8:80::80");
    command.arg("--host-record=plain.example.com,203.0.113.81");
    let log = File::create(dir.join("names.log")).unwrap();
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    outside
        .enter(|| command.spawn())
        .unwrap_or_else(|error| panic!("dnsmasq: {error}; scripts/setup test installs it"))
}

pub(crate) const HOST_IP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub(crate) const OUTSIDE_IP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub(crate) const HOST_IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 1);
pub(crate) const OUTSIDE_IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 2);
pub(crate) const OUTSIDE_NAME_SERVER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];
