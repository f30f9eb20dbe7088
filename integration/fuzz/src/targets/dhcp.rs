//! What containers ask of DHCP.
//!
//! An input is the payload of a datagram from the registered client.

use std::net::Ipv4Addr;

use switch_core::edge::{Edge, EdgeConfig, HostRecord};
use switch_core::{Frame, Mac, PortId, Time};
use switch_lab::internet_sum;

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "dhcp",
    run,
    length_max: 1024,
    words: &[
        b"\x63\x82\x53\x63",
        b"\x35\x01\x01",
        b"\x35\x01\x03",
        b"\x32\x04\x0a\x00\x00\x02",
        b"\x36\x04\x0a\x00\x00\x01",
        b"\x39\x02\x02\x40",
        b"\x52\x04\x01\x02ab",
        b"\x37\x03\x01\x03\x06",
        b"\x0a\x00\x00\x01",
        b"\xff",
    ],
};

fn run(input: &[u8]) {
    let mut edge = Edge::new(config());
    let host = HostRecord {
        ipv4: ADDRESS,
        hostname: Some("web".to_owned()),
        dns_servers: Vec::new(),
    };
    edge.insert_host(CLIENT, host);
    let asked = framed(input);
    edge.handle_input(Time::from_millis(1), PORT, &asked);
    let mut replies = 0;
    while let Some(sent) = edge.poll_transmit() {
        replies += 1;
        assert_eq!(sent.egress, Some(PORT), "it leaves by the port that asked");
        check(&sent.frame);
    }
    assert!(replies <= 1);
    assert!(edge.poll_event().is_none());
}

/// Whoever asks, the answer is about the registered host, and no longer than the network carries.
fn check(frame: &[u8]) {
    assert!(frame.len() <= 14 + usize::from(MTU));
    let frame = Frame::parse(frame).expect("a reply is a frame");
    assert_eq!(frame.src(), GATEWAY_MAC);
    let udp = &frame.packet()[20..];
    assert_eq!(udp[..2], 67_u16.to_be_bytes());
    let message = &udp[8..];
    assert!(message.len() >= 300, "BOOTP's length (RFC 1542 §2.1)");
    assert_eq!(message[0], 2, "a reply");
    let yours = <[u8; 4]>::try_from(&message[16..20]).unwrap();
    assert!([ADDRESS, Ipv4Addr::UNSPECIFIED].contains(&yours.into()));
    assert_eq!(message[28..34], CLIENT.octets());
    assert_eq!(message[236..240], [0x63, 0x82, 0x53, 0x63]);
}

pub(crate) fn config() -> EdgeConfig {
    EdgeConfig {
        gateway_mac: GATEWAY_MAC,
        v4: Some((Ipv4Addr::new(10, 0, 0, 1), 24)),
        v6: Some(([0xfd00, 0, 0, 0, 0, 0, 0, 1].into(), 64)),
        mtu: MTU,
        dns_servers: Vec::new(),
        domain: Some("mynet".to_owned()),
        lease_s: 3600,
        routed: true,
        seed: 1,
    }
}

/// A broadcast from a client without an address.
fn framed(payload: &[u8]) -> Vec<u8> {
    let length = |headers: usize| {
        u16::try_from(headers + payload.len())
            .unwrap()
            .to_be_bytes()
    };
    let mut packet = vec![0x45, 0];
    packet.extend(length(28));
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    let sum = !internet_sum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([0, 68, 0, 67]);
    packet.extend(length(8));
    // A datagram may do without a checksum.
    packet.extend([0, 0]);
    packet.extend(payload);
    let ends = [Mac::BROADCAST.octets(), CLIENT.octets()];
    [&ends.concat()[..], &[8, 0], &packet].concat()
}

const MTU: u16 = 1500;
pub(crate) const PORT: PortId = PortId(7);
const GATEWAY_MAC: Mac = Mac::new([0x02, 0x42, 10, 0, 0, 1]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const CLIENT: Mac = Mac::new([0x02, 0x42, 10, 0, 0, 2]);
