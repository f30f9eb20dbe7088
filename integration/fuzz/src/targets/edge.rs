//! What containers send to a network's gateway: echo, DNS over UDP and TCP, DHCP, and whatever else.
//!
//! An input is frames in the order of their coming, each behind its port and the time since the one before. The checksums of
//! IPv4, TCP and UDP are put right, since a mutation that only breaks them is turned away at the door.

use std::time::Duration;

use dns_core::{Answer, Carrier, Policy, answer};
use switch_core::edge::{self, Edge, EdgeEvent, Question};
use switch_core::{Frame, PortId, Time};
use switch_lab::internet_sum;

use super::dhcp;
use super::question::ZONE;
use crate::Target;
use crate::input::parts;

pub(crate) const TARGET: Target = Target {
    name: "edge",
    run,
    length_max: 2048,
    words: &[
        b"\x02\x42\x0a\x00\x00\x01",
        b"\x0a\x00\x00\x01",
        b"\x0a\x00\x00\x02",
        b"\x00\x35",
        b"\x00\x43",
        b"\x50\x02",
        b"\x50\x10",
        b"\x50\x18",
        b"\x50\x11",
        b"\x03web\x05mynet\x00\x00\x01\x00\x01",
    ],
};

fn run(input: &[u8]) {
    let config = dhcp::config();
    let mut edge = Edge::new(config.clone());
    let mut now = Time::from_millis(1);
    let mut waiting = 0_usize;
    for part in parts(input) {
        let Some((&[port, pause], frame)) = part.split_first_chunk::<2>() else {
            continue;
        };
        now = now + Duration::from_millis(u64::from(pause) * 100);
        edge.handle_timeout(now);
        let port = PortId(u32::from(port % 2) + 1);
        let frame = finished(frame);
        if let Some(question) = Question::parse(&config, &frame) {
            let reply = question.reply(&config, question.message());
            assert!(reply.is_some_and(|reply| reply.len() <= LENGTH_MAX));
        }
        edge.handle_input(now, port, &frame);
        while let Some(EdgeEvent::Dns {
            query,
            carrier,
            message,
            ..
        }) = edge.poll_event()
        {
            waiting += 1;
            let carrier = match carrier {
                edge::Carrier::Udp => Carrier::Udp,
                edge::Carrier::Tcp => Carrier::Tcp,
            };
            match answer(&ZONE, &message, carrier, Policy::Forward) {
                Answer::Reply(reply) | Answer::Refuse(reply) => edge.answer(query, &reply),
                Answer::Ignore => edge.answer(query, &[]),
                // Nobody upstream answers.
                Answer::Forward(_) => {}
            }
        }
        let mut sent = 0;
        while let Some(transmit) = edge.poll_transmit() {
            sent += 1;
            check(&transmit.frame);
            assert!(transmit.egress.is_some_and(|egress| egress.0 <= 2));
        }
        assert!(sent <= SENT_MAX, "{sent} frames for one");
    }
    // When all that can wait is over, nothing is pending.
    for _ in 0..TIMEOUTS_MAX {
        let Some(due) = edge.poll_timeout() else {
            return;
        };
        now = now.max(due);
        edge.handle_timeout(now);
        while edge.poll_event().is_some() || edge.poll_transmit().is_some() {}
    }
    panic!("the edge is busy for ever, with {waiting} queries");
}

fn check(frame: &[u8]) {
    assert!(frame.len() <= LENGTH_MAX, "{} bytes", frame.len());
    let frame = Frame::parse(frame).expect("the edge sends frames");
    assert_eq!(frame.src(), dhcp::config().gateway_mac);
}

/// With right checksums, as far as there are any.
fn finished(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    let Some([0x08, 0x00, 0x45, ..]) = bytes.get(12..) else {
        return bytes;
    };
    let Some(header) = bytes.get_mut(14..34) else {
        return bytes;
    };
    header[10..12].fill(0);
    let sum = !internet_sum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let (protocol, ends) = (header[9], header[12..20].to_vec());
    let Some(segment) = bytes.get_mut(34..(14 + length).max(34)) else {
        return bytes;
    };
    let at = match protocol {
        6 => 16,
        17 => 6,
        _ => return bytes,
    };
    if segment.len() < at + 2 {
        return bytes;
    }
    segment[at..at + 2].fill(0);
    let length = u16::try_from(segment.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let pseudo = [&ends[..], &[0, protocol], &length, segment].concat();
    let sum = !internet_sum(&pseudo);
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// A frame of the network's MTU.
const LENGTH_MAX: usize = 14 + 1500;
/// An answer over TCP, acknowledgements, and what a connection's end takes.
const SENT_MAX: usize = 64;
const TIMEOUTS_MAX: usize = 2000;
