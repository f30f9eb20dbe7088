//! A container against the name server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use switch_core::Mac;

use crate::dns::name_server::{NAME_SERVER, NameServer};
use crate::dns::{dig, has};
use crate::harness::{Host, enter, eventually, run};
use crate::packets::{PLAIN, Segment, Transport};

#[test]
fn a_neighbours_address_opens_none_of_the_names_that_only_it_may_know() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    let server = NAME_SERVER.to_string();
    network(&host, &["--internal", "--ipv6"], "lab");
    network(&host, &["--dns", &server], "out");
    host.idle("secret", "out", &[]);
    host.idle("victim", "lab", &[]);
    host.idle("liar", "lab", &[]);
    let (v4, v6) = (host.ipv4("victim"), host.ipv6("victim"));
    host.tapestry(&["network", "connect", "out", "victim"]).ok();
    wear(&host, "liar", &[v4, v6]);
    // An address that nobody has given is its owner's all the same.
    let own: IpAddr = Ipv4Addr::new(10, 9, 9, 9).into();
    wear(&host, "victim", &[own]);
    for gateway in host.network("lab").gateways {
        let stolen = if gateway.is_ipv4() { v4 } else { v6 };
        for way in ["+notcp", "+tcp"] {
            for question in ["secret A", "www.test A"] {
                let of_victim = dig(&host, "victim", gateway, &format!("{question} {way}"));
                has(&of_victim.ok(), "NOERROR|ANSWER: 1");
                let spoofed = format!("{question} {way} -b {stolen} +time=2");
                let of_liar = dig(&host, "liar", gateway, &spoofed);
                assert!(!of_liar.stdout.contains("NOERROR"), "{of_liar:?}");
            }
        }
        if gateway.is_ipv4() {
            let worn = dig(&host, "victim", gateway, &format!("secret A -b {own}"));
            has(&worn.ok(), "NOERROR|ANSWER: 1");
        }
    }
    // Not even from memory.
    let gateway = host.network("lab").gateways[0];
    let of_liar = dig(&host, "liar", gateway, "www.test A");
    has(&of_liar.ok(), "NXDOMAIN");
}

#[test]
fn questions_under_many_addresses_take_no_neighbours_places() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    // Nobody has this address, so whoever is asked there waits for five seconds.
    network(&host, &["--dns", "198.51.101.77"], "lab");
    host.idle("modest", "lab", &["--dns", &NAME_SERVER.to_string()]);
    let liar = host.endpoint("lab", "liar");
    let detail = host.network("lab");
    let gateway = detail.gateways[0];
    let wire = liar.wire();
    for number in 0..2000_u16 {
        let [high, low] = number.to_be_bytes();
        let question = Segment {
            source_mac: liar.mac(),
            destination_mac: detail.gateway_mac.as_ref().unwrap().parse::<Mac>().unwrap(),
            source: Ipv4Addr::new(10, 77, high, low).into(),
            destination: gateway,
            transport: Transport::Udp,
            port: 53,
            payload: query(&format!("x{number:05}")),
        };
        // A full queue of the link loses some, as it may.
        let _ = wire.send(&PLAIN, &question.frame());
    }
    has(
        &dig(&host, "modest", gateway, "www.test A +time=2").ok(),
        "NOERROR|203.0.113.1",
    );
    let report = host.network("lab").forwarder.unwrap();
    assert!(report.crowded_out > 100, "{report:?}");
}

