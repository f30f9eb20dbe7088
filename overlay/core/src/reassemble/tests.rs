//! What survives comes out, once, in order, and correct.

use std::ops::Range;

use proptest::prelude::*;
use switch_core::Frame;

use super::*;
use crate::pieces::{Datagrams, FrameIds};
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
        Ok((DatagramHeader::Piece { gso, .. }, _)) => gso.cut.size().unwrap(),
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
    assert_eq!(reassembler.poll_timeout(), Some(Time::from_millis(210)));
    reassembler.handle_timeout(Time::from_millis(209));
    assert!(drain(&mut reassembler).is_empty());
    assert_eq!(reassembler.counts().lost, 0);
    reassembler.handle_timeout(Time::from_millis(210));
    assert!(drain(&mut reassembler).is_empty());
    assert_eq!(reassembler.counts().lost, 1);
    assert_eq!(
        push(&mut reassembler, 210, &cut.datagrams[1]),
        Pushed::Stale
    );
}

#[test]
fn what_is_there_of_a_superframe_comes_out_when_another_frame_begins() {
    let mut ids = FrameIds::new();
    let first = cut(&Header::default(), 1448 * 10, 1448, 1414, &mut ids);
    let second = cut(&Header::default(), 1448 * 20, 1448, 1414, &mut ids);
    let mut reassembler = Reassembler::new(ReassembleConfig::default());
    for datagram in first.datagrams.iter().skip(1) {
        push(&mut reassembler, 0, datagram);
    }
    assert!(drain(&mut reassembler).is_empty());
    push(&mut reassembler, 0, &second.datagrams[0]);
    assert_eq!(drain(&mut reassembler), first.wire[1..]);
    for datagram in &second.datagrams[1..] {
        push(&mut reassembler, 0, datagram);
    }
    assert_eq!(drain(&mut reassembler), second.wire);
    assert!(drain_after_hold(&mut reassembler).is_empty());
    assert_eq!(reassembler.counts().partial, 1);
}

#[test]
fn a_frame_that_misses_a_piece_holds_nothing_up() {
    let mut ids = FrameIds::new();
    let first = cut(&Header::default(), 1460, 0, 1414, &mut ids);
    let second = cut(&Header::default(), 1461, 0, 1414, &mut ids);
    let mut reassembler = Reassembler::new(ReassembleConfig::default());
    push(&mut reassembler, 0, &first.datagrams[0]);
    for datagram in &second.datagrams {
        push(&mut reassembler, 0, datagram);
    }
    assert_eq!(drain(&mut reassembler), second.wire);
    // The path let it be overtaken.
    push(&mut reassembler, 0, &first.datagrams[1]);
    assert_eq!(drain(&mut reassembler), first.wire);
}

#[test]
fn a_superframe_of_which_no_more_comes_goes_on_after_a_pause() {
    let cut = cut(&udp(), 12_000, 1200, 1414, &mut FrameIds::new());
    let mut reassembler = Reassembler::new(ReassembleConfig::default());
    for datagram in &cut.datagrams[..cut.datagrams.len() - 1] {
        push(&mut reassembler, 10, datagram);
    }
    assert_eq!(reassembler.poll_timeout(), Some(Time::from_millis(15)));
    reassembler.handle_timeout(Time::from_millis(14));
    assert!(drain(&mut reassembler).is_empty());
    reassembler.handle_timeout(Time::from_millis(15));
    let out = drain(&mut reassembler);
    assert_eq!(out, cut.wire[..out.len()]);
    assert!(!out.is_empty());
    push(&mut reassembler, 16, cut.datagrams.last().unwrap());
    assert_eq!([out, drain(&mut reassembler)].concat(), cut.wire);
    assert_eq!(reassembler.counts().completed, 1);
    assert_eq!(reassembler.poll_timeout(), None);
}

#[test]
fn a_frame_that_was_never_cut_lets_those_before_it_go_first() {
    let cut = cut(&udp(), 12_000, 1200, 1414, &mut FrameIds::new());
    let mut reassembler = Reassembler::new(ReassembleConfig::default());
    assert!(!reassembler.make_way());
    push(&mut reassembler, 0, &cut.datagrams[0]);
    push(&mut reassembler, 0, &cut.datagrams[1]);
    assert!(drain(&mut reassembler).is_empty());
    assert!(reassembler.make_way());
    assert!(!drain(&mut reassembler).is_empty());
    assert!(!reassembler.make_way(), "nothing came since");
}

