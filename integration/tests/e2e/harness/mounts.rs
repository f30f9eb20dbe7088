//! A mount namespace for a container engine and the agent beside it: what they mount, and where they look for things, stays in it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use super::{Netns, Output, eventually, run};

/// Held open by a sleeper, as the network namespace that goes with it.
#[derive(Debug)]
pub(crate) struct Mounts {
    holder: Child,
}

impl Mounts {
    /// With an empty `/run/netns` and an empty `/var/lib/cni`, where engines and CNI keep what they made.
    pub(crate) fn new(netns: &Netns) -> Self {
        fs::create_dir_all("/var/lib/cni").unwrap();
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "slave", "sleep", "600"]);
        let holder = netns.enter(|| command.spawn()).unwrap();
        let mounts = Self { holder };
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
        eventually(Duration::from_secs(5), "a mount namespace", || {
            let held = of(&mounts.pid());
            (held.is_some() && held != of("self") && mounts.is_asleep()).then_some(())
        });
        mounts.sh("mount -t tmpfs none /run/netns; mount -t tmpfs none /var/lib/cni");
        mounts
    }

    fn pid(&self) -> String {
        self.holder.id().to_string()
    }

    fn is_asleep(&self) -> bool {
        let name = fs::read_to_string(format!("/proc/{}/comm", self.pid()));
        name.is_ok_and(|name| name == "sleep\n")
    }

    /// The same command, to be run inside.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.args(["-t", &self.pid(), "-n", "-m", "--"]);
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    pub(crate) fn run(&self, command: &Command) -> Output {
        run(&mut self.inside(command))
    }

    /// The output of a shell script that has to succeed.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        self.run(Command::new("sh").args(["-ec", script])).ok()
    }

    /// Shows the directory `from` at `to`.
    pub(crate) fn bind(&self, from: &Path, to: &str) {
        self.sh(&format!(
            "mkdir -p {to}; mount --bind {} {to}",
            from.display()
        ));
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
