//! What survives comes out, once, in order, and correct.

use std::ops::Range;

use proptest::prelude::*;
use switch_core::Frame;

use super::*;
use crate::pieces::FrameIds;
use crate::testing::{Header, on_the_wire, payload};

const VNI: u32 = 77;

/// A frame, as datagrams.
struct Cut {
    /// The frames it stands for.
    wire: Vec<Vec<u8>>,
    datagrams: Vec<Vec<u8>>,
    /// Payload bytes of a segment.
    size: usize,
}

fn vni() -> Vni {
    Vni::new(VNI).unwrap()
}

fn cut(header: &Header, len: usize, size: u16, datagram_len: usize, ids: &mut FrameIds) -> Cut {
    let original = size;
    let (bytes, vnet) = header.open_frame(&payload(len), size);
    let frame = Frame::parse(&bytes).unwrap();
    let mut datagrams = Datagrams::new(vni(), &vnet, &frame, ids, datagram_len).unwrap();
    let mut all = Vec::new();
    let mut out = vec![0; datagram_len];
    while let Some(len) = datagrams.write_next(&mut out) {
        all.push(out[..len].to_vec());
    }
    assert_eq!(all.len(), datagrams.count());
    let size = match DatagramHeader::parse(&all[0]) {
        Ok((DatagramHeader::Piece { gso, .. }, _)) => gso.size,
        _ => size,
    };
    assert!(header.udp || size <= original, "segments only get smaller");
    assert!(!header.udp || size == original, "messages stay as they are");
    let (bytes, vnet) = header.open_frame(&payload(len), size);
    Cut {
        wire: on_the_wire(&vnet, &bytes),
        datagrams: all,
        size: size.into(),
    }
}

fn push(reassembler: &mut Reassembler, now: u64, datagram: &[u8]) -> Pushed {
    let (header, body) = DatagramHeader::parse(datagram).unwrap();
    reassembler.push(Time::from_millis(now), &header, body)
}

fn drain(reassembler: &mut Reassembler) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(rebuilt) = reassembler.poll_frame() {
        assert_eq!(rebuilt.vni, vni());
        all.extend(on_the_wire(&rebuilt.vnet, rebuilt.frame));
    }
    all
}

fn drain_after_hold(reassembler: &mut Reassembler) -> Vec<Vec<u8>> {
    reassembler.handle_timeout(Time::from_millis(1_000_000));
    assert_eq!(reassembler.poll_timeout(), None);
    drain(reassembler)
}

/// Which bytes of the payload, and whether the headers, are in the datagrams that were not lost.
fn survivors(cut: &Cut, lost: &[bool]) -> (bool, Vec<Range<usize>>) {
    let mut has_headers = false;
    let mut ranges = Vec::new();
    for (datagram, lost) in cut.datagrams.iter().zip(lost) {
        let (header, body) = DatagramHeader::parse(datagram).unwrap();
        let DatagramHeader::Piece {
            offset, header_len, ..
        } = header
        else {
            panic!("not a piece");
        };
        if !lost {
            has_headers |= header_len != 0;
            let offset = usize::from(offset);
            ranges.push(offset..offset + body.len() - usize::from(header_len));
        }
    }
    (has_headers, ranges)
}