#[test]
fn slots_are_bounded_and_the_oldest_pays() {
    let mut ids = FrameIds::new();
    let mut reassembler = Reassembler::new(ReassembleConfig {
        frames_max: 4,
        ..ReassembleConfig::default()
    });
    for _ in 0..100 {
        let cut = cut(&Header::default(), 1460, 0, 1414, &mut ids);
        push(&mut reassembler, 0, &cut.datagrams[0]);
        assert!(drain(&mut reassembler).is_empty());
        assert!(reassembler.slots.len() <= 9);
    }
    assert_eq!(reassembler.counts().lost, 96);
    reassembler.handle_timeout(Time::from_millis(200));
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
fn a_slow_path_delivers_all_segments_as_they_come() {
    let mut ids = FrameIds::new();
    let mut reassembler = Reassembler::new(ReassembleConfig::default());
    let mut now = 0;
    for _ in 0..10 {
        let cut = cut(&udp(), 12_000, 1200, 1414, &mut ids);
        let mut out = Vec::new();
        for datagram in &cut.datagrams {
            now += 20;
            while let Some(due) = reassembler
                .poll_timeout()
                .filter(|due| due.as_millis() <= now)
            {
                reassembler.handle_timeout(due);
                out.extend(drain(&mut reassembler));
            }
            push(&mut reassembler, now, datagram);
            out.extend(drain(&mut reassembler));
        }
        assert_eq!(out, cut.wire);
    }
    let counts = reassembler.counts();
    assert_eq!((counts.completed, counts.partial, counts.lost), (10, 0, 0));
}

fn udp() -> Header {
    Header {
        udp: true,
        ..Header::default()
    }
}

/// A frame of a flow of numbered frames, as it is sent.
#[derive(Debug)]
struct Sent {
    datagrams: Vec<Vec<u8>>,
    is_superframe: bool,
}

/// Frames of several flows, each message with its flow's next number.
fn numbered(frames: &[(u16, usize, usize)]) -> Vec<Sent> {
    let mut ids = FrameIds::new();
    let mut numbers = [0_u32; 3];
    let cut_one = |&(flow, segments, len): &(u16, usize, usize)| {
        let mut payload = Vec::new();
        for _ in 0..segments {
            let number = &mut numbers[usize::from(flow)];
            payload.extend(message(*number, len));
            *number += 1;
        }
        let header = Header {
            source_port: 4000 + flow,
            ..udp()
        };
        let size = if segments > 1 {
            u16::try_from(len).unwrap()
        } else {
            0
        };
        let (bytes, vnet) = header.open_frame(&payload, size);
        let frame = Frame::parse(&bytes).unwrap();
        let mut datagrams = Datagrams::new(vni(), &vnet, &frame, &mut ids, 1434).unwrap();
        let mut room = [0; 1434];
        let mut all = Vec::new();
        while let Some(len) = datagrams.write_next(&mut room) {
            all.push(room[..len].to_vec());
        }
        Sent {
            datagrams: all,
            is_superframe: segments > 1,
        }
    };
    frames.iter().map(cut_one).collect()
}

/// Bytes that no other message has at the same place.
fn message(number: u32, len: usize) -> Vec<u8> {
    let rest = (4..len).map(|at| at.wrapping_mul(number as usize + 3).to_le_bytes()[0]);
    number.to_be_bytes().into_iter().chain(rest).collect()
}

/// The flow of a frame and the number in its message, every byte of which is right.
fn number_of(wire: &[u8]) -> (u16, u32) {
    let (headers, body) = wire.split_at(udp().len());
    let source_port = u16::from_be_bytes(*headers[udp().transport_at()..].first_chunk().unwrap());
    let number = u32::from_be_bytes(*body.first_chunk().unwrap());
    assert!(body == message(number, body.len()), "{number} was changed");
    (source_port - 4000, number)
}

/// What comes out of a connection, as [`Reassembler::make_way`] asks for.
fn receive(reassembler: &mut Reassembler, now: u64, datagram: &[u8], out: &mut Vec<(u16, u32)>) {
    let (header, body) = DatagramHeader::parse(datagram).unwrap();
    if header.is_complete() {
        reassembler.make_way();
    }
    out.extend(drain(reassembler).iter().map(|wire| number_of(wire)));
    if header.is_complete() {
        return out.push(number_of(body));
    }
    push(reassembler, now, datagram);
    out.extend(drain(reassembler).iter().map(|wire| number_of(wire)));
}

/// Short frames that fit, long ones in two pieces, superframes.
fn flows() -> impl Strategy<Value = Vec<(u16, usize, usize)>> {
    let frame = (
        0..3_u16,
        prop_oneof![Just(1_usize), 2..8_usize],
        100..1473_usize,
    );
    proptest::collection::vec(frame, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_is_lost_a_flow_stays_in_order(
        frames in flows(),
        lost in proptest::collection::vec(prop::bool::weighted(0.15), 97),
        pauses in proptest::collection::vec(prop_oneof![8 => Just(0_u64), 1 => 1..8_u64, 1 => 100..200_u64], 31),
        frames_max in 1..17_usize,
    ) {
        let mut reassembler = Reassembler::new(ReassembleConfig {
            frames_max,
            ..ReassembleConfig::default()
        });
        let (mut now, mut out, mut whole) = (0, Vec::new(), Vec::new());
        let mut fates = lost.iter().cycle();
        let mut pauses = pauses.iter().cycle();
        for sent in numbered(&frames) {
            let mut is_whole = true;
            let before = out.len();
            for datagram in &sent.datagrams {
                now += pauses.next().unwrap();
                while let Some(due) = reassembler.poll_timeout().filter(|due| due.as_millis() <= now) {
                    reassembler.handle_timeout(due);
                    out.extend(drain(&mut reassembler).iter().map(|wire| number_of(wire)));
                }
                match fates.next().unwrap() {
                    true => is_whole = false,
                    false => receive(&mut reassembler, now, datagram, &mut out),
                }
            }
            // A frame of which nothing was lost is out when its last piece has come, whatever was lost before.
            if is_whole && !sent.is_superframe {
                prop_assert!(out.len() > before);
            }
            whole.push(is_whole);
        }
        out.extend(drain_after_hold(&mut reassembler).iter().map(|wire| number_of(wire)));
        for flow in 0..3 {
            let numbers: Vec<u32> = out.iter().filter(|(of, _)| *of == flow).map(|(_, number)| *number).collect();
            prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{:?}", numbers);
            let mut number = 0;
            for ((_, segments, _), is_whole) in frames.iter().zip(&whole).filter(|(frame, _)| frame.0 == flow) {
                let next = number + u32::try_from(*segments).unwrap();
                let all_out = (number..next).all(|number| numbers.contains(&number));
                prop_assert!(all_out || !is_whole, "{}..{} of {:?}", number, next, numbers);
                number = next;
            }
        }
    }

    #[test]
    fn whatever_is_overtaken_comes_out_once_and_right(
        frames in flows(),
        places in proptest::collection::vec(0..12_usize, 61),
    ) {
        let mut order: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut places = places.iter().cycle();
        let datagrams = numbered(&frames).into_iter().flat_map(|sent| sent.datagrams);
        for (place, datagram) in datagrams.enumerate() {
            order.push((place + places.next().unwrap(), datagram));
        }
        order.sort_by_key(|(place, _)| *place);
        let mut reassembler = Reassembler::new(ReassembleConfig::default());
        let mut out = Vec::new();
        for (_, datagram) in &order {
            receive(&mut reassembler, 0, datagram, &mut out);
        }
        let mut expected = Vec::new();
        let mut numbers = [0_u32; 3];
        for (flow, segments, _) in &frames {
            for _ in 0..*segments {
                let number = &mut numbers[usize::from(*flow)];
                expected.push((*flow, *number));
                *number += 1;
            }
        }
        out.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(out, expected);
        let counts = reassembler.counts();
        prop_assert_eq!((counts.invalid, counts.lost, counts.partial), (0, 0, 0));
    }
}
