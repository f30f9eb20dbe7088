//! A dockerd of the test's own beside an agent, on one host.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Host, Output, eventually, run};

/// Both are in one network namespace. The engine is in a mount namespace in which `/run/docker` is the test's, and so is the agent
/// unless the test wants them apart.
// Fields drop in order: the host's agent before the mount namespace that it is in.
pub(crate) struct Docker {
    pub(crate) host: Host,
    daemon: Mutex<Option<Child>>,
    options: &'static [&'static str],
    mounts: Mounts,
}

impl Docker {
    /// With a running agent and a running engine.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with options for dockerd.
    pub(super) fn start_with(options: &'static [&'static str]) -> Self {
        let docker = Self::beside(Host::without_agent(), options);
        docker.host.launch();
        docker.launch();
        docker.import();
        docker
    }

    /// The same, with an agent that has none of the engine's mounts: neither its `/run/docker`, nor the namespaces of its
    /// sandboxes.
    pub(super) fn start_apart() -> Self {
        let mut docker = Self::beside(Host::without_agent(), &[]);
        docker.host.mounts = None;
        let config = docker.host.dir().join("agent.toml");
        let text = fs::read_to_string(&config).unwrap();
        let plugin = format!("plugin = {:?}", docker.plugin());
        fs::write(&config, text.replace("plugin = \"auto\"", &plugin)).unwrap();
        docker.host.launch();
        docker.launch();
        docker.import();
        docker
    }

    /// With a running engine, which has no agent beside it.
    pub(super) fn start_alone() -> Self {
        let docker = Self::beside(Host::without_agent(), &[]);
        docker.launch();
        docker.import();
        docker
    }

    /// On a host whose agent does not run yet, and neither does dockerd.
    pub(super) fn beside(mut host: Host, options: &'static [&'static str]) -> Self {
        let mounts = Mounts::new(&host);
        host.mounts = Some(mounts.holder.id());
        let docker = Self {
            host,
            daemon: Mutex::new(None),
            options,
            mounts,
        };
        let config = docker.host.dir().join("agent.toml");
        let text = fs::read_to_string(&config).unwrap();
        let engine = format!("plugin = \"auto\"\nengine = {:?}", docker.socket());
        fs::write(&config, text.replace("plugin = \"off\"", &engine)).unwrap();
        docker
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.host.dir().join("d")
    }

    fn socket(&self) -> PathBuf {
        self.dir().join("sock")
    }

    /// The plugin's socket, as it is seen from outside of the mount namespace.
    pub(super) fn plugin(&self) -> PathBuf {
        self.dir().join("run/plugins/tapestry.sock")
    }

    /// Starts dockerd and waits until it answers.
    pub(super) fn launch(&self) {
        let dir = self.dir();
        let log = File::options()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .unwrap();
        let mut command = self.mounts.inside(Path::new("dockerd"));
        let paths = [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "docker.pid"),
            ("--config-file", "daemon.json"),
        ];
        for (option, path) in paths {
            command.arg(option).arg(dir.join(path));
        }
        command
            .args(["--log-level", "warn"])
            .args(["--cgroup-parent", &format!("/{}", self.host.netns.name())])
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .args(self.options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        // What a killed one left would be taken for a running one.
        let _ = fs::remove_file(dir.join("docker.pid"));
        let mut child = self.host.netns.enter(|| command.spawn()).unwrap();
        eventually(Duration::from_secs(90), "dockerd answers", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("dockerd ended with {status}:\n{}", self.log());
            }
            (self.docker(&["version"]).status == 0).then_some(())
        });
        *self.daemon.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    }

    /// Ends dockerd with `signal`, and waits until it and what it started for itself are gone.
    pub(super) fn stop(&self, signal: Signal) {
        let daemon = self
            .daemon
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut child) = daemon else { return };
        let containerd = self.containerd();
        kill_process(Pid::from_child(&child), signal).unwrap();
        eventually(Duration::from_secs(60), "dockerd ends", || {
            child.try_wait().unwrap()
        });
        if let Some(pid) = containerd {
            eventually(Duration::from_secs(15), "containerd ends", || {
                (!Path::new("/proc").join(pid.to_string()).exists()).then_some(())
            });
        }
    }

    fn containerd(&self) -> Option<i32> {
        let pid = fs::read_to_string(self.dir().join("exec/containerd/containerd.pid"));
        pid.ok()?.trim().parse().ok()
    }

    /// What dockerd wrote so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    /// `docker` with `arguments`, against this engine.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Output {
        run(&mut self.command(arguments))
    }

    /// The same, not yet started.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        // Another client may stand before the engine's own in the path.
        let mut command = Command::new("/usr/bin/docker");
        self.towards(command.args(arguments));
        command
    }

    /// Makes a client of Docker's one of this engine.
    pub(crate) fn towards<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let socket = format!("unix://{}", self.socket().display());
        command
            .env("DOCKER_HOST", socket)
            .env("DOCKER_CONFIG", self.dir())
    }

    /// Makes a network of the agent's.
    #[track_caller]
    pub(crate) fn network(&self, name: &str, options: &[&str]) {
        let head = ["network", "create", "-d", "tapestry"];
        self.docker(&[&head[..], options, &[name]].concat()).ok();
    }

    /// Starts dockerd again, which does not keep anybody waiting and brings the containers `one` and `two` back.
    #[track_caller]
    pub(super) fn comes_back(&self) {
        let begin = Instant::now();
        self.launch();
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(30), "{took:?}");
        eventually(Duration::from_secs(20), "the containers are back", || {
            self.pings("one", "two").then_some(())
        });
    }

    /// Waits until the agent calls a network as the engine does: its events come a moment later.
    pub(super) fn await_name(&self, network: &str) {
        eventually(Duration::from_secs(5), "the network has its name", || {
            let networks = self.host.networks();
            networks
                .iter()
                .any(|known| known.name == network)
                .then_some(())
        });
    }

    /// Starts a container that does nothing.
    #[track_caller]
    pub(super) fn idle(&self, name: &str, network: &str, options: &[&str]) {
        // As PID 1 the command would ignore SIGTERM, and each stop would take ten seconds.
        let head = ["run", "-d", "--init", "--name", name, "--network", network];
        self.docker(&[&head[..], options, &[IMAGE, "sleep", "1000"]].concat())
            .ok();
    }

    /// Runs a shell script in a container.
    pub(super) fn exec(&self, container: &str, script: &str) -> Output {
        self.docker(&["exec", container, "sh", "-c", script])
    }

    /// What `docker inspect -f` says of a container or a network.
    #[track_caller]
    pub(crate) fn inspect(&self, name: &str, format: &str) -> String {
        self.docker(&["inspect", "-f", format, name])
            .ok()
            .trim()
            .to_owned()
    }

    #[track_caller]
    pub(super) fn address(&self, container: &str, network: &str) -> String {
        self.inspect(
            container,
            &format!("{{{{(index .NetworkSettings.Networks {network:?}).IPAddress}}}}"),
        )
    }

    /// Whether a container gets an answer from `target`.
    pub(super) fn pings(&self, container: &str, target: &str) -> bool {
        (0..3).any(|_| {
            self.docker(&["exec", container, "ping", "-c1", "-W1", target])
                .status
                == 0
        })
    }

    /// An image of busybox alone.
    pub(super) fn import(&self) {
        let root = self.dir().join("image");
        for dir in [
            "bin", "etc", "tmp", "proc", "sys", "dev", "run", "root", "var/log",
        ] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in run(Command::new("/bin/busybox").arg("--list")).ok().lines() {
            if applet != "busybox" {
                symlink("busybox", root.join("bin").join(applet)).unwrap();
            }
        }
        let tar = self.dir().join("image.tar");
        run(Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&tar)
            .arg("."))
        .ok();
        let settings = ["-c", "CMD [\"/bin/sh\"]", "-c", "ENV PATH=/bin"];
        self.docker(&[&["import"], &settings[..], &[tar.to_str().unwrap(), IMAGE]].concat())
            .ok();
    }

    fn remove_everything(&self) {
        let list = |arguments: &[&str]| {
            let listed = self.docker(arguments).stdout;
            listed.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let containers = list(&["ps", "-aq"]);
        if !containers.is_empty() {
            let ids = containers.iter().map(String::as_str);
            self.docker(&["rm", "-f"].into_iter().chain(ids).collect::<Vec<_>>());
        }
        for network in list(&["network", "ls", "-q", "--filter", "type=custom"]) {
            self.docker(&["network", "rm", &network]);
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let is_failing = std::thread::panicking();
        if is_failing {
            let log = self.log();
            let lines = log.lines().rev().take(60).collect::<Vec<_>>();
            eprintln!("--- dockerd's log");
            lines.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        let runs = self
            .daemon
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        if runs {
            self.remove_everything();
            self.stop(Signal::TERM);
        }
        remove_cgroups(self.host.netns.name());
    }
}

/// A mount namespace that a sleeper holds open.
struct Mounts {
    holder: Child,
}

impl Mounts {
    fn new(host: &Host) -> Self {
        let dir = host.dir().join("d");
        for part in ["data", "exec", "run/plugins", "etc"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        fs::write(dir.join("daemon.json"), "{}").unwrap();
        fs::create_dir_all("/run/docker").unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "slave", "sh", "-c"])
            .arg(r#"mount --bind "$0/run" /run/docker && mount --bind "$0/etc" /etc/docker && touch "$0/ready" && exec sleep 1000"#)
            .arg(&dir)
            .stdin(Stdio::null());
        let mut holder = host.netns.enter(|| command.spawn()).unwrap();
        eventually(Duration::from_secs(10), "the mounts are made", || {
            assert_eq!(
                holder.try_wait().unwrap(),
                None,
                "the mounts cannot be made"
            );
            dir.join("ready").exists().then_some(())
        });
        Self { holder }
    }

    fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.holder.id().to_string();
        command.args(["--target", &pid, "--mount", "--wd=/", "--"]);
        command.arg(program);
        command
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Those below the engine's own parent, in every hierarchy.
fn remove_cgroups(parent: &str) {
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let top = hierarchy.path().join(parent);
        let inner = fs::read_dir(&top).into_iter().flatten().flatten();
        for dir in inner.map(|entry| entry.path()).chain([top.clone()]) {
            let _ = fs::remove_dir(dir);
        }
    }
    let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(parent));
}

pub(crate) const IMAGE: &str = "bb:1";
