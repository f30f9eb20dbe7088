//! The edge as its clients see it: every frame below is made and checked by another stack than the one under test.

mod over_tcp;

use std::net::Ipv6Addr;

use dhcproto::v4::{DhcpOption, HType, Message as DhcpMessage, MessageType, Opcode};
use dhcproto::{Decodable, Encodable};
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpRepr, UdpPacket,
};

use super::*;

const GATEWAY_MAC: Mac = Mac::new([0x02, 0x42, 10, 0, 0, 1]);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const CLIENT_PORT: PortId = PortId(7);
const CLIENT_MAC: Mac = Mac::new([0x02, 0x42, 10, 0, 0, 2]);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

fn edge() -> Edge {
    Edge::new(EdgeConfig {
        gateway_mac: GATEWAY_MAC,
        v4: Some((GATEWAY, 24)),
        v6: Some((GATEWAY6, 64)),
        mtu: 1500,
        dns_servers: Vec::new(),
        domain: None,
        lease_s: 3600,
        routed: true,
        seed: 1,
    })
}

fn udp_frame(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    Datagram {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        payload,
    }
    .to_frame(CLIENT_MAC, GATEWAY_MAC, u16::MAX)
    .unwrap()
}

fn ip_frame(header: &IpRepr, payload: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut packet = vec![0; header.buffer_len()];
    header.emit(&mut packet, &ChecksumCapabilities::default());
    payload(&mut packet[header.header_len()..]);
    frame::attach(CLIENT_MAC, GATEWAY_MAC, &packet).unwrap()
}

fn echo_request(destination: Ipv4Addr, length: usize) -> Vec<u8> {
    let data = vec![7; length];
    let echo = Icmpv4Repr::EchoRequest {
        ident: 1,
        seq_no: 2,
        data: &data,
    };
    let header = IpRepr::new(
        CLIENT.into(),
        destination.into(),
        IpProtocol::Icmp,
        echo.buffer_len(),
        64,
    );
    ip_frame(&header, |bytes| {
        echo.emit(
            &mut Icmpv4Packet::new_unchecked(bytes),
            &ChecksumCapabilities::default(),
        );
    })
}

/// Takes the edge's next frame apart, checking that it goes from the gateway to the client.
fn next_payload(edge: &mut Edge) -> Option<(IpAddr, Vec<u8>)> {
    let Transmit { egress, frame } = edge.poll_transmit()?;
    assert_eq!(egress, Some(CLIENT_PORT));
    let ethernet = Ethernet::parse(&frame).unwrap();
    assert_eq!(ethernet.source, GATEWAY_MAC);
    assert_eq!(ethernet.destination, CLIENT_MAC);
    assert!(ethernet.packet.len() <= 1500);
    let packet = Ip::parse(ethernet.ethertype, ethernet.packet).unwrap();
    Some((packet.source, packet.payload.to_vec()))
}

fn next_query(edge: &mut Edge) -> Option<(QueryId, Carrier, Vec<u8>)> {
    let EdgeEvent::Dns {
        query,
        carrier,
        message,
        ..
    } = edge.poll_event()?;
    Some((query, carrier, message))
}

#[test]
fn echo_request_to_gateway_is_answered_in_ipv4() {
    let mut edge = edge();
    edge.handle_input(Time::default(), CLIENT_PORT, &echo_request(GATEWAY, 1472));
    let (source, payload) = next_payload(&mut edge).unwrap();
    assert_eq!(source, IpAddr::V4(GATEWAY));
    let packet = Icmpv4Packet::new_checked(&payload[..]).unwrap();
    let reply = Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default()).unwrap();
    let data = [7; 1472];
    let expected = Icmpv4Repr::EchoReply {
        ident: 1,
        seq_no: 2,
        data: &data,
    };
    assert_eq!(reply, expected);
    assert!(edge.poll_transmit().is_none());
}

