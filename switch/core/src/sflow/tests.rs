//! Datagrams byte by byte, and that all that goes in comes out.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::bytes::be32;

const AGENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn flow(head: &[u8], verdict: Verdict) -> FlowRecord<'_> {
    FlowRecord {
        ingress: PortId(3),
        verdict,
        stands_for: 1000,
        len: 1514,
        head,
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The kinds of the records of a datagram, with their bodies.
fn records(datagram: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let at = match be32(datagram, 4) {
        1 => 12,
        _ => 24,
    };
    let count = be32(datagram, at + 12);
    let mut rest = &datagram[at + 16..];
    let mut records = Vec::new();
    for _ in 0..count {
        let len = usize::try_from(be32(rest, 4)).unwrap();
        records.push((be32(rest, 0), rest[8..8 + len].to_vec()));
        rest = &rest[8 + len..];
    }
    assert!(rest.is_empty());
    records
}

#[test]
fn a_flow_sample_is_written_as_the_document_has_it() {
    let mut exporter = Exporter::new(AGENT);
    let head = [7; 6];
    let verdict = Verdict::Unicast(PortId(4));
    assert_eq!(exporter.flow(5, &flow(&head, verdict)), None);
    let mut expected = words(&[5, 1]);
    expected.extend([192, 0, 2, 1]);
    // Sub-agent, number of the datagram, ms, records.
    expected.extend(words(&[0, 1, 60_000, 1]));
    // Kind and length; number, source, rate, pool, lost; input, output; one record.
    expected.extend(words(&[3, 76]));
    expected.extend(words(&[1, 0, 3, 1000, 1000, 0, 0, 3, 0, 4, 1]));
    expected.extend(words(&[1, 24, 1, 1518, 4, 6]));
    expected.extend([7, 7, 7, 7, 7, 7, 0, 0]);
    assert_eq!(exporter.flush(60_000), Some(expected));
    assert_eq!(exporter.flush(60_000), None);
}

#[test]
fn counters_are_written_as_the_document_has_them() {
    let mut counts = PortCounts {
        rx_frames: (7 << 32) + 5,
        rx_bytes: 1 << 33,
        tx_frames: 2,
        tx_bytes: 3,
        ..PortCounts::default()
    };
    counts.add(DropReason::QueueFull, 11);
    counts.add(DropReason::BumRate, 13);
    let mut exporter = Exporter::new(Ipv6Addr::LOCALHOST.into());
    let port = PortRecord {
        port: PortId(9),
        name: "web",
        is_up: true,
        counts: &counts,
    };
    assert_eq!(exporter.port(0, &port), None);
    let datagram = exporter.flush(0).unwrap();
    assert_eq!(be32(&datagram, 4), 2);
    let none = u32::MAX;
    let mut expected = words(&[1, 0, 9, 2]);
    expected.extend(words(&[1, 88, 9, 6, 0, 0, 1, 3]));
    expected.extend(words(&[2, 0, 5, none, none, 13, none, none]));
    expected.extend(words(&[0, 3, 2, none, none, 11, none, 2]));
    expected.extend(words(&[1005, 8, 3]));
    expected.extend(b"web\0");
    assert_eq!(records(&datagram), [(4, expected)]);
}

#[test]
fn where_a_frame_went_has_a_format_of_its_own() {
    let port = Verdict::Unicast(PortId(70_000_000));
    assert_eq!(output(port), (0, 70_000_000));
    assert_eq!(output(Verdict::Flood), (2, 0));
    assert_eq!(output(Verdict::Reply), (0, 0x3fff_ffff));
    let dropped = |reason| output(Verdict::Drop(reason));
    assert_eq!(dropped(DropReason::Oversize), (1, 262));
    assert_eq!(dropped(DropReason::LinkDown), (1, 256));
}

#[test]
fn a_port_that_is_gone_starts_over() {
    let mut exporter = Exporter::new(AGENT);
    let number = |exporter: &mut Exporter| {
        exporter.flow(0, &flow(&[], Verdict::Flood));
        be32(&records(&exporter.flush(0).unwrap())[0].1, 0)
    };
    assert_eq!((number(&mut exporter), number(&mut exporter)), (1, 2));
    exporter.forget_but(|port| port == PortId(3));
    assert_eq!(number(&mut exporter), 3);
    exporter.forget_but(|_| false);
    assert_eq!(number(&mut exporter), 1);
}

proptest! {
    #[test]
    fn all_records_come_out_in_datagrams_that_are_short_enough(
        lengths in prop::collection::vec((0_usize..200, any::<bool>()), 1..60),
        is_v6: bool,
    ) {
        let agent = match is_v6 {
            true => Ipv6Addr::LOCALHOST.into(),
            false => AGENT,
        };
        let mut exporter = Exporter::new(agent);
        let bytes = [1_u8; 200];
        let name = "n".repeat(300);
        let counts = PortCounts::default();
        let mut datagrams = Vec::new();
        for (len, is_flow) in &lengths {
            datagrams.extend(match is_flow {
                true => exporter.flow(1, &flow(&bytes[..*len], Verdict::Flood)),
                false => exporter.port(1, &PortRecord {
                    port: PortId(1),
                    name: &name[..*len],
                    is_up: false,
                    counts: &counts,
                }),
            });
        }
        datagrams.extend(exporter.flush(1));
        let mut out = Vec::new();
        for (number, datagram) in (1..).zip(&datagrams) {
            prop_assert!(datagram.len() <= Exporter::DATAGRAM_LEN_MAX);
            let at = if is_v6 { 28 } else { 16 };
            prop_assert_eq!(be32(datagram, at), number);
            out.extend(records(datagram));
        }
        let kinds: Vec<_> = lengths.iter().map(|(_, is_flow)| if *is_flow { 3 } else { 4 }).collect();
        prop_assert_eq!(out.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), kinds);
        prop_assert!(out.iter().all(|(_, body)| body.len() % 4 == 0));
    }
}
