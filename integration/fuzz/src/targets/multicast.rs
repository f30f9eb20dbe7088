//! What hosts and routers say of multicast groups, to a bridge that snoops.
//!
//! An input is a number of packets, each behind the number of its port, a byte whose top bit says that it is IPv6's and whose rest is its
//! length. The checksum of each is made to fit: what is behind it matters. A bridge that is aware of VLANs hears the same, in the VLAN
//! that the byte of the port says.

use std::collections::BTreeSet;
use std::time::Duration;

use switch_core::vlan::{PortVlans, Vid, VidSet, VlanConfig};
use switch_core::{
    Bridge, BridgeConfig, Frame, Mac, PortConfig, PortId, PortKind, SnoopingConfig, Time, Verdict,
};
use switch_lab::internet_sum;

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "multicast",
    run,
    length_max: 2048,
    words: &[
        b"\x11\x64\x00\x00\x00\x00\x00\x00",
        b"\x16\x00\x00\x00\xef\x01\x01\x01",
        b"\x17\x00\x00\x00\xef\x01\x01\x01",
        b"\x22\x00\x00\x00\x00\x00\x00\x01",
        b"\x04\x00\x00\x00\xef\x01\x01\x01",
        b"\x01\x00\x00\x01\xef\x01\x01\x01\x0a\x00\x00\x01",
        b"\x8f\x00\x00\x00\x00\x00\x00\x01",
        b"\x83\x00\x00\x00\x00\x00\x00\x00",
        b"\x82\x00\x00\x00\x00\x64\x00\x00",
    ],
};

fn run(input: &[u8]) {
    for vlans in [None, Some(VlanConfig::default())] {
        let bridge = Bridge::new(BridgeConfig {
            snooping: Some(SnoopingConfig::default()),
            vlans,
            ..BridgeConfig::default()
        });
        for (id, kind) in PORTS {
            let config = PortConfig {
                vlans: Some(PortVlans::trunk(Some(Vid::ONE), VidSet::all())),
                ..PortConfig::new(kind, 9000)
            };
            bridge.add_port(id, config);
        }
        hear(&bridge, vlans, input);
    }
}

fn hear(bridge: &Bridge, vlans: Option<VlanConfig>, input: &[u8]) {
    let mut now = Time::from_millis(1000);
    bridge.take_queries(now);
    now = now + Duration::from_secs(10);
    let mut rest = input;
    while let [port, head, more @ ..] = rest {
        let (message, after) = more.split_at(more.len().min(usize::from(head & 0x7f)));
        rest = after;
        let ingress = PORTS[usize::from(*port) % PORTS.len()].0;
        let mut bytes = match head & 0x80 {
            0 => igmp(message),
            _ => mld(message),
        };
        if vlans.is_some() {
            bytes.splice(12..12, [0x81, 0, 0, *port]);
        }
        forward(bridge, now, ingress, &bytes);
        now = now + Duration::from_millis(u64::from(*port) * 10);
        if bridge.queries_due().is_some_and(|due| due <= now) {
            check_queries(bridge, now);
        }
        check(bridge, now);
    }
}

fn forward(bridge: &Bridge, now: Time, ingress: PortId, bytes: &[u8]) {
    let frame = Frame::parse(bytes).unwrap();
    let passed = bridge.pass(now, ingress, &frame);
    if let Verdict::Group(list) = passed.verdict {
        let beneath = passed.tag.map_or(frame, |tag| tag.beneath(frame));
        let list = bridge.group_list(ingress, (list, passed.tag), &beneath);
        let egresses: Vec<_> = list.egresses().collect();
        let once: BTreeSet<_> = egresses.iter().collect();
        assert_eq!(once.len(), egresses.len(), "each port gets it once");
        assert!(
            !egresses.contains(&ingress),
            "nothing goes back where it came from"
        );
        let tunnels = [TUNNEL, OTHER_TUNNEL];
        let is_tunnel = |port: &PortId| tunnels.contains(port);
        assert!(!(is_tunnel(&ingress) && egresses.iter().any(is_tunnel)));
    }
}

/// What is asked is a frame, and a bridge beside this one does as if nobody had spoken.
fn check_queries(bridge: &Bridge, now: Time) {
    for (port, bytes) in bridge.take_queries(now) {
        assert!(PORTS.iter().any(|(id, _)| *id == port));
        let frame = Frame::parse(&bytes).expect("a query is a frame");
        assert!(frame.dst().is_multicast() && frame.fits(1500));
    }
    assert!(
        bridge.queries_due().is_none_or(|due| due > now),
        "what was due is done"
    );
}

/// The table is in its bounds, and a copy of it is the same.
fn check(bridge: &Bridge, now: Time) {
    let views = bridge.multicast(now).expect("it snoops");
    for record in views.iter().flat_map(|view| &view.records) {
        assert!(record.group.is_multicast());
        assert!(record.sources.len() <= 32);
        assert!(
            record
                .expires_in
                .is_none_or(|left| left <= Duration::from_secs(260))
        );
    }
    assert_eq!(bridge.rehearse().bridge().multicast(now), Some(views));
}

fn igmp(message: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + message.len()).unwrap();
    let mut bytes = [
        &[1, 0, 0x5e, 1, 1, 1][..],
        &STATION.octets(),
        &[8, 0, 0x45, 0],
    ]
    .concat();
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 1, 2, 0, 0, 10, 0, 0, 2, 239, 1, 1, 1]);
    let mut message = message.to_vec();
    seal(&mut message, 0);
    [bytes, message].concat()
}

fn mld(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).unwrap();
    let mut bytes = [&[0x33, 0x33, 0, 0, 0, 1][..], &STATION.octets()].concat();
    bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    bytes.extend(len.to_be_bytes());
    bytes.extend([58, 1]);
    let addresses = [&[0xfe, 0x80][..], &[0; 13], &[2, 0xff, 5], &[0; 13], &[1]].concat();
    bytes.extend(&addresses);
    let mut message = message.to_vec();
    let pseudo = u32::from(internet_sum(&addresses)) + 58 + u32::from(len);
    seal(&mut message, pseudo);
    [bytes, message].concat()
}

/// Puts the checksum where both protocols have it.
fn seal(message: &mut [u8], pseudo: u32) {
    if message.len() < 4 {
        return;
    }
    message[2..4].fill(0);
    let mut sum = u32::from(internet_sum(message)) + pseudo;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).unwrap();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}

const STATION: Mac = Mac::new([2, 0, 0, 0, 0, 2]);
const TUNNEL: PortId = PortId(4);
const OTHER_TUNNEL: PortId = PortId(5);
const PORTS: [(PortId, PortKind); 5] = [
    (PortId(1), PortKind::Tap),
    (PortId(2), PortKind::Tap),
    (PortId(3), PortKind::Host),
    (TUNNEL, PortKind::Tunnel),
    (OTHER_TUNNEL, PortKind::Tunnel),
];