#[test]
fn echo_request_to_gateway_is_answered_in_ipv6() {
    let mut edge = edge();
    let echo = Icmpv6Repr::EchoRequest {
        ident: 1,
        seq_no: 2,
        data: b"hello",
    };
    let header = IpRepr::new(
        CLIENT6.into(),
        GATEWAY6.into(),
        IpProtocol::Icmpv6,
        echo.buffer_len(),
        64,
    );
    let frame = ip_frame(&header, |bytes| {
        let mut packet = Icmpv6Packet::new_unchecked(bytes);
        echo.emit(
            &CLIENT6,
            &GATEWAY6,
            &mut packet,
            &ChecksumCapabilities::default(),
        );
    });
    edge.handle_input(Time::default(), CLIENT_PORT, &frame);
    let (_, payload) = next_payload(&mut edge).unwrap();
    let packet = Icmpv6Packet::new_checked(&payload[..]).unwrap();
    let reply = Icmpv6Repr::parse(
        &GATEWAY6,
        &CLIENT6,
        &packet,
        &ChecksumCapabilities::default(),
    );
    let expected = Icmpv6Repr::EchoReply {
        ident: 1,
        seq_no: 2,
        data: b"hello",
    };
    assert_eq!(reply.unwrap(), expected);
}

#[test]
fn frames_for_others_meet_silence() {
    let mut edge = edge();
    let mut elsewhere = echo_request(GATEWAY, 8);
    elsewhere[..6].copy_from_slice(&CLIENT_MAC.octets());
    let frames = [
        echo_request(Ipv4Addr::new(10, 0, 0, 9), 8),
        echo_request(Ipv4Addr::new(8, 8, 8, 8), 8),
        echo_request(Ipv4Addr::BROADCAST, 8),
        elsewhere,
        udp_frame("10.0.0.2:4000", "10.0.0.9:53", b"query"),
        udp_frame("10.0.0.1:4000", "10.0.0.1:53", b"query"),
    ];
    for frame in &frames {
        edge.handle_input(Time::default(), CLIENT_PORT, frame);
    }
    assert!(edge.poll_transmit().is_none());
    assert!(edge.poll_event().is_none());
    assert_eq!(edge.counters().not_ours, 6);
}

#[test]
fn fragments_are_counted_and_dropped() {
    let mut edge = edge();
    let mut frame = echo_request(GATEWAY, 8);
    frame[14 + 6] = 0x20;
    smoltcp::wire::Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
    edge.handle_input(Time::default(), CLIENT_PORT, &frame);
    assert!(edge.poll_transmit().is_none());
    assert_eq!(edge.counters().fragments, 1);
}

#[test]
fn unfinished_udp_checksum_is_tolerated() {
    let mut edge = edge();
    let mut frame = udp_frame("10.0.0.2:4000", "10.0.0.1:53", b"query");
    frame[14 + 20 + 6] ^= 0x55;
    edge.handle_input(Time::default(), CLIENT_PORT, &frame);
    assert!(edge.poll_event().is_some());
}

#[test]
fn udp_query_is_answered_to_who_asked() {
    for (client, server) in [
        ("10.0.0.2:4000", "10.0.0.1:53"),
        ("[fd00::2]:4000", "[fd00::1]:53"),
        // A server beyond the gateway, in whose place the edge answers.
        ("10.0.0.2:4000", "192.0.2.9:53"),
    ] {
        let mut edge = edge();
        edge.handle_input(
            Time::default(),
            CLIENT_PORT,
            &udp_frame(client, server, b"query"),
        );
        let (query, carrier, message) = next_query(&mut edge).unwrap();
        assert_eq!((carrier, &message[..]), (Carrier::Udp, &b"query"[..]));
        assert!(edge.poll_transmit().is_none());
        edge.answer(query, b"answer");
        let (source, payload) = next_payload(&mut edge).unwrap();
        let udp = UdpPacket::new_checked(&payload[..]).unwrap();
        let client: SocketAddr = client.parse().unwrap();
        assert!(udp.verify_checksum(&source.into(), &client.ip().into()));
        assert_eq!((udp.src_port(), udp.dst_port()), (53, 4000));
        assert_eq!(udp.payload(), b"answer");
        edge.answer(query, b"again");
        assert!(edge.poll_transmit().is_none());
        assert_eq!(edge.counters().answers_dropped, 1);
    }
}

