//! What a trace says is what happens, and it changes nothing.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use agent_api::{FrameTrace, PortView, TraceReport, TraceResult};
use switch_core::Mac;
use switch_io::packet::PacketSocket;

use crate::cluster::pair;
use crate::harness::{Endpoint, HOST_IP, Host, OUTSIDE_IP, enter, eventually};
use crate::packets::{PLAIN, Segment, Transport, arp, ethernet, receive};

const STEP: Duration = Duration::from_secs(5);
/// IEEE 802 "local experimental 1".
const EXPERIMENTAL: u16 = 0x88b5;
const ARP: u16 = 0x0806;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 63, 0, 1);

#[test]
fn a_traced_frame_goes_where_the_real_one_goes() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "10.63.0.0/24", "lab"])
        .ok();
    let [web, db, third] = ["web", "db", "third"].map(|name| host.endpoint("lab", name));
    let lab = Lab::new(&host, [&web, &db, &third]);
    for (what, frame, result, reason) in cases(&web, &db, lab.gateway) {
        let before = lab.drops();
        let traced = lab.trace(&frame);
        assert_eq!(lab.drops(), before, "{what}: a trace counts nothing");
        assert_eq!(traced.verdict.result, result, "{what}: {traced:#?}");
        assert_eq!(
            traced.verdict.reason.as_deref(),
            reason,
            "{what}: {traced:#?}"
        );
        let arrived = lab.send(&frame);
        let foretold = lab.foretold(&traced);
        assert_eq!(arrived, foretold, "{what}: {traced:#?}");
        if let Some(reason) = reason {
            eventually(STEP, &format!("{what}: {reason} is counted once"), || {
                (web.drops(reason) == lab.at_web(&before, reason) + 1).then_some(())
            });
        }
    }
    let known = host.tapestry(&["fdb", "ls", "lab"]).ok();
    lab.trace(&ethernet(db.mac(), forged(7), EXPERIMENTAL, &[0; 46]));
    assert_eq!(host.tapestry(&["fdb", "ls", "lab"]).ok(), known);
}

type Case = (&'static str, Vec<u8>, TraceResult, Option<&'static str>);

/// Frames that `web` sends, and what shall become of them.
fn cases(web: &Endpoint<'_>, db: &Endpoint<'_>, gateway: Mac) -> Vec<Case> {
    let udp = |destination_mac, source: Ipv4Addr, destination: Ipv4Addr, port| {
        let segment = Segment {
            source_mac: web.mac(),
            destination_mac,
            source: source.into(),
            destination: destination.into(),
            transport: Transport::Udp,
            port,
            payload: b"a traced datagram".to_vec(),
        };
        segment.frame()
    };
    let (own, others) = (web.ipv4(), db.ipv4());
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let group_mac = Mac::new([1, 0, 0x5e, 1, 2, 3]);
    let control = Mac::new([1, 0x80, 0xc2, 0, 0, 0]);
    let who_has = arp(1, web.mac(), own, Mac::ZERO, GATEWAY);
    let plain = |to, from| ethernet(to, from, EXPERIMENTAL, &[0x5a; 46]);
    use TraceResult::{Answered, Dropped, Flooded, Sent};
    vec![
        ("known", udp(db.mac(), own, others, 5000), Sent, None),
        ("unknown", plain(forged(9), web.mac()), Flooded, None),
        ("a group", udp(group_mac, own, group, 5000), Flooded, None),
        (
            "who has the gateway",
            ethernet(Mac::BROADCAST, web.mac(), ARP, &who_has),
            Answered,
            None,
        ),
        ("outside", udp(gateway, own, OUTSIDE_IP, 5000), Sent, None),
        (
            "the name server",
            udp(gateway, own, GATEWAY, 53),
            Sent,
            None,
        ),
        (
            "a neighbour's address",
            udp(db.mac(), others, others, 5000),
            Dropped,
            Some("neighbor_ip"),
        ),
        (
            "the gateway's address",
            udp(db.mac(), GATEWAY, others, 5000),
            Dropped,
            Some("gateway_ip"),
        ),
        (
            "the gateway's MAC",
            plain(db.mac(), gateway),
            Dropped,
            Some("gateway_mac"),
        ),
        (
            "a neighbour's MAC",
            plain(gateway, db.mac()),
            Dropped,
            Some("sticky_mac"),
        ),
        (
            "rogue DHCP",
            udp(db.mac(), own, others, 68),
            Dropped,
            Some("rogue_dhcp"),
        ),
        (
            "spanning tree",
            plain(control, web.mac()),
            Dropped,
            Some("link_local_control"),
        ),
        (
            "itself",
            plain(web.mac(), web.mac()),
            Dropped,
            Some("hairpin"),
        ),
    ]
}