fn expected(cut: &Cut, len: usize, size: usize, lost: &[bool]) -> Vec<Vec<u8>> {
    let (has_headers, ranges) = survivors(cut, lost);
    if !has_headers {
        return Vec::new();
    }
    let mut is_there = vec![false; len];
    for range in ranges {
        is_there[range].fill(true);
    }
    let whole = is_there
        .chunks(size)
        .map(|bytes| bytes.iter().all(|there| *there));
    let segments = cut.wire.iter().zip(whole);
    segments
        .filter(|(_, whole)| *whole)
        .map(|(segment, _)| segment.clone())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn for_any_loss_the_segments_that_survive_come_out_once_and_in_order(
        header in Header::strategy(),
        size in 1..3000_u16,
        segments in 2..40_usize,
        short in 0..3000_usize,
        datagram_len in prop_oneof![600..2000_usize, Just(1414), Just(1434), Just(8900)],
        fates in proptest::collection::vec((0..10_u8, any::<u16>(), 0..3_u8), 64),
        loss in 0..10_u8,
    ) {
        let size_bytes = usize::from(size);
        let len = (size_bytes * segments - short % size_bytes).min(60_000);
        prop_assume!(len > size_bytes);
        let cut = cut(&header, len, size, datagram_len, &mut FrameIds::new());
        let fate = |n: usize| fates[n % fates.len()];
        let lost: Vec<bool> = (0..cut.datagrams.len()).map(|n| fate(n).0 < loss).collect();
        // Shuffled, and some twice.
        let mut order: Vec<usize> = (0..cut.datagrams.len()).filter(|n| !lost[*n]).collect();
        order.sort_by_key(|n| fate(*n).1);
        let mut reassembler = Reassembler::new(ReassembleConfig::default());
        let mut out = Vec::new();
        for n in order {
            prop_assert_eq!(push(&mut reassembler, 0, &cut.datagrams[n]), Pushed::Taken);
            out.extend(drain(&mut reassembler));
            if fate(n).2 == 0 {
                prop_assert_eq!(push(&mut reassembler, 0, &cut.datagrams[n]), Pushed::Stale);
            }
        }
        out.extend(drain_after_hold(&mut reassembler));
        prop_assert_eq!(out, expected(&cut, len, cut.size, &lost));
    }

    #[test]
    fn nothing_lost_is_one_superframe_again(
        header in Header::strategy(),
        size in 500..3000_u16,
        segments in 2..20_usize,
        datagram_len in 600..9000_usize,
    ) {
        let len = usize::from(size) * segments;
        let mut ids = FrameIds::new();
        let cut = cut(&header, len, size, datagram_len, &mut ids);
        let mut reassembler = Reassembler::new(ReassembleConfig::default());
        for datagram in &cut.datagrams {
            push(&mut reassembler, 0, datagram);
        }
        let rebuilt = reassembler.poll_frame().unwrap();
        prop_assert_eq!(rebuilt.frame.len(), header.len() + len);
        prop_assert_eq!(on_the_wire(&rebuilt.vnet, rebuilt.frame), cut.wire);
        prop_assert!(reassembler.poll_frame().is_none());
        prop_assert_eq!(reassembler.counts().completed, 1);
    }

    #[test]
    fn datagrams_of_a_frame_are_equal_to_the_byte_where_cuts_are_free(
        header in Header::strategy(),
        segments in 2..40_usize,
        datagram_len in 1200..1460_usize,
    ) {
        let header = Header { udp: true, ..header };
        let cut = cut(&header, 1448 * segments, 1448, datagram_len, &mut FrameIds::new());
        let lens: Vec<usize> = cut.datagrams.iter().map(Vec::len).collect();
        prop_assert!(lens.iter().max().unwrap() - lens.iter().min().unwrap() <= 1, "{:?}", lens);
        prop_assert!(lens.iter().all(|len| *len <= datagram_len));
    }
}

#[test]
fn an_ordinary_frame_too_long_for_a_datagram_crosses_in_two_halves() {
    let header = Header::default();
    let cut = cut(&header, 1460, 0, 1414, &mut FrameIds::new());
    let lens: Vec<usize> = cut.datagrams.iter().map(Vec::len).collect();
    assert_eq!(lens, [16 + 757, 16 + 757]);
    let mut reassembler = Reassembler::new(ReassembleConfig::default());
    push(&mut reassembler, 0, &cut.datagrams[1]);
    assert!(drain(&mut reassembler).is_empty());
    push(&mut reassembler, 0, &cut.datagrams[0]);
    assert_eq!(drain(&mut reassembler), cut.wire);
}

#[test]
fn half_a_frame_is_lost_after_the_hold() {
    let cut = cut(&Header::default(), 1460, 0, 1414, &mut FrameIds::new());
    let mut reassembler = Reassembler::new(ReassembleConfig::default());
    push(&mut reassembler, 10, &cut.datagrams[0]);
    assert_eq!(reassembler.poll_timeout(), Some(Time::from_millis(15)));
    reassembler.handle_timeout(Time::from_millis(14));
    assert_eq!(reassembler.counts().lost, 0);
    reassembler.handle_timeout(Time::from_millis(15));
    assert!(drain(&mut reassembler).is_empty());
    assert_eq!(reassembler.counts().lost, 1);
    assert_eq!(push(&mut reassembler, 15, &cut.datagrams[1]), Pushed::Stale);
}

#[test]
fn later_pieces_decide_that_one_is_lost_and_the_flow_stays_in_order() {
    let mut ids = FrameIds::new();
    let first = cut(&Header::default(), 1448 * 10, 1448, 1414, &mut ids);
    let second = cut(&Header::default(), 1448 * 20, 1448, 1414, &mut ids);
    let mut reassembler = Reassembler::new(ReassembleConfig::default());
    for datagram in first.datagrams.iter().skip(1) {
        push(&mut reassembler, 0, datagram);
    }
    for datagram in &second.datagrams[..15] {
        push(&mut reassembler, 0, datagram);
    }
    assert!(drain(&mut reassembler).is_empty());
    push(&mut reassembler, 0, &second.datagrams[15]);
    assert_eq!(drain(&mut reassembler), first.wire[1..]);
    for datagram in &second.datagrams[16..] {
        push(&mut reassembler, 0, datagram);
    }
    assert_eq!(drain(&mut reassembler), second.wire);
    assert_eq!(reassembler.counts().partial, 1);
}

