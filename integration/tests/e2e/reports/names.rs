//! Names that people missed, or met where they did not expect them.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use agent_api::EndpointDetail;
use serde_json::json;

use crate::dns::name_server::{NAME_SERVER, NameServer};
use crate::dns::{Lab, dig, has};
use crate::harness::{Host, Netns, enter};

#[test]
fn a_network_called_like_no_domain_keeps_its_names() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    let server = NAME_SERVER.to_string();
    let lab = Lab::new(&host, &["--dns", &server]);
    host.tapestry(&["network", "create", "--dns", &server, "n1"])
        .ok();
    host.idle("peer", "n1", &[]);
    for (container, gateway) in [
        ("client", lab.gateway),
        ("peer", host.network("n1").gateways[0]),
    ] {
        let shown = dig(&host, container, gateway, "nope.n1 A").ok();
        has(&shown, "NXDOMAIN|AUTHORITY: 1");
    }
    let asked = NameServer::queries(&host);
    assert!(!asked.contains("n1."), "{asked}");
}

/// The README's own example.
#[test]
fn a_published_port_is_found_under_either_number() {
    let host = Host::start();
    let lab = Lab::new(&host, &[]);
    host.idle(
        "web",
        "lab",
        &["-p", "8080:80", "-p", "30000-30009:20000-20009/udp"],
    );
    let address = host.ipv4("web").to_string();
    for name in ["_http._tcp.web", "_80._tcp.web.lab", "_8080._tcp.web"] {
        let shown = lab.dig(&host, &format!("{name} SRV"));
        has(
            &shown,
            &format!("NOERROR|ANSWER: 1|0 1 80 web.lab.|{address}"),
        );
    }
    for name in ["_20009._udp.web", "_30009._udp.web"] {
        has(
            &lab.dig(&host, &format!("{name} SRV")),
            "0 1 20009 web.lab.",
        );
    }
    has(&lab.dig(&host, "_30010._udp.web SRV"), "NXDOMAIN");
}

#[test]
fn long_answers_over_tcp_all_arrive() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    let lab = Lab::new(&host, &["--dns", &NAME_SERVER.to_string()]);
    for (name, count, length) in [("huge", 5, 30_000), ("large", 200, 8_000)] {
        let answers = pipeline(&host, lab.gateway, name, count, Duration::ZERO);
        assert!(answers.iter().all(|answer| *answer > length), "{answers:?}");
    }
    // A reader that takes its time.
    let answers = pipeline(&host, lab.gateway, "large", 30, Duration::from_millis(10));
    assert!(answers.iter().all(|answer| *answer > 8_000), "{answers:?}");
    let report = host.network("lab").forwarder.unwrap();
    assert_eq!(report.connections_reset, 0, "{report:?}");
}

#[test]
fn a_sandbox_of_somebody_elses_has_its_own_name_servers() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    let lab = Lab::new(&host, &[]);
    let netns = Netns::new("own");
    let create = json!({
        "network": "lab", "name": "own", "sandbox": netns.path(), "dns": [NAME_SERVER.to_string()],
    });
    let made: EndpointDetail = host.api("POST", "/v1/endpoints", Some(&create)).ok();
    let ask = || {
        let mut dig = Command::new("dig");
        dig.arg(format!("@{}", lab.gateway));
        netns.run(dig.args(["+tries=1", "www.test", "A"])).ok()
    };
    has(&ask(), "203.0.113.1");
    has(&lab.dig(&host, "www.test A"), "ANSWER: 0");
    host.stop_agent(rustix::process::Signal::TERM);
    host.launch();
    has(&ask(), "203.0.113.1");
    let gone = host.api("DELETE", &format!("/v1/endpoints/{}", made.id), None);
    assert!(gone.status < 300, "{gone:?}");
}

/// The lengths of the answers to as many questions for `name.test TXT` on one connection, all asked before the first answer
/// is read, and read two kilobytes at a time.
fn pipeline(host: &Host, gateway: IpAddr, name: &str, count: usize, pause: Duration) -> Vec<usize> {
    let mut query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    for label in [name, "test"] {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.bytes());
    }
    query.extend(*b"\0\0\x10\0\x01");
    let mut framed = u16::try_from(query.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(query);
    enter(&host.sandbox("client"), || {
        let mut stream = TcpStream::connect((gateway, 53)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut writer = stream.try_clone().unwrap();
        let questions = framed.repeat(count);
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(&questions).unwrap());
            (0..count)
                .map(|_| {
                    let mut length = [0; 2];
                    stream.read_exact(&mut length).unwrap();
                    let length = usize::from(u16::from_be_bytes(length));
                    let mut left = length;
                    while left > 0 {
                        std::thread::sleep(pause);
                        let part = left.min(2048);
                        stream.read_exact(&mut vec![0; part]).unwrap();
                        left -= part;
                    }
                    length
                })
                .collect()
        })
    })
}