/// A network, and a wire at each of its ports but the gateway's.
struct Lab<'h> {
    host: &'h Host,
    web: &'h Endpoint<'h>,
    gateway: Mac,
    /// By the port's number.
    wires: Vec<(u32, PacketSocket)>,
}

impl<'h> Lab<'h> {
    fn new(host: &'h Host, ends: [&'h Endpoint<'h>; 3]) -> Self {
        let detail = host.network("lab");
        let ports = host.ports("lab");
        let at_host = ports.iter().find(|port| port.kind == "host").unwrap();
        let link = detail.host_link.clone().unwrap();
        let beyond = host.netns.enter(|| PacketSocket::open(&link)).unwrap();
        let mut wires: Vec<_> = ends
            .iter()
            .map(|end| (end.detail.port.unwrap(), end.wire()))
            .collect();
        wires.push((at_host.port, beyond));
        Self {
            host,
            web: ends[0],
            gateway: detail.gateway_mac.unwrap().parse().unwrap(),
            wires,
        }
    }

    fn trace(&self, frame: &[u8]) -> FrameTrace {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        let arguments = ["trace", "lab", "--from", "web", "--frame", &hex, "--json"];
        let shown = self.host.tapestry(&arguments).ok();
        let report: TraceReport = serde_json::from_str(&shown).unwrap();
        report.frames.into_iter().next().unwrap()
    }

    /// Sends a frame from `web`. The ports where it, or an answer to it, comes out, in order.
    fn send(&self, frame: &[u8]) -> Vec<u32> {
        let wire = self.web.wire();
        wire.send(&PLAIN, frame).unwrap();
        let arrived = RefCell::new(Vec::new());
        // What was read in one batch may be overtaken; what is read later is not.
        for last in [
            b"the first signal".repeat(4),
            b"the second signal".repeat(4),
        ] {
            let signal = ethernet(Mac::BROADCAST, self.web.mac(), EXPERIMENTAL, &last);
            wire.send(&PLAIN, &signal).unwrap();
            for (port, wire) in self.others() {
                let seen = receive(wire, |seen| {
                    let mut arrived = arrived.borrow_mut();
                    if seen == frame && !arrived.contains(port) {
                        arrived.push(*port);
                    }
                    seen == signal
                });
                assert!(seen.is_some(), "port {port} sees no broadcast");
            }
        }
        let mut arrived = arrived.into_inner();
        arrived.sort_unstable();
        arrived
    }

    fn others(&self) -> impl Iterator<Item = &(u32, PacketSocket)> {
        let own = self.web.detail.port;
        self.wires
            .iter()
            .filter(move |(port, _)| Some(*port) != own)
    }

    /// The ports with a wire where a frame comes out, as a trace has it. What the switch answers comes out nowhere else.
    fn foretold(&self, traced: &FrameTrace) -> Vec<u32> {
        let ports = traced.verdict.ports.iter().map(|port| port.port);
        let mut ports: Vec<_> = ports
            .filter(|port| self.others().any(|(other, _)| other == port))
            .collect();
        ports.sort_unstable();
        ports
    }

    fn drops(&self) -> Vec<PortView> {
        let mut ports = self.host.ports("lab");
        for port in &mut ports {
            // The kernels of the ends speak whenever they like.
            (port.rx_frames, port.rx_bytes, port.tx_frames, port.tx_bytes) = (0, 0, 0, 0);
        }
        ports
    }

    fn at_web(&self, ports: &[PortView], reason: &str) -> u64 {
        let own = self.web.detail.port;
        let at = ports.iter().find(|port| Some(port.port) == own).unwrap();
        at.drops.get(reason).copied().unwrap_or(0)
    }
}

fn forged(n: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, n])
}

fn steps(host: &Host, arguments: &[&str]) -> FrameTrace {
    let shown = host
        .tapestry(&[&["trace"], arguments, &["--json"]].concat())
        .ok();
    let report: TraceReport = serde_json::from_str(&shown).unwrap();
    report.frames.into_iter().next().unwrap()
}

