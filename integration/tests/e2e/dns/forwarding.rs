//! Names of the world: asked of real servers, in every way there is.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::name_server::{CERTIFIED_NAME, NAME_SERVER, NameServer};
use super::quic::{QUIC_SERVER_PORT, QuicServer};
use super::{Lab, dig, has};
use crate::harness::{Host, enter, eventually};

#[test]
fn answers_of_servers_pass_as_they_are() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    let lab = Lab::new(&host, &["--dns", &NAME_SERVER.to_string()]);
    for (question, expected) in [
        ("www.test A", "NOERROR|203.0.113.1"),
        ("www.test AAAA", "NOERROR|2001:db8:1::1"),
        ("one.test CNAME", "NOERROR|two.test."),
        ("post.test MX", "NOERROR|10 mail.test."),
        ("text.test TXT", "NOERROR|\"hello world\""),
        ("odd.test TYPE65280", "NOERROR|\\# 4 01020304"),
        ("www.test TYPE65281", "NOERROR|ANSWER: 0"),
        ("absent.test A", "NXDOMAIN|SOA|admin.test."),
        ("www.broken.example A", "SERVFAIL"),
        ("www.test A +dnssec", "NOERROR|flags: do;|203.0.113.1"),
    ] {
        // The second answer comes from memory.
        for _ in 0..2 {
            has(&lab.dig(&host, question), expected);
        }
    }
    let cut = lab.dig(&host, "big.test TXT +ignore +bufsize=512");
    has(&cut, "tc rd ra;|ANSWER: 0");
    let whole = lab.dig(&host, "big.test TXT");
    has(
        &whole,
        "Truncated, retrying in TCP mode|1515151515|status: NOERROR",
    );
    let report = host.network("lab").forwarder.unwrap();
    assert_eq!(report.servers, [format!("{NAME_SERVER}:53")]);
    assert!(report.cached > 5 && report.forwarded > 10, "{report:?}");
    assert!(report.failed > 0, "{report:?}");
}

#[test]
fn encrypted_servers_are_asked_in_their_own_way() {
    let host = Host::without_agent();
    let server = NameServer::start(&host);
    let quic = QuicServer::start(&host, &server);
    // The server's certificate is the only authority that this agent knows.
    let authority = host.dir().join("server.pem");
    host.launch_with(|agent| {
        agent.env("SSL_CERT_FILE", &authority);
    });
    for (name, scheme, used) in [
        (
            "tls",
            format!("tls://{NAME_SERVER}#{CERTIFIED_NAME}"),
            ":853",
        ),
        ("bare", format!("tls://{NAME_SERVER}"), ":853"),
        (
            "quic",
            format!("quic://{NAME_SERVER}:{QUIC_SERVER_PORT}#{CERTIFIED_NAME}"),
            ":8853",
        ),
        (
            "https",
            format!("https://{NAME_SERVER}/dns-query#{CERTIFIED_NAME}"),
            ":443",
        ),
    ] {
        host.tapestry(&["network", "create", "--dns", &scheme, name])
            .ok();
        host.idle(&format!("on-{name}"), name, &[]);
        let gateway = host.network(name).gateways[0];
        let shown = dig(&host, &format!("on-{name}"), gateway, "www.test A").ok();
        has(&shown, "NOERROR|203.0.113.1");
        let report = host.network(name).forwarder.unwrap();
        assert!(report.servers[0].contains(used), "{report:?}");
    }
    let wrong = format!("tls://{NAME_SERVER}#other.example");
    host.idle("wary", "tls", &["--dns", &wrong]);
    let gateway = host.network("tls").gateways[0];
    has(
        &dig(&host, "wary", gateway, "text.test TXT").ok(),
        "SERVFAIL",
    );
    let errors = host.network("tls").forwarder.unwrap().errors;
    assert!(
        errors
            .iter()
            .any(|error| error.error.contains("certificate")),
        "{errors:?}"
    );
    // An encrypted server cannot stand in resolv.conf, not even on `bridge`.
    host.idle(
        "plain",
        "bridge",
        &["--dns", &format!("tls://{NAME_SERVER}")],
    );
    let resolv_conf = host.exec("plain", "cat /etc/resolv.conf").ok();
    has(&resolv_conf, "nameserver 172.");
    assert!(!resolv_conf.contains("198.51.101.2"), "{resolv_conf}");
    has(
        &host.exec("plain", "busybox nslookup -type=A www.test").ok(),
        "203.0.113.1",
    );
    let refused = host.tapestry(&[
        "run",
        "--network",
        "none",
        "--dns",
        "tls://1.1.1.1",
        "--",
        "true",
    ]);
    has(&refused.refused(125), "encrypted");
    drop((quic, server));
}

