//! CNI's own library, as runtimes written in Go call it: Debian's package of it, with a front-end of ours.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::call::with_network;
use crate::harness::{HOST_IP, Host, Netns, Output, binary, run};

#[test]
fn cnis_own_library_adds_checks_and_deletes() {
    let host = with_network();
    let netns = Netns::new("c1");
    let library = Library::of(&host, &netns);
    let added: Value = serde_json::from_str(&library.call("add").ok()).unwrap();
    assert_eq!(added["ips"][0]["address"], "10.63.0.2/24");
    // The next plugin of the list had its turn as well.
    let set = netns.sh("cat /proc/sys/net/ipv4/conf/eth0/arp_filter");
    assert_eq!(set, "1\n");
    let twice = library.call("add").refused(1);
    assert!(twice.contains("already"), "{twice}");
    library.call("check").ok();
    let server = netns.enter(|| TcpListener::bind("0.0.0.0:80").unwrap());
    let published = (HOST_IP, 8080);
    let reached = host.outside.enter(|| TcpStream::connect(published));
    assert_eq!(reached.unwrap().peer_addr().unwrap(), published.into());
    drop(server);
    netns.sh("ip addr flush dev eth0");
    let lost = library.call("check").refused(1);
    assert!(lost.contains("10.63.0.2"), "{lost}");
    for _ in 0..2 {
        library.call("del").ok();
        assert!(host.network("red").endpoints.is_empty());
    }
    let known = library.call("check").refused(1);
    assert!(known.contains("c1"), "{known}");
}

/// The front-end with a list of plugins and a cache of its own.
struct Library<'h> {
    host: &'h Host,
    netns: PathBuf,
    program: PathBuf,
}

impl<'h> Library<'h> {
    fn of(host: &'h Host, netns: &Netns) -> Self {
        let dir = host.dir();
        fs::create_dir(dir.join("bin")).unwrap();
        std::os::unix::fs::symlink(binary(), dir.join("bin/tapestry")).unwrap();
        let plugins = json!([
            {"type": "tapestry", "socket": host.socket(), "capabilities": {"portMappings": true}},
            {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1"}},
        ]);
        let list = json!({"cniVersion": "1.0.0", "name": "red", "plugins": plugins});
        fs::write(dir.join("red.conflist"), list.to_string()).unwrap();
        Self {
            host,
            netns: netns.path(),
            program: build(dir),
        }
    }

    fn call(&self, command: &str) -> Output {
        let dir = self.host.dir();
        let ports =
            json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
        let mut call = Command::new(&self.program);
        call.args([command.as_ref(), dir.join("red.conflist").as_os_str()])
            .arg(dir.join("cache"))
            .arg(format!("{}:/usr/lib/cni", dir.join("bin").display()))
            .arg("c1")
            .arg(&self.netns)
            .arg("eth0")
            .env("CAP_ARGS", ports.to_string());
        self.host.netns.run(&mut call)
    }
}

/// Go keeps what it compiled where cargo keeps what it compiled.
fn build(dir: &Path) -> PathBuf {
    let program = dir.join("libcni");
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/cni/libcni");
    let mut go = Command::new("go");
    go.args(["build", "-o"])
        .arg(&program)
        .current_dir(sources)
        .arg(".")
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go"));
    run(&mut go).ok();
    program
}
