//! VLANs through a running agent: who hears whom, in which form, before and after a restart.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use agent_api::{EndpointDetail, EndpointSettings};
use rustix::process::Signal;
use switch_core::Mac;

use crate::cluster::{cluster, create_shared};
use crate::ends::{End, Family};
use crate::harness::{Endpoint, Host, eventually};
use crate::packets::{
    ETHERNET, NEEDS_CSUM, PLAIN, Segment, Transport, Vnet, checksums_hold, ethernet, finished,
    receive, receive_within,
};

const STEP: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(200);
/// IEEE 802 "local experimental 1".
const EXPERIMENTAL: u16 = 0x88b5;
const VLAN: u16 = 0x8100;
const SIZE: u16 = 1000;
const DOWNLOAD: usize = 20 << 20;

/// An endpoint and what passes its link.
struct Station<'h> {
    host: &'h Host,
    endpoint: Endpoint<'h>,
    end: End,
}

impl Station<'_> {
    /// A broadcast, in this VLAN and of this priority where there is a TCI.
    fn say(&self, tci: Option<u16>, words: &str) {
        self.send(Mac::BROADCAST, tci, words);
    }

    fn send(&self, to: Mac, tci: Option<u16>, words: &str) {
        let payload = [words.as_bytes(), &[0; 46]].concat();
        let frame = ethernet(to, self.endpoint.mac(), EXPERIMENTAL, &payload);
        self.end.wire.send(&PLAIN, &tagged(&frame, tci)).unwrap();
    }

    /// Those of its port, which has another number after the agent's restart.
    fn drops(&self, reason: &str) -> u64 {
        let detail = &self.endpoint.detail;
        let ports = self.host.ports(&detail.network);
        let own = ports.iter().find(|port| port.owner == detail.name);
        own.map_or(0, |port| port.drops.get(reason).copied().unwrap_or(0))
    }

    /// The words that it hears until it is quiet, each with the TCI that they came with, if any.
    fn hears(&self) -> BTreeMap<String, Option<u16>> {
        let mut heard = BTreeMap::new();
        while let Some(received) = receive_within(&self.end.wire, QUIET, |_| true) {
            let frame = received.frame;
            let tci = (frame[12..14] == VLAN.to_be_bytes())
                .then(|| u16::from_be_bytes([frame[14], frame[15]]));
            let at = if tci.is_some() {
                ETHERNET + 4
            } else {
                ETHERNET
            };
            if frame[at - 2..at] == EXPERIMENTAL.to_be_bytes() {
                let words = frame[at..].iter().take_while(|byte| **byte != 0);
                heard.insert(words.map(|byte| char::from(*byte)).collect(), tci);
            }
        }
        heard
    }
}

fn station_on<'h>(
    host: &'h Host,
    name: &str,
    vlan: Option<u16>,
    trunk: Option<&str>,
) -> Station<'h> {
    let settings = EndpointSettings {
        vlan,
        trunk: trunk.map(str::to_owned),
        ..EndpointSettings::default()
    };
    let endpoint = host.endpoint_with("campus", name, settings);
    let end = End::of_endpoint(&endpoint);
    Station {
        host,
        endpoint,
        end,
    }
}

#[test]
fn stations_hear_and_say_what_belongs_to_their_vlans() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--ipv6", "-o", "vlan=aware", "campus"])
        .ok();
    let station = |name: &str, vlan, trunk: Option<&str>| station_on(&host, name, vlan, trunk);
    let red = station("red", Some(10), None);
    let rose = station("rose", Some(10), None);
    let blue = station("blue", Some(20), None);
    let green = station("green", Some(30), None);
    let home = station("home", None, None);
    let trunk = station("trunk", Some(30), Some("10,20"));
    refused(&host);

    // Stations of a VLAN, and of the gateway's, reach each other through their own kernels.
    assert!(red.endpoint.netns.pings(rose.endpoint.ipv4()));
    assert!(home.endpoint.netns.pings(home.endpoint.detail.gateways[0]));
    isolated([&red, &rose, &blue, &green, &home, &trunk]);
    superframes(&red, &rose, &trunk);
    downloads(&red, &rose);
    shown(&host, &trunk);

    host.stop_agent(Signal::TERM);
    host.launch();
    let detail: EndpointDetail = host
        .api(
            "GET",
            &format!("/v1/endpoints/{}", trunk.endpoint.detail.id),
            None,
        )
        .ok();
    assert_eq!(
        (detail.vlan, detail.trunk.as_deref()),
        (Some(30), Some("10,20"))
    );
    isolated([&red, &rose, &blue, &green, &home, &trunk]);
    // A killed agent is started again by its guardian, from the same records.
    host.kill_agent_proper();
    isolated([&red, &rose, &blue, &green, &home, &trunk]);
}