fn result<'t>(traced: &'t FrameTrace, stage: &str) -> Vec<&'t str> {
    let steps = traced.steps.iter().filter(|step| step.stage == stage);
    steps.map(|step| step.result.as_str()).collect()
}

#[test]
fn what_leaves_by_the_host_port_is_followed_through_routes_and_filter() {
    let host = Host::start();
    host.tapestry(&["network", "create", "other"]).ok();
    host.idle("web", "bridge", &[]);
    host.idle("served", "bridge", &["-p", "8080:80"]);
    host.idle("far", "other", &[]);
    let (served, far) = (host.ipv4("served"), host.ipv4("far"));
    let outside = OUTSIDE_IP.to_string();
    let to = |target: &str, port: &str| {
        steps(
            &host,
            &["bridge", "--from", "web", "--to", target, "--tcp", port],
        )
    };

    let traced = to(&outside, "80");
    assert_eq!(traced.verdict.result, TraceResult::Sent);
    assert_eq!(result(&traced, "route"), ["out"], "{traced:#?}");
    assert_eq!(result(&traced, "filter"), ["accept", "masquerade"]);
    host.exec("web", &format!("ping -n -c1 -W2 {outside}")).ok();

    let traced = to(&HOST_IP.to_string(), "8080");
    assert_eq!(
        result(&traced, "filter"),
        ["redirect", "accept", "snat"],
        "{traced:#?}"
    );
    assert!(format!("{traced:?}").contains(&format!("{served}:80")));
    let listener = enter(&host.sandbox("served"), || TcpListener::bind((served, 80)));
    let connected = enter(&host.sandbox("web"), || TcpStream::connect((HOST_IP, 8080)));
    assert!(connected.is_ok(), "{connected:?}");
    drop(listener);

    let traced = to(&far.to_string(), "80");
    assert_eq!(
        traced.verdict.reason.as_deref(),
        Some("filter_isolation"),
        "{traced:#?}"
    );
    let dropped = || {
        let ports = host.ports("other");
        let at_host = ports.iter().find(|port| port.kind == "host").unwrap();
        at_host.drops.get("filter_isolation").copied().unwrap_or(0)
    };
    assert_eq!(dropped(), 0);
    assert_ne!(
        host.exec("web", &format!("ping -n -c1 -W1 {far}")).status,
        0
    );
    assert_eq!(dropped(), 1);

    let traced = to(&HOST_IP.to_string(), "22");
    assert_eq!(result(&traced, "route"), ["local"], "{traced:#?}");
}

#[test]
fn a_trace_finds_whom_a_station_would_ask() {
    let host = Host::start();
    host.tapestry(&[
        "network",
        "create",
        "--internal",
        "--subnet",
        "10.63.0.0/24",
        "lab",
    ])
    .ok();
    host.idle("web", "lab", &["--network-alias", "www"]);
    host.idle("db", "lab", &[]);
    let to = |target: &str, more: &[&str]| {
        steps(
            &host,
            &[&["lab", "--from", "db", "--to", target], more].concat(),
        )
    };
    let owner = |traced: &FrameTrace| traced.verdict.ports[0].owner.clone();
    for name in ["web", "www", "web.lab", "WWW."] {
        assert_eq!(owner(&to(name, &[])), "web", "{name}");
    }
    let asked = to("web", &["--arp"]);
    assert_eq!(asked.verdict.result, TraceResult::Answered);
    let first = to("10.63.0.77", &["--udp", "9"]);
    assert_eq!(result(&first, "neighbors"), ["ask", "miss"], "{first:#?}");
    assert_eq!(first.verdict.result, TraceResult::Flooded);
    // Without a host port, the gateway is the edge alone.
    let internal = to("198.51.100.2", &[]);
    assert_eq!(owner(&internal), "gateway");

    let text = host
        .tapestry(&["trace", "lab", "--from", "db", "--to", "web"])
        .ok();
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    assert!(text.trim_end().ends_with(" (web)"), "{text}");
    for (arguments, said) in [
        (
            &["--from", "nobody", "--to", "web"][..],
            "`tapestry port ls lab`",
        ),
        (
            &["--from", "db", "--to", "nobody"],
            "no name that network \"lab\" knows",
        ),
        (&["--from", "db", "--frame", "0g"], "hexadecimal digits"),
        (&["--from", "db", "--to", "fd00::1"], "no IPv6 address"),
        (&["--from", "db", "--pcap", "/proc/version"], "no capture"),
    ] {
        let refused = host
            .tapestry(&[&["trace", "lab"], arguments].concat())
            .refused(1);
        assert!(
            refused.contains(said) && refused.lines().count() == 1,
            "{refused}"
        );
    }
    host.tapestry(&["trace", "lab", "--from", "db"]).refused(2);
}