/// As fast as a container can, for names that have to be asked for outside.
#[test]
fn a_flood_of_questions_delays_no_neighbours_question() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    network(&host, &["--dns", "198.51.101.77"], "lab");
    host.idle("modest", "lab", &["--dns", &NAME_SERVER.to_string()]);
    let flooder = host.endpoint("lab", "flooder");
    let detail = host.network("lab");
    let gateway = SocketAddr::new(detail.gateways[0], 53);
    let question = query("flood00");
    let burst = Segment {
        source_mac: flooder.mac(),
        destination_mac: detail.gateway_mac.as_ref().unwrap().parse::<Mac>().unwrap(),
        source: flooder.ipv4().into(),
        destination: gateway.ip(),
        transport: Transport::Udp,
        port: 53,
        payload: (0..BURST)
            .flat_map(|number| query(&format!("flood{number:02}")))
            .collect(),
    };
    let (burst, header) = burst.superframe(u16::try_from(question.len()).unwrap());
    let (over, bursts) = (AtomicBool::new(false), AtomicU64::new(0));
    let modest = host.sandbox("modest");
    let (slowest, flooded, took) = std::thread::scope(|scope| {
        let wire = flooder.wire();
        let (over, bursts) = (&over, &bursts);
        let start = Instant::now();
        scope.spawn(move || {
            // A test that fails meanwhile does not say that it is over.
            while !over.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(60) {
                // What the link has no room for is lost.
                let sent = wire.send(&header, &burst).is_ok();
                bursts.fetch_add(u64::from(sent), Ordering::Relaxed);
            }
        });
        eventually(Duration::from_secs(20), "more than is served", || {
            let many = bursts.load(Ordering::Relaxed) * BURST > 10_000;
            (many && flooder.drops("edge_busy") > 1000).then_some(())
        });
        let asked = enter(&modest, || {
            let names = (0..100).map(|number| match number % 2 {
                0 => "modest".to_owned(),
                _ => format!("absent{number}.test"),
            });
            let times = names.map(|name| ask(gateway, &name));
            times.collect::<Result<Vec<_>, _>>()
        });
        over.store(true, Ordering::Relaxed);
        let took = start.elapsed();
        let slowest = asked.map(|times| times.into_iter().max().unwrap());
        (slowest, BURST * bursts.load(Ordering::Relaxed), took)
    });
    let rate = u128::from(flooded) * 1000 / took.as_millis();
    println!("{rate} questions a second sent; the slowest of a hundred others took {slowest:?}");
    slowest.unwrap();
    assert!(rate > 20_000, "that is no flood: {rate}");
    let ports = host.ports("lab");
    let others = ports
        .iter()
        .filter(|port| Some(port.port) != flooder.detail.port);
    for port in others {
        assert!(!port.drops.contains_key("edge_busy"), "{port:#?}");
    }
}

/// How long the answer took. Each question is asked once.
fn ask(server: SocketAddr, name: &str) -> Result<Duration, String> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let start = Instant::now();
    socket.send_to(&query(name), server).unwrap();
    let mut reply = [0; 512];
    let length = socket
        .recv(&mut reply)
        .map_err(|error| format!("{name}: {error}"))?;
    match length > 12 && reply[3] & 0x0f != SERVFAIL {
        true => Ok(start.elapsed()),
        false => Err(format!("{name}: {:?}", &reply[..length])),
    }
}

/// A question for `name` below `test`, or for a name of two labels.
fn query(name: &str) -> Vec<u8> {
    let mut query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    let name = match name {
        "modest" => name.to_owned(),
        name if name.contains('.') => name.to_owned(),
        name => format!("{name}.test"),
    };
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.bytes());
    }
    query.extend(*b"\0\0\x01\0\x01");
    query
}

/// Gives a container's link more addresses, from inside.
fn wear(host: &Host, container: &str, addresses: &[IpAddr]) {
    for address in addresses {
        let length = if address.is_ipv4() { "32" } else { "128" };
        let mut ip = std::process::Command::new("ip");
        ip.args(["addr", "add", &format!("{address}/{length}"), "dev", "eth0"]);
        if address.is_ipv6() {
            ip.arg("nodad");
        }
        enter(&host.sandbox(container), || run(&mut ip)).ok();
    }
}

/// A network whose members may send under any address, so that nothing else stops them.
fn network(host: &Host, options: &[&str], name: &str) {
    let create = ["network", "create", "-o", "guard=loose"];
    host.tapestry(&[&create, options, &[name]].concat()).ok();
}

/// Questions that the link takes in one piece.
const BURST: u64 = 60;
const SERVFAIL: u8 = 2;