#[test]
fn dead_servers_leave_local_names_alone_and_end_in_servfail() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    // Nobody has this address, so nothing answers, not even with a refusal.
    let lab = Lab::new(&host, &["--dns", "198.51.101.77"]);
    host.idle("peer", "lab", &[]);
    std::thread::scope(|scope| {
        let lost = scope.spawn(|| {
            let start = Instant::now();
            has(&lab.dig(&host, "www.test A"), "SERVFAIL");
            start.elapsed()
        });
        for _ in 0..20 {
            has(&lab.dig(&host, "peer A"), "NOERROR|ANSWER: 1|Query time: ");
            std::thread::sleep(Duration::from_millis(50));
        }
        let took = lost.join().unwrap();
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
    let report = host.network("lab").forwarder.unwrap();
    assert_eq!(report.failed, 1, "{report:?}");
    assert_eq!(report.errors.len(), 1, "{report:?}");
}

#[test]
fn the_hosts_resolv_conf_is_followed() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    let lab = Lab::new(&host, &[]);
    has(&lab.dig(&host, "plain.example.com A"), "203.0.113.81");
    let chain = lab.dig(&host, "www.example.com A");
    has(
        &chain,
        "CNAME\twww.example.com.edge.example.net.|203.0.113.80",
    );
    has(&lab.dig(&host, "www.test A"), "ANSWER: 0");
    let text = format!("nameserver {NAME_SERVER}\nsearch corp.test\noptions timeout:7\n");
    fs::write(host.dir().join("resolv.conf"), text).unwrap();
    eventually(Duration::from_secs(5), "the new server is asked", || {
        lab.dig(&host, "www.test A")
            .contains("203.0.113.1")
            .then_some(())
    });
    host.idle("later", "lab", &[]);
    let resolv_conf = host.exec("later", "cat /etc/resolv.conf").ok();
    let gateway = lab.gateway;
    let expected = format!("nameserver {gateway}\nsearch corp.test\noptions timeout:7 ndots:0\n");
    assert_eq!(resolv_conf, expected);
    host.exec("later", "getent ahostsv4 www | grep -q 203.0.113.9")
        .ok();
    let options = [
        "--dns-search",
        ".",
        "--dns-option",
        "ndots:3",
        "--dns",
        "192.0.2.1",
    ];
    host.idle("chosen", "lab", &options);
    let resolv_conf = host.exec("chosen", "cat /etc/resolv.conf").ok();
    assert_eq!(
        resolv_conf,
        format!("nameserver {gateway}\noptions ndots:3\n")
    );
    let wrong = host.tapestry(&["run", "--dns-search", "a b", "--", "true"]);
    has(&wrong.refused(125), "--dns-search");
}

#[test]
fn a_containers_own_server_goes_first() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    let lab = Lab::new(&host, &[]);
    host.idle("own", "lab", &["--dns", &NAME_SERVER.to_string()]);
    has(
        &dig(&host, "own", lab.gateway, "www.test A").ok(),
        "203.0.113.1",
    );
    has(
        &dig(&host, "own", lab.gateway, "client A").ok(),
        "ANSWER: 1",
    );
    has(&lab.dig(&host, "www.test A"), "ANSWER: 0");
}

#[test]
fn private_answers_are_blocked_on_request() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    let server = NAME_SERVER.to_string();
    let lab = Lab::new(&host, &["--dns", &server, "-o", "dns.rebind=block"]);
    has(&lab.dig(&host, "inside.test A"), "NOERROR|ANSWER: 0");
    has(&lab.dig(&host, "www.test A"), "203.0.113.1");
    assert_eq!(host.network("lab").forwarder.unwrap().blocked, 1);
    host.tapestry(&["network", "create", "--dns", &server, "open"])
        .ok();
    host.idle("on-open", "open", &[]);
    let gateway = host.network("open").gateways[0];
    has(
        &dig(&host, "on-open", gateway, "inside.test A").ok(),
        "10.9.8.7",
    );
}

/// Half of what is asked here has no answer for five seconds; the other container still gets its own.
#[test]
fn a_greedy_container_leaves_room_for_the_others() {
    let host = Host::start();
    let server = NameServer::start(&host);
    let lab = Lab::new(&host, &[]);
    host.idle("greedy", "lab", &["--dns", "198.51.101.77"]);
    host.idle("modest", "lab", &["--dns", &NAME_SERVER.to_string()]);
    enter(&host.sandbox("greedy"), || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for number in 0..2000_u16 {
            let [high, low] = number.to_be_bytes();
            let name = format!("x{number:05}");
            let mut query = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 6];
            query.extend(name.bytes());
            query.extend(*b"\x04test\x00\x00\x01\x00\x01");
            socket.send_to(&query, (lab.gateway, 53)).unwrap();
        }
    });
    let shown = dig(&host, "modest", lab.gateway, "www.test A +time=2").ok();
    has(&shown, "203.0.113.1");
    let report = host.network("lab").forwarder.unwrap();
    assert!(report.crowded_out > 100, "{report:?}");
    drop(server);
}

#[test]
fn queries_can_be_watched() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    let lab = Lab::new(&host, &["--dns", &NAME_SERVER.to_string()]);
    let log = host.dir().join("watched");
    let mut watch = host.command(&["dns", "log", "--json", "lab"]);
    watch.stdout(fs::File::create(&log).unwrap());
    let mut watch = host.netns.enter(|| watch.spawn()).unwrap();
    let entries = eventually(Duration::from_secs(10), "three entries", || {
        for question in ["client A", "www.test A", "www.test A"] {
            lab.dig(&host, question);
        }
        let text = fs::read_to_string(&log).unwrap();
        let entries: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        (entries.len() >= 6).then_some(entries)
    });
    watch.kill().unwrap();
    watch.wait().unwrap();
    let found = |name: &str, outcome: &str| {
        entries.iter().any(|entry| {
            entry["name"] == name
                && entry["outcome"] == outcome
                && entry["endpoint"] == "client"
                && entry["code"] == "NOERROR"
                && entry["answers"] == 1
        })
    };
    assert!(found("client.", "local"), "{entries:#?}");
    assert!(found("www.test.", "cached"), "{entries:#?}");
    let nowhere = host.tapestry(&["dns", "log", "none"]);
    assert_eq!(nowhere.status, 1, "{nowhere:?}");
}