#[test]
fn a_frame_for_another_host_is_followed_to_the_tunnel() {
    let lab = pair();
    let traced = steps(&lab.hosts[0], &["far", "--from", "a", "--to", "b"]);
    assert_eq!(traced.verdict.result, TraceResult::Sent, "{traced:#?}");
    assert_eq!(traced.verdict.ports[0].kind, "tunnel");
    let overlay = traced.steps.iter().find(|step| step.stage == "overlay");
    assert!(overlay.unwrap().detail.contains("host-2"), "{traced:#?}");
    let b: IpAddr = lab.hosts[1].ipv4("b");
    lab.hosts[0].exec("a", &format!("ping -n -c1 -W2 {b}")).ok();
}

#[test]
fn frames_that_pass_are_followed_with_their_verdicts() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "10.63.0.0/24", "lab"])
        .ok();
    let [web, db] = ["web", "db"].map(|name| host.endpoint("lab", name));
    let follow = |more: &[&str]| Followed::new(&host, "lab", more);
    let all = follow(&["-c", "1", "udp", "port", "5000"]);
    let drops = follow(&["-c", "1", "--drops"]);
    let [good, bad] = [web.ipv4(), db.ipv4()].map(|source| {
        let segment = Segment {
            source_mac: web.mac(),
            destination_mac: db.mac(),
            source: source.into(),
            destination: db.ipv4().into(),
            transport: Transport::Udp,
            port: 5000,
            payload: b"followed".to_vec(),
        };
        segment.frame()
    });
    let wire = web.wire();
    let sights =
        [(all, &good, "sent"), (drops, &bad, "dropped")].map(|(follower, frame, result)| {
            let lines = follower.lines(STEP, || wire.send(&PLAIN, frame).unwrap());
            let [sight]: [serde_json::Value; 1] = lines.try_into().unwrap();
            assert_eq!(sight["verdict"]["result"], result, "{sight}");
            assert_eq!(sight["from"]["owner"], "web", "{sight}");
            sight
        });
    assert_eq!(sights[0]["verdict"]["ports"][0]["owner"], "db");
    assert_eq!(sights[1]["verdict"]["reason"], "neighbor_ip");
    let deny = "deny from name:web to name:db proto udp port 5000";
    let rule = [
        &["acl", "add", "lab"][..],
        &deny.split(' ').collect::<Vec<_>>(),
    ];
    host.tapestry(&rule.concat()).ok();
    let denied = follow(&["-c", "1", "--drops"]);
    let lines = denied.lines(STEP, || wire.send(&PLAIN, &good).unwrap());
    let verdict = &lines[0]["verdict"];
    assert_eq!(verdict["reason"], "acl", "{lines:?}");
    assert_eq!(verdict["ports"][0]["owner"], "db", "{lines:?}");
    let detail = lines[0]["detail"].as_str().unwrap();
    assert!(
        detail.starts_with(&format!("rule 10, `{deny}`, denies it to port ")),
        "{detail}"
    );
    let refused = host
        .tapestry(&["trace", "lab", "--live", "vlan", "7"])
        .refused(1);
    assert!(refused.contains("is no word of a filter"), "{refused}");
}

/// `trace --live`, which ends by itself.
pub(crate) struct Followed(std::process::Child);

impl Followed {
    pub(crate) fn new(host: &Host, network: &str, more: &[&str]) -> Self {
        Self(host.spawn(&[&["trace", network, "--live", "--json"], more].concat()))
    }

    /// Its lines; `send` is done until they are there.
    pub(crate) fn lines(mut self, patience: Duration, send: impl Fn()) -> Vec<serde_json::Value> {
        eventually(patience, "frames are followed", || {
            send();
            self.0.try_wait().unwrap()
        });
        let mut text = String::new();
        std::io::Read::read_to_string(self.0.stdout.as_mut().unwrap(), &mut text).unwrap();
        let lines = text.lines().map(serde_json::from_str);
        let lines: Result<_, _> = lines.collect();
        lines.unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}