/// Two hosts, with stations of the same VLANs on both.
fn vlans_cross_a_tunnel(options: &[&str]) {
    let lab = cluster(2);
    let aware = ["--ipv6", "-o", "vlan=aware"];
    create_shared(&lab, "campus", &[&aware, options].concat());
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let red = station_on(one, "red", Some(10), None);
    let blue = station_on(one, "blue", Some(20), None);
    let home = station_on(one, "home", None, None);
    let rose = station_on(two, "rose", Some(10), None);
    let trunk = station_on(two, "trunk", Some(30), Some("10,20"));
    let hut = station_on(two, "hut", None, None);
    for (from, to) in [(&red, &rose), (&home, &hut)] {
        eventually(STEP, "the tunnel is there", || {
            from.endpoint.netns.pings(to.endpoint.ipv4()).then_some(())
        });
    }
    for station in [&red, &blue, &home, &rose, &trunk, &hut] {
        station.hears();
    }
    red.say(None, "of red");
    red.send(trunk.endpoint.mac(), Some(0xa000), "urgent");
    home.say(None, "of home");
    trunk.say(Some(0x6014), "of the trunk in 20");
    trunk.say(None, "of the trunk in 30");
    type Words = [(&'static str, Option<u16>)];
    let expected: [(_, &Words); 6] = [
        (&red, &[]),
        (&blue, &[("of the trunk in 20", None)]),
        (&home, &[]),
        (&rose, &[("of red", None)]),
        (&trunk, &[("of red", Some(10)), ("urgent", Some(0xa00a))]),
        (&hut, &[("of home", None)]),
    ];
    for (station, words) in expected {
        let words = words.iter().map(|(words, tci)| ((*words).to_owned(), *tci));
        let name = &station.endpoint.detail.name;
        assert_eq!(station.hears(), words.collect(), "{name}");
    }
    downloads(&red, &rose);
}

#[test]
fn vlans_cross_a_tunnel_over_quic_with_their_frames() {
    vlans_cross_a_tunnel(&[]);
}

#[test]
fn vlans_cross_a_tunnel_over_vxlan_with_their_frames() {
    vlans_cross_a_tunnel(&["-o", "encap=vxlan"]);
}

/// What each says is heard where it belongs, with the tag that belongs there, and nowhere else.
fn isolated([red, rose, blue, green, home, trunk]: [&Station<'_>; 6]) {
    red.say(None, "of red");
    // One that lives in another VLAN has no place in this one, so all of this one hear it.
    red.send(blue.endpoint.mac(), None, "for blue");
    red.send(trunk.endpoint.mac(), Some(0xa000), "urgent");
    trunk.say(Some(0x6014), "of the trunk in 20");
    trunk.say(None, "of the trunk");
    home.say(None, "of home");
    // Where a port does not belong.
    trunk.say(Some(40), "of the trunk in 40");
    red.say(Some(20), "of red in 20");
    type Words = [(&'static str, Option<u16>)];
    let expected: [(_, &Words); 6] = [
        (red, &[]),
        (rose, &[("of red", None), ("for blue", None)]),
        (blue, &[("of the trunk in 20", None)]),
        (green, &[("of the trunk", None)]),
        (home, &[]),
        (
            trunk,
            // Priority is kept.
            &[
                ("of red", Some(10)),
                ("for blue", Some(10)),
                ("urgent", Some(0xa00a)),
            ],
        ),
    ];
    for (station, words) in expected {
        let words = words.iter().map(|(words, tci)| ((*words).to_owned(), *tci));
        let name = &station.endpoint.detail.name;
        assert_eq!(station.hears(), words.collect(), "{name}");
    }
    for station in [trunk, red] {
        assert!(station.drops("vlan_foreign") > 0);
    }
}

/// Frames of 60 KB with open checksums cross whole, with and without a tag.
fn superframes(red: &Station<'_>, rose: &Station<'_>, trunk: &Station<'_>) {
    for (to, tag) in [(rose, 0), (trunk, 4)] {
        let segment = Segment {
            payload: (0..60_000_u32).map(|n| (n % 251) as u8).collect(),
            ..red
                .end
                .segment(&to.end, Family::V4, Transport::Tcp, Vec::new())
        };
        let (frame, header) = segment.superframe(SIZE);
        red.end.wire.send(&header, &frame).unwrap();
        let received = receive(&to.end.wire, |frame| frame.len() > 60_000).unwrap();
        assert_eq!(received.frame.len(), frame.len() + tag);
        assert_eq!(received.frame[12 + tag..], frame[12..]);
        assert_eq!(
            (received.vnet[0] & NEEDS_CSUM, received.vnet[1]),
            (NEEDS_CSUM, header[1])
        );
        assert!(checksums_hold(&finished(&received), ETHERNET + tag));
        // And back, from tagged to untagged.
        if tag > 0 {
            let back = Segment {
                payload: segment.payload.clone(),
                ..to.end
                    .segment(&red.end, Family::V4, Transport::Tcp, Vec::new())
            };
            let (frame, header) = back.superframe(SIZE);
            let header = moved(header);
            to.end
                .wire
                .send(&header, &tagged(&frame, Some(10)))
                .unwrap();
            let received = receive(&red.end.wire, |frame| frame.len() > 60_000).unwrap();
            assert_eq!(received.frame, frame);
            assert!(checksums_hold(&finished(&received), ETHERNET));
        }
    }
}

/// The kernels' own segmentation, over a connection.
fn downloads(red: &Station<'_>, rose: &Station<'_>) {
    let at = (rose.endpoint.ipv4(), 7000);
    let listener = rose.endpoint.netns.enter(|| TcpListener::bind(at)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut connection, _) = listener.accept().unwrap();
            connection.write_all(&vec![7; DOWNLOAD]).unwrap();
        });
        let mut connection = red.endpoint.netns.enter(|| TcpStream::connect(at)).unwrap();
        let mut received = Vec::new();
        connection.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), DOWNLOAD);
    });
}

