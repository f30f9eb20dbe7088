//! Nodes that run an image: under a dockerd of the test's own, and under podman.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::Lab;
use crate::docker::{Docker, IMAGE};
use crate::harness::{Host, Mounts, Output, busybox_image, eventually};

/// Two nodes with an image and one without, each with a link to both others.
const MIXED: &str = r#"
name: mix
topology:
  defaults: {kind: linux}
  nodes:
    r1:
      image: IMAGE
      env: {WHO: __clabNodeName__}
      binds: ["motd:/etc/motd:ro"]
      cmd: sh -c 'date >>/began; mkdir /www; echo r1 >/www/index.html; exec httpd -f -h /www'
      exec:
        - ip address add 10.0.12.1/24 dev eth1
        - sh -c 'echo "$WHO $CLAB_INTFS $(cat /etc/motd)" >/who'
      sysctls: {net.ipv4.ip_forward: 1}
      ports: ["8080:80"]
    r2: {image: IMAGE, entrypoint: sleep, cmd: "1000"}
    r3: {exec: [ip address add 10.0.13.3/24 dev net-1]}
  links:
    - endpoints: ["r1:eth1", "r2:eth1"]
      ipv4: ["", 10.0.12.2/24]
    - endpoints: ["r1:eth7", "r3:net-1"]
      ipv4: [10.0.13.1/24]
      vars: {delay: 20ms}
"#;

const FILE: &str = "mix.clab.yml";

/// A lab in a directory of its own, and how the command finds the engine.
struct Images<'e> {
    host: &'e Host,
    dir: TempDir,
    image: &'e str,
    prepare: &'e dyn Fn(Command) -> Command,
    /// The engine's own command.
    engine: &'e dyn Fn(&[&str]) -> Output,
}

impl Images<'_> {
    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("IMAGE", self.image)).unwrap();
    }

    fn run(&self, verb: &str, options: &[&str]) -> Output {
        let head = ["lab", verb, self.dir.path().to_str().unwrap()];
        let command = self.host.command(&[&head[..], options].concat());
        self.host.netns.run(&mut (self.prepare)(command))
    }

    fn sh(&self, node: &str, script: &str) -> Output {
        self.run("exec", &[node, "--", "sh", "-c", script])
    }

    #[track_caller]
    fn pings(&self, node: &str, target: &str) {
        let what = format!("{node} reaches {target}");
        eventually(Duration::from_secs(10), &what, || {
            self.sh(node, &format!("ping -c1 -W1 {target}")).succeeded()
        });
    }

    #[track_caller]
    fn needs(&self, lines: &str) {
        assert_eq!(self.run("up", &["--dry-run"]).ok(), lines);
    }

    fn starts(&self) -> usize {
        self.sh("r1", "cat /began").ok().lines().count()
    }

    /// A mixed lab is up, and through a restart of a node by its engine.
    fn is_up_and_stays_up(&self) {
        self.write("motd", "welcome");
        self.write(FILE, MIXED);
        let shown = self.run("up", &[]).ok();
        assert!(
            shown.starts_with("lab mix: 3 nodes, 2 links up\n"),
            "{shown}"
        );
        self.needs("nothing to do\n");
        assert_eq!(self.sh("r1", "cat /who").ok(), "r1 2 welcome\n");
        assert_eq!(self.sh("r1", "hostname").ok(), "r1\n");
        self.pings("r1", "10.0.12.2");
        self.pings("r3", "10.0.13.1");
        // By name, on the management network, and from outside.
        self.pings("r1", "r3");
        self.pings("r3", "clab-mix-r1");
        let fetched = self.host.netns.sh("curl -sS -m 10 http://127.0.0.1:8080/");
        assert_eq!(fetched, "r1\n");
        let shown = self.run("inspect", &[]).ok();
        let line = shown
            .lines()
            .find(|line| line.starts_with("r1") && line.contains("eth7"));
        assert!(line.unwrap().contains("delay 20ms"), "{shown}");

        // The engine starts it again; links and addresses are there still.
        (self.engine)(&["restart", "-t", "0", "clab-mix-r1"]).ok();
        assert_eq!(self.starts(), 2);
        self.pings("r2", "10.0.12.1");
        self.pings("r1", "10.0.13.3");
    }

    fn what_the_engine_lost_is_made_again(&self) {
        (self.engine)(&["rm", "-f", "clab-mix-r1"]).ok();
        self.needs("~ node r1\n");
        self.run("up", &[]).ok();
        self.needs("nothing to do\n");
        self.pings("r1", "10.0.13.3");
    }

    fn links_are_changed_in_place(&self) {
        self.write(FILE, &MIXED.replace("delay: 20ms", "delay: 1ms"));
        self.needs("~ impairment r1:eth7\n~ impairment r3:net-1\n");
        self.run("up", &[]).ok();
        assert_eq!(self.starts(), 2);
    }

    fn is_gone(&self) {
        self.run("down", &[]).ok();
        assert_eq!((self.engine)(&["ps", "-aq"]).ok(), "");
        assert!(self.host.containers().is_empty());
        assert_eq!(self.host.made_networks(), [""; 0]);
    }
}

