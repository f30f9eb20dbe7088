//! What Linux's own test of GRO (`tools/testing/selftests/net/gro.c`) lets be joined, and what not.
//!
//! Where Linux joins more than cutting could give back (a fixed identification, extension headers, hop limits), we join less.

use super::tests::{mend, push};
use super::*;
use crate::testing::{Header, frame};

const LEN: usize = 100;

/// The `n`th segment of a flow, all of [`LEN`] bytes, after a change.
fn segment(n: u16, ipv6: bool, change: impl Fn(&mut Vec<u8>, &Offsets)) -> Vec<u8> {
    let header = Header {
        ipv6,
        id: 7 + n,
        seq: 1000 + u32::from(n) * 100,
        ..Header::default()
    };
    let mut bytes = frame(&header, &[b'a'; LEN]);
    let offsets = Offsets {
        ip: 14,
        tcp: header.transport_at(),
    };
    change(&mut bytes, &offsets);
    bytes
}

struct Offsets {
    ip: usize,
    tcp: usize,
}

fn plain(n: u16, ipv6: bool) -> Vec<u8> {
    segment(n, ipv6, |_, _| {})
}

/// The `n`th segment with a change that its checksums cover.
fn changed(n: u16, ipv6: bool, change: impl Fn(&mut Vec<u8>, &Offsets)) -> Vec<u8> {
    let mut bytes = segment(n, ipv6, change);
    mend(&mut bytes).unwrap();
    bytes
}

/// How many segments each frame has that comes out.
fn joined(frames: &[Vec<u8>]) -> Vec<usize> {
    let mut coalescer = Coalescer::new();
    let mut out = Vec::new();
    let flush = |coalescer: &mut Coalescer, out: &mut Vec<usize>, held: &mut usize| {
        if coalescer.take().is_some() {
            out.push(std::mem::take(held));
        }
    };
    let mut held = 0;
    for bytes in frames {
        let mut pushed = push(&mut coalescer, bytes);
        if pushed == Push::Flush {
            flush(&mut coalescer, &mut out, &mut held);
            pushed = push(&mut coalescer, bytes);
        }
        match pushed {
            Push::Taken => held += 1,
            Push::Complete => {
                held += 1;
                flush(&mut coalescer, &mut out, &mut held);
            }
            Push::Flush | Push::Unfit => {
                flush(&mut coalescer, &mut out, &mut held);
                out.push(1);
            }
        }
    }
    flush(&mut coalescer, &mut out, &mut held);
    out
}

/// The second of two segments, changed, does not join the first; nor does the third join the second.
fn separates(ipv6: bool, what: &str, change: impl Fn(&mut Vec<u8>, &Offsets)) {
    let frames = [plain(0, ipv6), changed(1, ipv6, change), plain(2, ipv6)];
    assert_eq!(joined(&frames), [1, 1, 1], "{what}, IPv6 {ipv6}");
}

#[test]
fn data_of_one_flow_is_joined() {
    for ipv6 in [false, true] {
        assert_eq!(joined(&[plain(0, ipv6), plain(1, ipv6)]), [2]);
    }
}

#[test]
fn a_pure_acknowledgement_joins_nothing() {
    let ack = |seq, id| {
        frame(
            &Header {
                seq,
                id,
                ..Header::default()
            },
            &[],
        )
    };
    assert_eq!(joined(&[ack(1000, 7), ack(1000, 8), ack(1000, 9)]), [1; 3]);
}

#[test]
fn push_ends_a_superframe() {
    for ipv6 in [false, true] {
        let mut frames: Vec<_> = (0..5).map(|n| plain(n, ipv6)).collect();
        frames[2] = changed(2, ipv6, |bytes, at| bytes[at.tcp + TCP_FLAGS] |= TCP_PSH);
        assert_eq!(joined(&frames), [3, 2]);
    }
}

#[test]
fn segments_that_begin_or_reset_or_urge_stay_alone() {
    for ipv6 in [false, true] {
        for (flag, what) in [(0x02, "SYN"), (0x04, "RST"), (0x20, "URG"), (0x80, "CWR")] {
            separates(ipv6, what, |bytes, at| bytes[at.tcp + TCP_FLAGS] |= flag);
        }
    }
}

#[test]
fn a_difference_of_the_tcp_header_separates() {
    for ipv6 in [false, true] {
        separates(ipv6, "sequence", |bytes, at| bytes[at.tcp + 7] ^= 1);
        separates(ipv6, "acknowledgement", |bytes, at| bytes[at.tcp + 11] ^= 1);
        separates(ipv6, "window", |bytes, at| bytes[at.tcp + 15] ^= 1);
        let bad = segment(1, ipv6, |bytes, at| bytes[at.tcp + 17] ^= 1);
        assert_eq!(joined(&[plain(0, ipv6), bad, plain(2, ipv6)]), [1, 1, 1]);
    }
}

