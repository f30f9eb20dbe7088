//! A Docker daemon of the run's own: its data, its plugins and its containers' cgroup go with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{self, Background, require};
use crate::contender::{Plug, SUBNET, gateway};
use crate::interrupt::eventually;
use crate::netns::Netns;
use crate::trouble::Trouble;

/// A running daemon. Its namespace must outlive it.
// Fields drop in order: the process before its cgroup and its files.
pub(super) struct Dockerd {
    process: Background,
    _cgroup: Cgroup,
    dir: TempDir,
}

impl Dockerd {
    /// Starts a daemon inside `netns`, with one image, and waits until it answers.
    pub(super) fn start(netns: &Netns) -> Result<Self, Trouble> {
        require("dockerd")?;
        // Short: the path of a unix socket ends at 107 bytes.
        let dir = TempDir::with_prefix("tsyb").map_err(Trouble::io("no scratch directory"))?;
        let at = |name: &str| dir.path().join(name);
        for folder in ["data", "exec", "plugins", "image/bin"] {
            fs::create_dir_all(at(folder)).map_err(Trouble::io(folder))?;
        }
        fs::write(at("daemon.json"), "{}").map_err(Trouble::io("daemon.json"))?;
        let mut command = Command::new("unshare");
        // What it would look for in everybody's /run and /etc is its own.
        command.args([
            "--mount",
            "--propagation",
            "slave",
            "sh",
            "-ec",
            SCRIPT,
            "sh",
        ]);
        command.arg(dir.path()).arg(netns.name());
        let process = netns.enter(|| Background::start(&mut command, &at("log")))??;
        let mut daemon = Self {
            process,
            _cgroup: Cgroup(netns.name().to_owned()),
            dir,
        };
        daemon.wait()?;
        daemon.import()?;
        Ok(daemon)
    }

    /// What tells an agent where the daemon looks for its plugin, and where the daemon listens.
    pub(super) fn plugin_table(&self) -> String {
        let plugin = self.dir.path().join("plugins/tapestry.sock");
        let engine = self.dir.path().join("sock");
        format!("plugin = {plugin:?}\nengine = {engine:?}")
    }

    pub(super) fn version(&self) -> String {
        let version = self.docker(&["version", "-f", "{{.Server.Version}}"]);
        format!("dockerd {}", version.unwrap_or_default())
    }

    pub(super) fn docker(&self, arguments: &[&str]) -> Result<String, Trouble> {
        let mut command = Command::new("docker");
        command.arg("-H").arg(self.socket()).args(arguments);
        command::run(&mut command).map(|said| said.trim().to_owned())
    }

    /// Makes the network that containers get.
    pub(super) fn create_network(&self, options: &[&str]) -> Result<(), Trouble> {
        let gateway = gateway().to_string();
        let head = [
            "network",
            "create",
            "--subnet",
            SUBNET,
            "--gateway",
            &gateway,
        ];
        let arguments = [&head[..], options, &[NETWORK]].concat();
        self.docker(&arguments).map(drop)
    }

    /// Starts a container, whose namespace becomes the plug's.
    pub(super) fn attach(&self, plug: &Plug<'_>, options: &[&str]) -> Result<(), Trouble> {
        let (name, address) = (container_of(plug), plug.address.to_string());
        let head = ["run", "-d", "--init", "--name", &name, "--network", NETWORK];
        let tail = ["--ip", &address, IMAGE, "sleep", "1000000"];
        self.docker(&[&head[..], options, &tail[..]].concat())?;
        let pid = self.docker(&["inspect", "-f", "{{.State.Pid}}", &name])?;
        let path = plug.netns.path();
        command::run(Command::new("umount").arg(&path))?;
        let mut bind = Command::new("mount");
        bind.args(["--bind", &format!("/proc/{pid}/ns/net")])
            .arg(&path);
        command::run(&mut bind).map(drop)
    }

    pub(super) fn detach(&self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.docker(&["rm", "-f", &container_of(plug)]).map(drop)
    }

    pub(super) fn run(&self, network: &str) -> Result<(), Trouble> {
        let arguments = ["run", "--rm", "--init", "--network", network, IMAGE, "true"];
        self.docker(&arguments).map(drop)
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.dir.path().join("sock").display())
    }

    fn wait(&mut self) -> Result<(), Trouble> {
        eventually(Duration::from_secs(30), "dockerd answers", || {
            if self.process.has_ended() {
                let log = fs::read_to_string(self.dir.path().join("log"));
                let log = log.unwrap_or_default();
                let reason = log.lines().last().unwrap_or_default().to_owned();
                let command = "dockerd".to_owned();
                return Err(Trouble::Command { command, reason });
            }
            Ok(self.docker(&["version"]).ok())
        })
        .map(drop)
    }

    /// An image of busybox alone.
    fn import(&self) -> Result<(), Trouble> {
        let image = self.dir.path().join("image");
        let busybox = which("busybox")?;
        let copied = fs::copy(busybox, image.join("bin/busybox"));
        copied.map_err(Trouble::io("busybox"))?;
        for applet in ["sh", "sleep", "true"] {
            let link = image.join("bin").join(applet);
            std::os::unix::fs::symlink("busybox", link).map_err(Trouble::io(applet))?;
        }
        let archive = self.dir.path().join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(&archive).arg("-C").arg(&image).arg(".");
        command::run(&mut tar)?;
        let archive = archive.to_string_lossy();
        self.docker(&["import", "-c", "ENV PATH=/bin", &archive, IMAGE])
            .map(drop)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // Asked to end, it would wait for each of them.
        let left = self.docker(&["ps", "-aq"]).unwrap_or_default();
        let left: Vec<_> = left.split_whitespace().collect();
        if !left.is_empty() {
            let _ = self.docker(&[&["rm", "-f"], &left[..]].concat());
        }
    }
}

/// What the daemon and its containers are accounted to. Dropping it removes what is empty by then.
struct Cgroup(String);

impl Drop for Cgroup {
    fn drop(&mut self) {
        let hierarchies = fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten();
        for hierarchy in hierarchies {
            remove_below(&hierarchy.path().join(&self.0));
        }
        remove_below(&Path::new("/sys/fs/cgroup").join(&self.0));
    }
}

fn remove_below(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}

fn which(program: &str) -> Result<PathBuf, Trouble> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(program));
    found
        .find(|file| file.exists())
        .ok_or_else(|| Trouble::NotInstalled {
            program: program.to_owned(),
        })
}

fn container_of(plug: &Plug<'_>) -> String {
    format!("s{}", u32::from(plug.address))
}

/// What is published of a container that traffic from outside is for.
pub(super) fn published() -> String {
    format!("{PUBLISHED}:{PUBLISHED}")
}

/// iperf3's own TCP port.
const PUBLISHED: u16 = 5201;

pub(super) const NETWORK: &str = "bench";
const IMAGE: &str = "bench:1";
const SCRIPT: &str = r#"
mount -t tmpfs tmpfs /run
[ ! -d /etc/docker ] || mount -t tmpfs tmpfs /etc/docker
mkdir -p /run/docker/plugins
mount --bind "$1/plugins" /run/docker/plugins
exec dockerd --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" --config-file "$1/daemon.json" \
    --cgroup-parent "/$2" --host "unix://$1/sock"
"#;
