//! A name server outside: unbound from Debian's package, in a namespace of its own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{Host, Netns, eventually, run};

/// One more neighbour of the host. It speaks DNS in plain, over TLS and over HTTPS.
pub(crate) struct NameServer {
    unbound: Child,
    pub(crate) netns: Netns,
}

impl NameServer {
    pub(crate) fn start(host: &Host) -> Self {
        let netns = Netns::new("dns");
        let far = netns.name();
        host.netns.sh(&format!(
            "ip link add up1 type veth peer name up1 netns {far}
             ip addr add {NEAR}/24 dev up1; ip link set up1 up"
        ));
        netns.sh(&format!(
            "ip addr add {NAME_SERVER}/24 dev up1; ip link set up1 up; ip route add default via {NEAR}"
        ));
        let dir = host.dir();
        certify(host);
        let key = dir.join("server.key");
        let certificate = dir.join("server.pem");
        let config = dir.join("unbound.conf");
        fs::write(
            &config,
            format!(
                "{SERVER}  tls-service-key: {key:?}\n  tls-service-pem: {certificate:?}\n{}{FORWARD}",
                zone()
            ),
        )
        .unwrap();
        let log = File::create(dir.join("unbound.log")).unwrap();
        let mut command = Command::new("unbound");
        command.arg("-d").arg("-c").arg(&config);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let unbound = netns
            .enter(|| command.spawn())
            .unwrap_or_else(|error| panic!("unbound: {error}; scripts/setup test installs it"));
        let server = Self { unbound, netns };
        eventually(Duration::from_secs(10), "unbound answers", || {
            host.netns.enter(|| answers().then_some(()))
        });
        server
    }

    /// What it was asked so far, in small letters: it is asked in random case.
    pub(crate) fn queries(host: &Host) -> String {
        let log = fs::read_to_string(host.dir().join("unbound.log")).unwrap();
        log.to_ascii_lowercase()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.unbound.kill();
        let _ = self.unbound.wait();
    }
}

/// A certificate for the server's address and its name, which is its own authority.
fn certify(host: &Host) {
    let alternative = format!("subjectAltName=IP:{NAME_SERVER},DNS:{CERTIFIED_NAME}");
    let mut openssl = Command::new("openssl");
    openssl
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=name server of a test",
            "-addext",
            &alternative,
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .current_dir(host.dir())
        .args(["-keyout", "server.key", "-out", "server.pem"]);
    run(&mut openssl).ok();
}

fn answers() -> bool {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let query = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x03www\x04test\0\0\x01\0\x01";
    let _ = socket.send_to(query, (NAME_SERVER, 53));
    socket.recv(&mut [0; 512]).is_ok()
}

fn zone() -> String {
    let long: Vec<_> = (0..16)
        .map(|number| format!("\"{}\"", format!("{number:02}").repeat(125)))
        .collect();
    let mut records = vec![
        "test. 300 SOA ns.test. admin.test. 7 3600 600 86400 60".to_owned(),
        "www.test. 300 A 203.0.113.1".to_owned(),
        "www.test. 300 AAAA 2001:db8:1::1".to_owned(),
        "one.test. 300 CNAME two.test.".to_owned(),
        "two.test. 300 CNAME www.test.".to_owned(),
        "post.test. 300 MX 10 mail.test.".to_owned(),
        "text.test. 300 TXT \"hello world\"".to_owned(),
        "odd.test. 300 TYPE65280 \\# 4 01020304".to_owned(),
        "inside.test. 300 A 10.9.8.7".to_owned(),
        "www.corp.test. 300 A 203.0.113.9".to_owned(),
    ];
    records.push(format!("big.test. 300 TXT {}", long.join(" ")));
    for (name, count) in [("large", 32), ("huge", 120)] {
        let text = |number| {
            format!(
                "{name}.test. 300 TXT \"{}\"",
                format!("{number:03}").repeat(83)
            )
        };
        records.extend((0..count).map(text));
    }
    records
        .iter()
        .map(|record| format!("  local-data: '{record}'\n"))
        .collect()
}

pub(crate) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 101, 2);
pub(crate) const CERTIFIED_NAME: &str = "ns.example";
const NEAR: Ipv4Addr = Ipv4Addr::new(198, 51, 101, 1);
const SERVER: &str = "server:
  chroot: \"\"
  username: \"\"
  pidfile: \"\"
  do-daemonize: no
  use-syslog: no
  log-queries: yes
  module-config: \"iterator\"
  interface: 0.0.0.0@53
  interface: 0.0.0.0@853
  interface: 0.0.0.0@443
  tls-port: 853
  https-port: 443
  access-control: 0.0.0.0/0 allow
  do-not-query-localhost: no
  local-zone: \"test.\" static
  local-zone: \"dev.\" static
  local-zone: \"broken.example.\" transparent
";
/// Nobody listens there.
const FORWARD: &str = "forward-zone:
  name: \"broken.example.\"
  forward-addr: 127.0.0.1@1
";