#[test]
fn images_run_under_docker_beside_nodes_without() {
    let docker = Docker::start();
    let prepare = |mut command: Command| {
        docker.towards(&mut command);
        // Another client may stand before the engine's own in the path.
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    };
    let images = Images {
        host: &docker.host,
        dir: TempDir::with_prefix("lab").unwrap(),
        image: IMAGE,
        prepare: &prepare,
        engine: &|words| docker.docker(words),
    };
    images.is_up_and_stays_up();
    images.links_are_changed_in_place();
    images.what_the_engine_lost_is_made_again();
    docker.host.stop_agent(Signal::KILL);
    docker.host.launch();
    images.pings("r1", "10.0.13.3");
    images.needs("nothing to do\n");
    // Its image stays where the links were.
    docker.host.tapestry(&["restart", "clab-mix-r1"]).ok();
    images.needs("~ node r1\n");
    // An engine that is not there keeps the lab.
    let mut down = docker
        .host
        .command(&["lab", "down", images.dir.path().to_str().unwrap()]);
    down.env("DOCKER_HOST", "unix:///nonexistent");
    let told = docker.host.netns.run(&mut down).refused(1);
    assert!(told.contains("docker rm: "), "{told}");
    assert_eq!(docker.host.containers().len(), 3);
    images.is_gone();
    let left = docker.docker(&["image", "ls", "-q", "tapestry-lab"]).ok();
    assert_eq!(left, "");
}

/// One device with an image, one without.
const KATHARA: &str =
    "LAB_NAME=\"hub\"\npc1[0]=\"A\"\npc1[image]=\"localhost/bb:1\"\npc2[0]=\"A\"\n";

#[test]
fn katharas_images_run_under_podman() {
    let host = Host::start();
    let mounts = Mounts::new(&host.netns);
    let dir = host.dir();
    let at = dir.display();
    let containers = format!(
        r#"
        containers = {{default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]}}
        engine = {{cgroup_manager = "cgroupfs", events_logger = "file", runtime = "runc", tmp_dir = "{at}/tmp/libpod"}}"#
    );
    fs::write(dir.join("containers.conf"), containers).unwrap();
    let storage = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{at}/graph\"\nrunroot = \"{at}/run\"\n"
    );
    fs::write(dir.join("storage.conf"), storage).unwrap();
    let prepare = |mut command: Command| {
        command
            .env("CONTAINERS_CONF", dir.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", dir.join("storage.conf"))
            // A Docker that is there has nothing to do with the test.
            .env("DOCKER_HOST", "unix:///nonexistent");
        mounts.inside(&command)
    };
    let engine = |words: &[&str]| {
        let mut podman = Command::new("podman");
        podman.args(words);
        host.netns.run(&mut prepare(podman))
    };
    let image = busybox_image(dir, "bb", &["sh"]);
    engine(&["load", "-q", "-i", image.to_str().unwrap()]).ok();
    let images = Images {
        host: &host,
        dir: TempDir::with_prefix("lab").unwrap(),
        image: "localhost/bb:1",
        prepare: &prepare,
        engine: &engine,
    };
    for (name, text) in [
        ("lab.conf", KATHARA),
        ("pc1/etc/address", "ADDRESS=10.1.0.1/24\n"),
        (
            "pc1.startup",
            ". /etc/address\nip address add $ADDRESS dev eth0\n",
        ),
        ("pc1.shutdown", "echo over >/shared/said\n"),
        ("pc2.startup", "ip address add 10.1.0.2/24 dev eth0\n"),
        ("shared/note", ""),
    ] {
        images.write(name, text);
    }
    images.run("up", &[]).ok();
    images.pings("pc1", "10.1.0.2");
    engine(&["restart", "-t", "0", "kathara-hub-pc1"]).ok();
    images.pings("pc2", "10.1.0.1");
    images.needs("nothing to do\n");
    images.is_gone();
    let said = fs::read_to_string(images.dir.path().join("shared/said"));
    assert_eq!(said.unwrap(), "over\n");
    let cgroups = "find /sys/fs/cgroup/*/libpod_parent -depth -type d -exec rmdir {} + 2>/dev/null";
    let _ = mounts.run(Command::new("sh").args(["-c", cgroups]));
}

#[test]
fn an_engine_that_is_not_there_is_named_before_anything_is_made() {
    let lab = Lab::new(FILE, &MIXED.replace("IMAGE", "bb:1"));
    lab.write("motd", "");
    let up = |options: &[&str]| {
        let mut command = lab
            .host
            .command(&[&["lab", "up", lab.path()], options].concat());
        command.env("PATH", "/nonexistent");
        lab.host.netns.run(&mut command).refused(1)
    };
    let told = up(&[]);
    assert!(
        told.contains("node r1: image bb:1 has no stand-in"),
        "{told}"
    );
    assert!(
        told.contains("apt-get install docker.io, or podman"),
        "{told}"
    );
    let told = up(&["--runtime", "podman"]);
    assert!(told.contains("there is no command podman"), "{told}");
    assert!(lab.host.containers().is_empty() && Path::new(lab.path()).exists());
    assert_eq!(lab.host.made_networks(), [""; 0]);
}