#[test]
fn question_answered_on_its_way_gets_the_frame_that_the_edge_would_send() {
    for (client, server) in [
        ("10.0.0.2:4000", "10.0.0.1:53"),
        ("[fd00::2]:4000", "[fd00::1]:53"),
        // A server beyond the gateway, in whose place the edge answers.
        ("10.0.0.2:4000", "192.0.2.9:53"),
    ] {
        let mut edge = edge();
        let frame = udp_frame(client, server, b"query");
        let question = Question::parse(edge.config(), &frame).unwrap();
        assert_eq!(question.message(), b"query");
        assert_eq!(
            question.source(),
            client.parse::<SocketAddr>().unwrap().ip()
        );
        edge.handle_input(Time::default(), CLIENT_PORT, &frame);
        let (query, ..) = next_query(&mut edge).unwrap();
        edge.answer(query, b"answer");
        assert_eq!(
            question.reply(edge.config(), b"answer"),
            edge.poll_transmit().map(|transmit| transmit.frame)
        );
        assert_eq!(question.reply(edge.config(), &[0; 1500]), None);
    }
}

#[test]
fn unusual_frames_are_no_questions() {
    let edge = edge();
    let (client, server) = ("10.0.0.2:4000", "10.0.0.1:53");
    let usual = udp_frame(client, server, b"query");
    assert!(Question::parse(edge.config(), &usual).is_some());
    let mut broadcast = usual.clone();
    broadcast[..6].fill(0xff);
    let mut fragment = usual.clone();
    fragment[14 + 6] |= 0x20;
    for frame in [
        broadcast,
        fragment,
        udp_frame(client, "10.0.0.9:53", b"query"),
        udp_frame(client, "10.0.0.1:54", b"query"),
        udp_frame("10.0.0.2:0", server, b"query"),
        udp_frame("10.0.0.1:4000", server, b"query"),
        udp_frame(client, server, b""),
        udp_frame(client, server, &[0; 513]),
        usual[..30].to_vec(),
    ] {
        assert!(
            Question::parse(edge.config(), &frame).is_none(),
            "{frame:x?}"
        );
    }
}

#[test]
fn unanswered_query_expires() {
    let mut edge = edge();
    let frame = udp_frame("10.0.0.2:4000", "10.0.0.1:53", b"query");
    edge.handle_input(Time::from_millis(100), CLIENT_PORT, &frame);
    assert_eq!(edge.poll_timeout(), Some(Time::from_millis(10_100)));
    edge.handle_timeout(Time::from_millis(10_100));
    assert_eq!(edge.poll_timeout(), None);
    assert_eq!(edge.counters().queries_expired, 1);
}

#[test]
fn flood_of_queries_is_bounded() {
    let mut edge = edge();
    let frame = udp_frame("10.0.0.2:4000", "10.0.0.1:53", b"query");
    for _ in 0..2000 {
        edge.handle_input(Time::default(), CLIENT_PORT, &frame);
    }
    assert_eq!(std::iter::from_fn(|| edge.poll_event()).count(), 256);
    assert_eq!(edge.counters().queries_refused, 1744);
}

