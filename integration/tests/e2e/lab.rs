//! `tapestry lab`: files of containerlab and Kathara as they are, up, changed, through faults, and down.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

mod beyond;
mod images;
mod routing;

use crate::harness::{Host, Output, eventually};

/// Three routers, each with a link to both others, and a switch with two of them.
const TRIANGLE: &str = r#"
name: tri
topology:
  defaults:
    kind: linux
    sysctls: {net.ipv4.ip_forward: 1}
  nodes:
    r1:
      env: {WHO: __clabNodeName__}
      exec:
        - ip address add 10.0.12.1/24 dev eth1
        - ip address add 10.0.13.1/24 dev eth2
        - sh -c 'echo "$WHO $CLAB_INTFS" >/etc/who'
    r2:
      exec: [ip address add 10.0.12.2/24 dev eth1]
    r3:
      binds: [motd:/etc/motd:ro]
      exec:
        - ip address add 10.0.13.3/24 dev eth1
        - ip address add 10.0.9.3/24 dev eth3
    sw: {kind: bridge}
  links:
    - endpoints: [r1:eth1, r2:eth1]
    - endpoints: [r1:eth2, r3:eth1]
      vars: {delay: 30ms, team: blue}
    - endpoints: [r3:eth3, sw:p1]
      mtu: 1500
"#;

struct Lab {
    host: Host,
    /// The folder of its file.
    at: PathBuf,
    _dir: TempDir,
}

impl Lab {
    fn new(file: &str, text: &str) -> Self {
        let dir = TempDir::with_prefix("lab").unwrap();
        let lab = Self {
            host: Host::start(),
            at: dir.path().to_owned(),
            _dir: dir,
        };
        lab.write(file, text);
        lab
    }

