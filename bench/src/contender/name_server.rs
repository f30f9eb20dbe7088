//! The kernel's bridge with a name server on its gateway's address, from Debian's packages, started by hand: what
//! container runtimes and labs without Tapestry ask.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::bridge::{self, veth};
use super::upstream::{Upstream, dnsmasq, listens};
use super::{Contender, Description, Fabric, GATEWAY, PREFIX_LEN, Plan, Plug, address_of};
use crate::command::{self, Background, require};
use crate::names::{LOCAL_NAMES, NAMES_STATION, local_name};
use crate::trouble::Trouble;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameServer {
    Dnsmasq,
    /// podman's.
    Aardvark,
}

impl Contender for NameServer {
    fn name(&self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Aardvark => "aardvark",
        }
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        let bridge = bridge::Running::start(plan)?;
        let gateway = format!("addr add {GATEWAY}/{PREFIX_LEN} dev br0");
        veth::in_namespace(&bridge.netns, &gateway)?;
        let upstream = Upstream::start(&bridge.netns)?;
        let dir = TempDir::with_prefix("tsybench-").map_err(Trouble::io("no scratch directory"))?;
        let server = match self {
            Self::Dnsmasq => Server::start_dnsmasq(&bridge, dir.path())?,
            Self::Aardvark => Server::start_aardvark(&bridge, dir.path())?,
        };
        listens(&bridge.netns, self.name())?;
        Ok(Box::new(Running {
            server,
            kind: *self,
            bridge,
            _upstream: upstream,
            _dir: dir,
        }))
    }
}

// Fields drop in order: the server before its files and its namespace.
struct Running {
    server: Server,
    kind: NameServer,
    bridge: bridge::Running,
    _upstream: Upstream,
    _dir: TempDir,
}

impl Fabric for Running {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.bridge.attach(plug)
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.bridge.detach(plug)
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.server.pid()]
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        self.bridge.drops()
    }

    fn caches_names(&self) -> bool {
        self.kind != NameServer::Aardvark
    }

    fn describe(&self) -> Description {
        let program = match self.kind {
            NameServer::Dnsmasq => "dnsmasq",
            NameServer::Aardvark => AARDVARK,
        };
        let version = command::run(Command::new(program).arg("--version")).unwrap_or_default();
        Description {
            version: version.lines().next().unwrap_or_default().to_owned(),
            setting: "on a kernel bridge's address".to_owned(),
            ..self.bridge.describe()
        }
    }
}

enum Server {
    Child(Background),
    /// It leaves its parent.
    Daemon(Pid),
}

impl Server {
    fn start_dnsmasq(bridge: &bridge::Running, dir: &Path) -> Result<Self, Trouble> {
        let mut command = dnsmasq(GATEWAY)?;
        command.args(["--cache-size=1000", "--dns-forward-max=1000", "--no-resolv"]);
        command.arg(format!("--server={}", Upstream::ADDRESS));
        let holder = address_of(NAMES_STATION);
        let names = (0..LOCAL_NAMES).map(local_name);
        command.args(names.map(|name| format!("--host-record={name},{holder}")));
        let log = dir.join("log");
        let child = bridge
            .netns
            .enter(|| Background::start(&mut command, &log))??;
        Ok(Self::Child(child))
    }

    /// Its configuration is a file a network: the gateway and the upstream, then a line a container with its id,
    /// addresses and names (config.md of its sources).
    fn start_aardvark(bridge: &bridge::Running, dir: &Path) -> Result<Self, Trouble> {
        require(AARDVARK)?;
        let (client, holder) = (address_of(0), address_of(NAMES_STATION));
        let names: Vec<String> = (0..LOCAL_NAMES).map(local_name).collect();
        let config = format!(
            "{GATEWAY} {}\nc0 {client}  client\nc1 {holder}  {}\n",
            Upstream::ADDRESS,
            names.join(",")
        );
        fs::write(dir.join("bench"), config).map_err(Trouble::io("cannot write a scratch file"))?;
        let mut command = Command::new(AARDVARK);
        command.arg("--config").arg(dir).args(["-p", "53", "run"]);
        bridge.netns.enter(|| command::run(&mut command))??;
        let pid = fs::read_to_string(dir.join("aardvark.pid"));
        let pid = pid.map_err(Trouble::io("aardvark.pid"))?;
        pid.trim()
            .parse()
            .ok()
            .and_then(Pid::from_raw)
            .map(Self::Daemon)
            .ok_or_else(|| Trouble::Unsupported(format!("aardvark.pid: {pid:?}")))
    }

    fn pid(&self) -> u32 {
        match self {
            Self::Child(child) => child.pid(),
            Self::Daemon(pid) => pid.as_raw_nonzero().get().unsigned_abs(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Daemon(pid) = self {
            let _ = kill_process(*pid, Signal::KILL);
        }
    }
}

/// Where Debian has it.
const AARDVARK: &str = "/usr/lib/podman/aardvark-dns";