proptest! {
    #[test]
    fn no_frame_panics(
        frame in proptest::collection::vec(any::<u8>(), 0..200),
        ethertype in prop_oneof![Just([0x08, 0x00]), Just([0x86, 0xdd])],
    ) {
        let mut edge = edge();
        let mut bytes = GATEWAY_MAC.octets().to_vec();
        bytes.extend(CLIENT_MAC.octets());
        bytes.extend(ethertype);
        bytes.extend(frame);
        edge.handle_input(Time::default(), CLIENT_PORT, &bytes);
        while edge.poll_transmit().is_some() {}
    }

    #[test]
    fn no_damaged_packet_panics(
        kind in 0_usize..3,
        damage in proptest::collection::vec((14_usize..80, any::<u8>()), 0..6),
        protocol in any::<u8>(),
    ) {
        let mut edge = edge();
        let mut bytes = match kind {
            0 => echo_request(GATEWAY, 40),
            1 => udp_frame("[fd00::2]:4000", "[fd00::1]:53", &[0; 40]),
            _ => udp_frame("10.0.0.2:4000", "10.0.0.1:53", &[0; 40]),
        };
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes[if kind == 1 { 20 } else { 23 }] = protocol;
        if kind != 1 && bytes[14] == 0x45 {
            smoltcp::wire::Ipv4Packet::new_unchecked(&mut bytes[14..]).fill_checksum();
        }
        edge.handle_input(Time::default(), CLIENT_PORT, &bytes);
        edge.handle_timeout(Time::from_millis(20_000));
        while edge.poll_transmit().is_some() {}
    }
}

fn dhcp_exchange(edge: &mut Edge, options: &[DhcpOption]) -> Option<DhcpMessage> {
    let mut message = DhcpMessage::default();
    message
        .set_opcode(Opcode::BootRequest)
        .set_htype(HType::Eth)
        .set_chaddr(&CLIENT_MAC.octets());
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    let mut frame = udp_frame(
        "0.0.0.0:68",
        "255.255.255.255:67",
        &message.to_vec().unwrap(),
    );
    frame[..6].copy_from_slice(&Mac::BROADCAST.octets());
    edge.handle_input(Time::default(), CLIENT_PORT, &frame);
    let (source, payload) = next_payload(edge)?;
    assert_eq!(source, IpAddr::V4(GATEWAY));
    let udp = UdpPacket::new_checked(&payload[..]).unwrap();
    assert_eq!((udp.src_port(), udp.dst_port()), (67, 68));
    assert!(udp.verify_checksum(&GATEWAY.into(), &CLIENT.into()));
    Some(DhcpMessage::from_bytes(udp.payload()).unwrap())
}

#[test]
fn registered_host_gets_its_address_by_dhcp() {
    let mut edge = edge();
    let discover = [DhcpOption::MessageType(MessageType::Discover)];
    assert!(dhcp_exchange(&mut edge, &discover).is_none());
    let record = HostRecord {
        ipv4: CLIENT,
        hostname: None,
        dns_servers: Vec::new(),
    };
    edge.insert_host(CLIENT_MAC, record);
    let offer = dhcp_exchange(&mut edge, &discover).unwrap();
    assert_eq!(offer.yiaddr(), CLIENT);
    let request = [
        DhcpOption::MessageType(MessageType::Request),
        DhcpOption::RequestedIpAddress(offer.yiaddr()),
        DhcpOption::ServerIdentifier(GATEWAY),
    ];
    let ack = dhcp_exchange(&mut edge, &request).unwrap();
    assert!(ack.opts().has_msg_type(MessageType::Ack));
    assert_eq!(ack.yiaddr(), CLIENT);
    assert_eq!(edge.poll_lease(), Some((CLIENT_MAC, CLIENT)));
    dhcp_exchange(&mut edge, &request).unwrap();
    assert_eq!(edge.poll_lease(), None, "it was told before");
    edge.remove_host(CLIENT_MAC);
    assert!(dhcp_exchange(&mut edge, &discover).is_none());
    let counters = edge.counters();
    assert_eq!((counters.dhcp_replies, counters.dhcp_unknown), (3, 2));
    // Told once: a client that waits asks again and again.
    assert_eq!(edge.poll_unserved(), Some(CLIENT_MAC));
    assert_eq!(edge.poll_unserved(), None);
}