/// What a person is told.
fn shown(host: &Host, trunk: &Station<'_>) {
    let table = host.tapestry(&["fdb", "ls", "campus"]).ok();
    let of_trunk: Vec<_> = table
        .lines()
        .filter(|line| line.contains(&trunk.endpoint.detail.mac))
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(of_trunk, ["10", "20", "30"], "{table}");
    let told = host
        .tapestry(&["trace", "campus", "--from", "red", "--to", "blue"])
        .stdout;
    assert!(told.contains("in VLAN 10, without a tag"), "{told}");
}

/// What makes no sense is refused by a line that says what to do.
fn refused(host: &Host) {
    for (line, part) in [
        (
            &["network", "create", "-o", "vlan_default=7", "x"][..],
            "vlan=aware beside it",
        ),
        (
            &["network", "create", "-o", "vlan=yes", "x"],
            "aware or unaware",
        ),
        (
            &["run", "--rm", "--vlan", "10", "--", "true"],
            "-o vlan=aware",
        ),
        (
            &[
                "run",
                "--rm",
                "--network",
                "campus",
                "--trunk",
                "9-",
                "--",
                "true",
            ],
            "10,20-30",
        ),
    ] {
        let output = host.tapestry(line);
        assert_ne!(output.status, 0);
        assert!(output.stderr.contains(part), "{}", output.stderr);
    }
    host.tapestry(&[
        "run",
        "--rm",
        "--network",
        "campus",
        "--vlan",
        "10",
        "--trunk",
        "20-30",
        "--",
        "true",
    ])
    .ok();
}

fn tagged(frame: &[u8], tci: Option<u16>) -> Vec<u8> {
    match tci {
        None => frame.to_vec(),
        Some(tci) => {
            let (addresses, rest) = frame.split_at(12);
            [addresses, &VLAN.to_be_bytes(), &tci.to_be_bytes(), rest].concat()
        }
    }
}

/// The header of a frame that got a tag: its own length and the checksum's start are four more.
fn moved(mut header: Vnet) -> Vnet {
    for at in [2, 6] {
        let word = u16::from_ne_bytes([header[at], header[at + 1]]) + 4;
        header[at..at + 2].copy_from_slice(&word.to_ne_bytes());
    }
    header
}