    /// One of `integration/labs`, beside what their scripts share.
    fn copy_of(name: &str) -> Self {
        let dir = TempDir::with_prefix("lab").unwrap();
        let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs");
        let mut copy = Command::new("cp");
        copy.arg("-r")
            .args([name, "within.sh"].map(|from| labs.join(from)));
        let copied = copy.arg(dir.path()).status();
        assert!(copied.unwrap().success(), "{name}");
        Self {
            host: Host::start(),
            at: dir.path().join(name),
            _dir: dir,
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.at.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn path(&self) -> &str {
        self.at.to_str().unwrap()
    }

    fn run(&self, verb: &str, options: &[&str]) -> Output {
        let head = ["lab", verb, self.path()];
        self.host.tapestry(&[&head[..], options].concat())
    }

    /// A shell script in a node.
    fn sh(&self, node: &str, script: &str) -> Output {
        self.host
            .tapestry(&["lab", "exec", self.path(), node, "--", "sh", "-c", script])
    }

    #[track_caller]
    fn pings(&self, node: &str, target: &str) {
        let ping = || self.sh(node, &format!("ping -c1 -W1 {target}")).succeeded();
        eventually(
            Duration::from_secs(10),
            &format!("{node} reaches {target}"),
            ping,
        );
    }

    /// Takes the lab down; all of it is gone.
    fn down(&self) {
        self.run("down", &[]).ok();
        assert!(self.host.containers().is_empty());
        assert_eq!(self.host.made_networks(), [""; 0]);
        assert!(self.host.tapestry(&["lab", "ls"]).ok().lines().count() == 1);
    }
}

#[test]
fn a_containerlab_file_is_up_stays_up_and_leaves_nothing() {
    let lab = Lab::new("tri.clab.yml", TRIANGLE);
    lab.write("motd", "welcome\n");
    let shown = lab.run("up", &[]).ok();
    assert!(
        shown.starts_with("lab tri: 3 nodes, 3 links up\n"),
        "{shown}"
    );
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
    lab.pings("r1", "10.0.12.2");
    lab.pings("r3", "10.0.13.1");
    // By name, on the management network.
    lab.pings("r1", "r3");
    assert_eq!(lab.sh("r1", "cat /etc/who").ok(), "r1 2\n");
    assert!(!Path::new("/etc/who").exists() && lab.sh("r2", "cat /etc/who").status != 0);
    assert_eq!(lab.sh("r3", "cat /etc/motd").ok(), "welcome\n");
    assert_ne!(lab.sh("r3", "echo >/etc/motd").status, 0);
    assert_eq!(lab.sh("r1", "cat /sys/class/net/eth1/mtu").ok(), "9500\n");
    assert_eq!(lab.run("up", &["--dry-run"]).ok(), "nothing to do\n");

    a_restarted_node_keeps_its_links(&lab);
    an_impaired_link_is_changed_in_place(&lab);
    a_changed_file_changes_links_alone(&lab);
    lab.host.stop_agent(Signal::KILL);
    lab.host.launch();
    lab.pings("r1", "10.0.13.3");
    assert_eq!(lab.run("up", &["--dry-run"]).ok(), "nothing to do\n");
    lab.down();
    assert!(
        lab.run("down", &[])
            .refused(1)
            .contains("lab tri is not up")
    );
}

fn a_restarted_node_keeps_its_links(lab: &Lab) {
    let mac = lab.sh("r1", "cat /sys/class/net/eth1/address").ok();
    lab.host.tapestry(&["restart", "clab-tri-r1"]).ok();
    lab.pings("r2", "10.0.12.1");
    assert_eq!(lab.sh("r1", "cat /sys/class/net/eth1/address").ok(), mac);
}

fn an_impaired_link_is_changed_in_place(lab: &Lab) {
    // Each way, and over the restart of a node.
    let ping = lab.sh("r1", "ping -n -c1 -W2 10.0.13.3").ok();
    let time = ping.split("time=").nth(1).unwrap();
    let time_ms: f64 = time.split(' ').next().unwrap().parse().unwrap();
    assert!(time_ms >= 60.0, "{ping}");

    let pid = lab.host.pid("clab-tri-r2");
    let line = "    - endpoints: [r1:eth1, r2:eth1]\n";
    let lossy = TRIANGLE.replace(line, &format!("{line}      vars: {{packet_loss: 100}}\n"));
    let both = "~ impairment r1:eth1\n~ impairment r2:eth1\n";
    for (text, arrives) in [(lossy.as_str(), false), (TRIANGLE, true)] {
        lab.write("tri.clab.yml", text);
        assert_eq!(lab.run("up", &["--dry-run"]).ok(), both);
        lab.run("up", &[]).ok();
        assert_eq!(lab.run("up", &["--dry-run"]).ok(), "nothing to do\n");
        let ping = lab.sh("r1", "ping -c2 -i0.2 -W1 10.0.12.2");
        assert_eq!(ping.status == 0, arrives, "{ping:?}");
    }
    assert_eq!(lab.host.pid("clab-tri-r2"), pid);
    lab.write("tri.clab.yml", &TRIANGLE.replace("30ms", "30"));
    let refused = lab.run("up", &[]).refused(1);
    assert!(
        refused.contains("tri.clab.yml:25:21: delay of the link: \"30\" has no unit"),
        "{refused}"
    );
}

fn a_changed_file_changes_links_alone(lab: &Lab) {
    let pid = lab.host.pid("clab-tri-r2");
    let changed = TRIANGLE.replace(
        "    - endpoints: [r1:eth1, r2:eth1]\n",
        "    - endpoints: [r2:eth2, sw:p2]\n",
    );
    lab.write("tri.clab.yml", &changed);
    let told = lab.run("up", &["--dry-run"]).ok();
    assert_eq!(told, "- link r1:eth1 -- r2:eth1\n+ interface r2:eth2\n");
    lab.run("up", &[]).ok();
    assert_eq!(lab.run("up", &["--dry-run"]).ok(), "nothing to do\n");
    assert_eq!(lab.host.pid("clab-tri-r2"), pid);
    lab.sh(
        "r2",
        "ip address add 10.0.9.2/24 dev eth2 && ! ip link show eth1",
    )
    .ok();
    lab.pings("r2", "10.0.9.3");
}

#[test]
fn a_kathara_lab_is_up_as_its_scripts_have_it() {
    let conf = "LAB_NAME=\"hub\"\npc1[0]=\"A/02:00:00:00:00:11\"\npc2[0]=\"A\"\nr1[0]=\"A\"\nr1[1]=\"B\"\n\
                pc3[0]=\"B\"\n";
    let lab = Lab::new("lab.conf", conf);
    for (name, text) in [
        (
            "pc1.startup",
            "ip address add 10.1.0.1/24 dev eth0\nip route add default via 10.1.0.254\n",
        ),
        (
            "pc2.startup",
            ". /etc/address\nip address add $ADDRESS dev eth0\n",
        ),
        ("pc2/etc/address", "ADDRESS=10.1.0.2/24\n"),
        ("pc2.shutdown", "echo over >/shared/said\n"),
        (
            "r1.startup",
            "ip address add 10.1.0.254/24 dev eth0\nip address add 10.2.0.254/24 dev eth1\n",
        ),
        (
            "pc3.startup",
            "ip address add 10.2.0.3/24 dev eth0\nip route add default via 10.2.0.254\nfalse\n",
        ),
        ("shared/note", ""),
    ] {
        lab.write(name, text);
    }
    let up = lab.run("up", &[]);
    assert_eq!(up.status, 1, "{up:?}");
    assert!(up.stderr.contains("node pc3: exit status 1"), "{up:?}");
    lab.pings("pc1", "10.1.0.2");
    lab.pings("pc1", "10.2.0.3");
    assert_eq!(
        lab.sh("pc1", "cat /sys/class/net/eth0/address").ok(),
        "02:00:00:00:00:11\n"
    );
    lab.sh(
        "pc2",
        "sysctl -w net.ipv6.conf.all.forwarding=1 && test -f /shared/note",
    )
    .ok();
    lab.down();
    assert_eq!(
        fs::read_to_string(lab.at.join("shared/said")).unwrap(),
        "over\n"
    );
}

#[test]
fn a_lab_that_cannot_be_leaves_nothing() {
    let lab = Lab::new(
        "bad.clab.yml",
        &TRIANGLE.replace("net.ipv4.ip_forward", "net.no.such"),
    );
    lab.write("motd", "");
    let refused = lab.run("up", &[]).refused(1);
    assert!(
        refused.contains("node r") && refused.contains("net.no.such"),
        "{refused}"
    );
    assert!(lab.host.containers().is_empty());
    assert_eq!(lab.host.networks().len(), 3);
    lab.write(
        "bad.clab.yml",
        &TRIANGLE.replace(
            "endpoints: [r1:eth1, r2:eth1]",
            "endpoints: [r1:eth1, r9:eth1]",
        ),
    );
    for verb in ["up", "validate"] {
        let refused = lab.run(verb, &[]).refused(1);
        assert!(
            refused.contains("bad.clab.yml:") && refused.contains("there is no node \"r9\""),
            "{refused}"
        );
    }
    assert!(lab.host.containers().is_empty());
}
