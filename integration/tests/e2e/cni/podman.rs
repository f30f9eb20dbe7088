//! Debian's podman with CNI: `run`, `-p`, `network connect`, restarts and pods.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::call::with_network_in;
use crate::harness::{HOST_IP, Host, Mounts, Output, binary, busybox_image, enter};

#[test]
fn podmans_containers_are_on_the_network_and_publish_ports() {
    let podman = Podman::start();
    let host = &podman.host;
    host.idle("ours", "red", &[]);
    let web = ["run", "-d", "--name", "web", "--net", "red"];
    let ports = [
        "-p",
        "8080:80",
        "-p",
        "5300:53/udp",
        "-p",
        "127.0.0.1:8081:80",
    ];
    podman.run(&[&web[..], &ports, &[IMAGE]].concat()).ok();
    // By name both ways.
    host.exec("ours", "ping -n -c1 -W2 web").ok();
    podman
        .run(&["exec", "web", "ping", "-c1", "-W2", "ours"])
        .ok();
    // From outside, and on an address of its own only from there.
    assert_eq!(podman.fetched_outside(8080), "web");
    assert!(podman.gets_datagrams("web", 53, 5300));
    assert_eq!(podman.fetched_outside(8081), "");
    let near = host.netns.sh("curl -sS -m 2 http://127.0.0.1:8081/");
    assert_eq!(near, "web\n");

    podman.a_second_network_and_back();
    podman.run(&["restart", "-t", "0", "web"]).ok();
    assert_eq!(podman.fetched_outside(8080), "web");
    host.exec("ours", "ping -n -c1 -W2 web").ok();

    // The engine keeps the port meanwhile, and the agent has it lead there again.
    host.stop_agent(Signal::KILL);
    host.launch_in(&podman.mounts);
    assert_eq!(podman.fetched_outside(8080), "web");

    podman.what_is_refused_leaves_nothing();
    podman.run(&["rm", "-f", "-t", "0", "web"]).ok();
    let endpoints = host.network("red").endpoints;
    assert!(endpoints.iter().all(|endpoint| endpoint.name == "ours"));
    assert_eq!(podman.fetched_outside(8080), "");
    podman.a_pod();
}

impl Podman {
    fn a_second_network_and_back(&self) {
        let host = &self.host;
        host.idle("blues", "blue", &[]);
        self.run(&["network", "connect", "blue", "web"]).ok();
        let blue = host.network("blue").endpoints;
        let web = blue.iter().find(|endpoint| endpoint.name == "web");
        assert_eq!(web.unwrap().link, "eth1");
        host.exec("blues", "ping -n -c1 -W2 web").ok();
        assert_eq!(self.fetched_outside(8080), "web");
        // What both networks were asked for stays published by the one that is left.
        self.run(&["network", "disconnect", "red", "web"]).ok();
        assert_eq!(self.fetched_outside(8080), "web");
        self.run(&["network", "connect", "red", "web"]).ok();
        assert_eq!(self.fetched_outside(8080), "web");
        self.run(&["network", "disconnect", "blue", "web"]).ok();
        assert_eq!(host.network("blue").endpoints.len(), 1);
        assert_eq!(self.fetched_outside(8080), "web");
    }

    fn what_is_refused_leaves_nothing(&self) {
        let before = self.host.network("red").endpoints.len();
        let refused = |arguments: &[&str], named: &str| {
            let told = self.run(&[&["run", "--rm", "--net", "red"], arguments, &[IMAGE]].concat());
            let told = told.refused(126);
            assert!(told.contains(named), "{told}");
            assert_eq!(self.host.network("red").endpoints.len(), before);
        };
        refused(&["-p", "90:90/sctp"], "sctp");
        refused(&["-p", "8080:80"], "8080");
    }

    fn a_pod(&self) {
        let pod = [
            "pod",
            "create",
            "--name",
            "shop",
            "--net",
            "red:ip=10.63.0.77",
            "-p",
            "8082:80",
        ];
        self.run(&pod).ok();
        self.run(&["run", "-d", "--pod", "shop", "--name", "till", IMAGE])
            .ok();
        let endpoints = self.host.network("red").endpoints;
        let shop = endpoints.iter().find(|endpoint| endpoint.name == "shop");
        assert_eq!(shop.unwrap().addresses, ["10.63.0.77/24".parse().unwrap()]);
        assert_eq!(self.fetched_outside(8082), "web");
        self.host.exec("ours", "ping -n -c1 -W2 shop").ok();
        self.run(&["pod", "rm", "-f", "-t", "0", "shop"]).ok();
        assert_eq!(self.host.network("red").endpoints.len(), 1);
    }

