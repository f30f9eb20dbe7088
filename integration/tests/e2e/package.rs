//! The Debian package: installed, upgraded, removed and purged in a small Debian of its own.
//!
//! That Debian (`scripts/setup test` makes it) has what the package depends on and nothing else. systemd is not there: a script in its
//! place does what the units say, and notes what it was asked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{Netns, Output, binary, eventually, run};

#[test]
fn the_package_installs_upgrades_without_stopping_anything_and_leaves_nothing() {
    let packages = TempDir::with_prefix("p").unwrap();
    let first = package(packages.path());
    let second = newer(&first);
    let debian = Debian::start(&[&first, &second]);
    let before = debian.files();

    let begun = Instant::now();
    debian.sh("dpkg -i /1.deb");
    eventually(Duration::from_secs(10), "the agent answers", || {
        debian.try_sh("tapestry network ls").succeeded()
    });
    debian.sh("tapestry network create lab");
    debian.sh("tapestry run -d --name web --network lab -- sleep 1000");
    println!("from dpkg -i to the first container: {:?}", begun.elapsed());
    let state = "tapestry inspect -f '{{.State.Pid}}' web";
    let (web, agent) = (debian.sh(state), debian.agent());

    debian.sh("echo '# mine' >>/etc/tapestry/agent.toml");
    debian.sh("dpkg -i /2.deb");
    eventually(Duration::from_secs(10), "another agent runs", || {
        debian.agent_now().filter(|now| *now != agent)
    });
    eventually(Duration::from_secs(10), "it answers", || {
        debian.try_sh("tapestry ps").succeeded()
    });
    assert_eq!(debian.sh(state), web);
    assert!(debian.sh("cat /etc/tapestry/agent.toml").contains("# mine"));
    let asked = debian.sh("cat /run/systemctl");
    for act in [
        "preset tapestry.socket",
        "preset tapestry.service",
        "reload tapestry.service",
    ] {
        assert!(asked.contains(act), "{asked}");
    }
    assert!(!asked.contains("stop"), "{asked}");

    debian.sh("dpkg -r tapestry");
    assert!(
        debian
            .try_sh(&format!("kill -0 {web}"))
            .succeeded()
            .is_none()
    );
    assert_eq!(debian.netns.sh("nft list tables"), "");
    assert_eq!(debian.netns.sh("ip -br link").lines().count(), 1);
    debian.sh("test -e /var/lib/tapestry/state.redb");
    debian.sh("dpkg -P tapestry");
    let left = debian.files();
    let left: Vec<_> = left.difference(&before).collect();
    assert!(left.is_empty(), "{left:#?}");
}

/// A package of the command that was built, in `dir`.
fn package(dir: &Path) -> PathBuf {
    let mut make = Command::new("make");
    make.args(["--no-print-directory", "-s", "deb"])
        .current_dir(repository())
        .arg(format!("BINARY={}", binary().display()))
        .arg(format!("DEB_DIR={}", dir.display()))
        .env_remove("MAKEFLAGS");
    PathBuf::from(run(&mut make).ok().trim_end())
}

/// The same as a version that comes after it.
fn newer(package: &Path) -> PathBuf {
    let newer = package.with_extension("newer.deb");
    let script = format!(
        "dpkg-deb -R {} {tree}; sed -i 's/^Version: .*/&.1/' {tree}/DEBIAN/control; dpkg-deb -Znone -b {tree} {} >/dev/null",
        package.display(),
        newer.display(),
        tree = package.with_extension("tree").display()
    );
    run(Command::new("sh").args(["-ec", &script])).ok();
    newer
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A Debian in namespaces of its own: mounts, processes, network. All of it goes with the process that holds it.
struct Debian {
    netns: Netns,
    holder: Child,
}

impl Debian {
    /// With `packages` as `/1.deb` and so on.
    fn start(packages: &[&Path]) -> Self {
        let lower = run(&mut Command::new(repository().join("scripts/target-dir"))).ok();
        let lower = Path::new(lower.trim_end()).join("debian");
        assert!(
            lower.exists(),
            "scripts/setup test makes {}",
            lower.display()
        );
        let netns = Netns::new("debian");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-ec"])
            .arg(format!(
                "mount -t tmpfs none /mnt; mkdir /mnt/upper /mnt/work /mnt/root
                 mount -t overlay none /mnt/root -o lowerdir={},upperdir=/mnt/upper,workdir=/mnt/work
                 cd /mnt/root; mount -t proc none proc; mount -t sysfs none sys; mount --rbind /dev dev; mount -t tmpfs none run
                 mkdir -p run/systemd/system; touch run/is-up; sleep 600 & wait",
                lower.display()
            ))
            .stdin(Stdio::null());
        let holder = netns.enter(|| command.spawn()).unwrap();
        let debian = Self { netns, holder };
        eventually(Duration::from_secs(10), "a Debian", || {
            debian.try_sh("test -e /run/is-up").succeeded()
        });
        fs::write(debian.root().join("usr/bin/systemctl"), SYSTEMCTL).unwrap();
        debian.sh("chmod +x /usr/bin/systemctl");
        for (at, package) in packages.iter().enumerate() {
            fs::copy(package, debian.root().join(format!("{}.deb", at + 1))).unwrap();
        }
        debian
    }

    /// The process that all others of it descend from, as the host numbers it.
    fn first(&self) -> Option<String> {
        let holder = self.holder.id();
        let children = fs::read_to_string(format!("/proc/{holder}/task/{holder}/children")).ok()?;
        children.split_whitespace().next().map(str::to_owned)
    }

    /// Its files, as the host sees them.
    fn root(&self) -> PathBuf {
        let first = self.first().unwrap();
        PathBuf::from(format!("/proc/{first}/root/mnt/root"))
    }

    fn try_sh(&self, script: &str) -> Output {
        let first = self.first().unwrap_or_default();
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &first, "-m", "-p", "-n", "chroot", "/mnt/root"])
            .args(["sh", "-ec", script])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command)
    }

    #[track_caller]
    fn sh(&self, script: &str) -> String {
        self.try_sh(script).ok()
    }

    /// The process of the agent proper, as that Debian numbers it.
    #[track_caller]
    fn agent(&self) -> String {
        self.agent_now().expect("the agent runs")
    }

    fn agent_now(&self) -> Option<String> {
        let children = "g=$(cat /run/agent.pid); cat /proc/$g/task/$g/children";
        let children = self.try_sh(children).stdout;
        children.split_whitespace().next().map(str::to_owned)
    }

    /// What a package may add; not what dpkg and its helpers note for themselves.
    fn files(&self) -> BTreeSet<String> {
        let found = self.sh(
            "find / -xdev -not -path '/var/lib/dpkg/*' -not -path '/var/lib/systemd/deb-systemd-*' -not -path '/var/cache/*' -not -path '/var/log/*'",
        );
        found.lines().map(str::to_owned).collect()
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Does with the agent what its unit says.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >>/run/systemctl
agent=$(cat /run/agent.pid 2>/dev/null)
case "$*" in
*is-enabled*) echo enabled ;;
*is-active*) kill -0 "${agent:-none}" 2>/dev/null ;;
*"start "*tapestry.service*)
    . /etc/default/tapestry
    setsid tapestry agent $TAPESTRY_OPTIONS </dev/null >>/run/agent.log 2>&1 &
    echo $! >/run/agent.pid
    ;;
*"reload tapestry.service"*) kill -HUP "$agent" ;;
*"stop "*tapestry.service*)
    kill -TERM "$agent"
    while kill -0 "$agent" 2>/dev/null; do sleep 0.05; done
    ;;
esac
"#;