#[test]
fn a_difference_of_options_separates() {
    let with = |n: u16, timestamps, byte: u8| {
        let header = Header {
            id: 7 + n,
            seq: 1000 + u32::from(n) * 100,
            timestamps,
            ..Header::default()
        };
        let mut bytes = frame(&header, &[b'a'; LEN]);
        if timestamps {
            bytes[header.len() - 1] = byte;
            mend(&mut bytes).unwrap();
        }
        bytes
    };
    let same = [with(0, true, 1), with(1, true, 1), with(2, true, 2)];
    assert_eq!(joined(&same), [2, 1]);
    let other = [with(0, true, 1), with(1, true, 1), with(2, false, 0)];
    assert_eq!(joined(&other), [2, 1]);
}

#[test]
fn a_difference_of_the_ip_header_separates() {
    separates(false, "ECN", |bytes, at| bytes[at.ip + 1] |= 1);
    separates(false, "TOS", |bytes, at| bytes[at.ip + 1] |= 0x10);
    separates(false, "TTL", |bytes, at| bytes[at.ip + 8] -= 1);
    separates(false, "don't fragment", |bytes, at| {
        bytes[at.ip + 6] ^= 0x40
    });
    separates(false, "a fragment", |bytes, at| bytes[at.ip + 6] |= 0x20);
    separates(true, "ECN", |bytes, at| bytes[at.ip + 1] |= 0x10);
    separates(true, "traffic class", |bytes, at| bytes[at.ip] |= 0x01);
    separates(true, "flow label", |bytes, at| bytes[at.ip + 3] ^= 1);
    separates(true, "hop limit", |bytes, at| bytes[at.ip + 7] -= 1);
}

#[test]
fn only_an_identification_that_counts_up_is_joined() {
    let with_id = |n: u16, id: u8| changed(n, false, |bytes, at| bytes[at.ip + 5] = id);
    assert_eq!(joined(&[with_id(0, 7), with_id(1, 8)]), [2]);
    assert_eq!(joined(&[with_id(0, 7), with_id(1, 7)]), [1, 1]);
    let two_and_one = [with_id(0, 7), with_id(1, 8), with_id(2, 8)];
    assert_eq!(joined(&two_and_one), [2, 1]);
}

#[test]
fn lengths_decide_who_joins() {
    let of = |n: u16, seq, len| {
        let header = Header {
            id: 7 + n,
            seq,
            ..Header::default()
        };
        frame(&header, &vec![b'a'; len])
    };
    assert_eq!(joined(&[of(0, 0, 100), of(1, 100, 50)]), [2]);
    assert_eq!(joined(&[of(0, 0, 50), of(1, 50, 100)]), [1, 1]);
    let ended = [of(0, 0, 100), of(1, 100, 50), of(2, 150, 100)];
    assert_eq!(joined(&ended), [2, 1]);
}

#[test]
fn no_superframe_is_longer_than_a_packet_may_be() {
    let mss = 4096 - 40;
    let whole = (PACKET_MAX - 40) / mss;
    let rest = (PACKET_MAX - 40) % mss;
    for (last, expected) in [(rest, vec![whole + 1, 1]), (rest + 1, vec![whole, 1, 1])] {
        let mut lens = vec![mss; whole];
        lens.extend([last, last]);
        let mut seq = 0;
        let frames: Vec<_> = (7..)
            .zip(lens)
            .map(|(id, len)| {
                let header = Header {
                    id,
                    seq,
                    ..Header::default()
                };
                seq += u32::try_from(len).unwrap();
                frame(&header, &vec![b'a'; len])
            })
            .collect();
        assert_eq!(joined(&frames), expected, "{last}");
    }
}

#[test]
fn datagrams_join_only_where_asked() {
    let datagram = |id| {
        let header = Header {
            id,
            transport: crate::testing::Transport::Udp,
            ..Header::default()
        };
        frame(&header, &[b'a'; LEN])
    };
    let (first, segment) = (datagram(7), plain(0, false));
    let (first, segment) = (
        Frame::parse(&first).unwrap(),
        Frame::parse(&segment).unwrap(),
    );
    let mut coalescer = Coalescer::new();
    assert_eq!(coalescer.push(&first, Joining::Tcp), Push::Unfit);
    assert_eq!(coalescer.push(&first, Joining::TcpAndUdp), Push::Taken);
    assert_eq!(Coalescer::new().push(&segment, Joining::Tcp), Push::Taken);
}