    /// What a web server behind the host's port says to the outside; nothing where there is none.
    fn fetched_outside(&self, host_port: u16) -> String {
        let fetch = format!("curl -sS -m 2 http://{HOST_IP}:{host_port}/ || true");
        self.host.outside.sh(&fetch).trim().to_owned()
    }
}

impl Podman {
    /// Whether what the outside sends to the host's port comes to the container's.
    fn gets_datagrams(&self, container: &str, port: u16, host_port: u16) -> bool {
        let pid = self
            .run(&["inspect", "-f", "{{.State.Pid}}", container])
            .ok();
        let sandbox = format!("/proc/{}/ns/net", pid.trim());
        let bind = |port| move || UdpSocket::bind(("0.0.0.0", port)).unwrap();
        let inside = enter(sandbox.as_ref(), bind(port));
        let outside = self.host.outside.enter(bind(0));
        inside
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        outside.send_to(b"datagram", (HOST_IP, host_port)).unwrap();
        inside.recv(&mut [0; 16]).is_ok_and(|length| length == 8)
    }
}

/// A podman with nothing of the machine's: its files are under the host's directory, its mounts in a namespace of its own.
struct Podman {
    host: Host,
    mounts: Mounts,
}

impl Podman {
    fn start() -> Self {
        let host = Host::without_agent();
        let mounts = Mounts::new(&host.netns);
        with_network_in(&host, &mounts);
        host.tapestry(&["network", "create", "--subnet", "10.64.0.0/24", "blue"])
            .ok();
        let dir = host.dir();
        for made in ["conf", "bin"] {
            fs::create_dir(dir.join(made)).unwrap();
        }
        std::os::unix::fs::symlink(binary(), dir.join("bin/tapestry")).unwrap();
        for network in ["red", "blue"] {
            let plugin = serde_json::json!({"type": "tapestry", "socket": host.socket(), "capabilities":
                {"portMappings": true, "aliases": true, "mac": true, "ips": true, "dns": true}});
            let list =
                serde_json::json!({"cniVersion": "1.0.0", "name": network, "plugins": [plugin]});
            fs::write(
                dir.join(format!("conf/{network}.conflist")),
                list.to_string(),
            )
            .unwrap();
        }
        let at = dir.display();
        let containers = format!(
            r#"
            containers = {{default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]}}
            network = {{network_backend = "cni", cni_plugin_dirs = ["{at}/bin", "/usr/lib/cni"], network_config_dir = "{at}/conf"}}
            engine = {{cgroup_manager = "cgroupfs", events_logger = "file", runtime = "runc", tmp_dir = "{at}/tmp/libpod"}}"#
        );
        fs::write(dir.join("containers.conf"), containers).unwrap();
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{at}/graph\"\nrunroot = \"{at}/run\"\n"
        );
        fs::write(dir.join("storage.conf"), storage).unwrap();
        let image = busybox_image(dir, "web", &["httpd", "-f", "-h", "/www"]);
        let podman = Self { host, mounts };
        podman
            .run(&["load", "-q", "-i", image.to_str().unwrap()])
            .ok();
        podman
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let dir = self.host.dir();
        let mut podman = Command::new("podman");
        podman
            .args(arguments)
            .env("CONTAINERS_CONF", dir.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", dir.join("storage.conf"));
        self.mounts.run(&podman)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        for what in ["pod", "container"] {
            let _ = self.run(&[what, "rm", "-a", "-f", "-t", "0"]);
        }
        // Empty ones alone go.
        let cgroups =
            "find /sys/fs/cgroup/*/libpod_parent -depth -type d -exec rmdir {} + 2>/dev/null";
        let _ = self.mounts.run(Command::new("sh").args(["-c", cgroups]));
    }
}

const IMAGE: &str = "localhost/web:1";