#[test]
fn a_complete_frame_waits_for_its_own_flow_only() {
    let mut ids = FrameIds::new();
    let first = cut(&Header::default(), 1460, 0, 1414, &mut ids);
    let same = cut(&Header::default(), 1461, 0, 1414, &mut ids);
    let other = Header {
        source_port: 4001,
        ..Header::default()
    };
    let other = cut(&other, 1462, 0, 1414, &mut ids);
    let mut reassembler = Reassembler::new(ReassembleConfig::default());
    push(&mut reassembler, 0, &first.datagrams[0]);
    for datagram in same.datagrams.iter().chain(&other.datagrams) {
        push(&mut reassembler, 0, datagram);
    }
    assert_eq!(drain(&mut reassembler), other.wire);
    push(&mut reassembler, 0, &first.datagrams[1]);
    assert_eq!(drain(&mut reassembler), [first.wire, same.wire].concat());
}

#[test]
fn slots_are_bounded_and_the_oldest_pays() {
    let mut ids = FrameIds::new();
    let mut reassembler = Reassembler::new(ReassembleConfig {
        frames_max: 4,
        reorder_pieces: u32::MAX,
        ..ReassembleConfig::default()
    });
    for _ in 0..100 {
        let cut = cut(&Header::default(), 1460, 0, 1414, &mut ids);
        push(&mut reassembler, 0, &cut.datagrams[0]);
        assert!(drain(&mut reassembler).is_empty());
        assert!(reassembler.slots.len() <= 9);
    }
    assert_eq!(reassembler.counts().lost, 96);
    reassembler.handle_timeout(Time::from_millis(99));
    drain(&mut reassembler);
    reassembler.release();
    assert!(reassembler.slots.is_empty());
}

#[test]
fn a_caller_that_does_not_poll_is_refused_not_served_with_memory() {
    let mut ids = FrameIds::new();
    let mut reassembler = Reassembler::new(ReassembleConfig {
        frames_max: 2,
        ..ReassembleConfig::default()
    });
    for _ in 0..20 {
        let cut = cut(&Header::default(), 1460, 0, 1414, &mut ids);
        for datagram in &cut.datagrams {
            push(&mut reassembler, 0, datagram);
        }
    }
    assert_eq!(reassembler.counts().full, 30);
    assert_eq!(drain(&mut reassembler).len(), 5);
}

#[test]
fn pieces_that_contradict_each_other_are_counted_and_harm_nothing() {
    let mut ids = FrameIds::new();
    let cut = cut(&Header::default(), 1448 * 3, 1448, 1414, &mut ids);
    let mut reassembler = Reassembler::new(ReassembleConfig::default());
    push(&mut reassembler, 0, &cut.datagrams[0]);
    for at in [3, 9, 13, 14, 19] {
        let mut other = cut.datagrams[1].clone();
        other[at] ^= 1;
        if DatagramHeader::parse(&other).is_ok() {
            assert_eq!(push(&mut reassembler, 0, &other), Pushed::Mismatch, "{at}");
        }
    }
    for datagram in &cut.datagrams[1..] {
        push(&mut reassembler, 0, datagram);
    }
    assert_eq!(drain(&mut reassembler), cut.wire);
}

#[test]
fn a_slow_path_is_waited_for_once_it_is_known() {
    let mut ids = FrameIds::new();
    let mut reassembler = Reassembler::new(ReassembleConfig::default());
    let mut now = 0;
    let mut whole = 0;
    for _ in 0..10 {
        let cut = cut(&Header::default(), 1448 * 10, 1448, 1414, &mut ids);
        for datagram in &cut.datagrams {
            now += 20;
            while let Some(due) = reassembler
                .poll_timeout()
                .filter(|due| due.as_millis() <= now)
            {
                reassembler.handle_timeout(due);
                drain(&mut reassembler);
            }
            push(&mut reassembler, now, datagram);
            whole += usize::from(drain(&mut reassembler) == cut.wire);
        }
    }
    assert_eq!(whole, 9);
    // And forgotten again.
    for _ in 0..10 {
        let cut = cut(&Header::default(), 1448 * 10, 1448, 1414, &mut ids);
        for datagram in &cut.datagrams {
            push(&mut reassembler, now, datagram);
            drain(&mut reassembler);
        }
    }
    assert_eq!(reassembler.hold(), ReassembleConfig::default().hold);
}
