//! What is joined, and what is not.

use proptest::prelude::*;

use super::*;
use crate::Segments;
use crate::testing::{Header, Transport, assert_checksums, frame};

pub(super) fn push(coalescer: &mut Coalescer, bytes: &[u8]) -> Push {
    coalescer.push(&Frame::parse(bytes).unwrap(), Joining::TcpAndUdp)
}

/// Two frames of which the second continues the first.
fn pair(change: impl Fn(&mut Header)) -> (Vec<u8>, Vec<u8>) {
    let first = Header::default();
    let mut second = Header {
        id: first.id + 1,
        seq: first.seq + 100,
        ..first.clone()
    };
    change(&mut second);
    (frame(&first, &[1; 100]), frame(&second, &[2; 100]))
}

fn second_push(change: impl Fn(&mut Header)) -> Push {
    let (first, second) = pair(change);
    let mut coalescer = Coalescer::new();
    assert_eq!(push(&mut coalescer, &first), Push::Taken);
    push(&mut coalescer, &second)
}

/// Sends frames through a coalescer and cuts what comes out again.
fn round_trip(frames: &[Vec<u8>]) -> (Vec<Vec<u8>>, usize) {
    let mut coalescer = Coalescer::new();
    let mut out = Vec::new();
    let mut superframes = 0;
    let mut flush = |coalescer: &mut Coalescer, out: &mut Vec<Vec<u8>>| {
        let Some((vnet, bytes)) = coalescer.take() else {
            return;
        };
        let view = Frame::parse(bytes).unwrap();
        if !vnet.is_superframe() {
            out.push(bytes.to_vec());
            return;
        }
        superframes += 1;
        assert_eq!(VnetHeader::validate(&vnet.to_bytes(), &view), Ok(vnet));
        let mut segments = Segments::new(&vnet, &view).unwrap();
        let mut buffer = vec![0; segments.len_max()];
        while let Some(len) = segments.write_next(&mut buffer) {
            out.push(buffer[..len].to_vec());
        }
    };
    for bytes in frames {
        loop {
            match push(&mut coalescer, bytes) {
                Push::Taken => break,
                Push::Complete => {
                    flush(&mut coalescer, &mut out);
                    break;
                }
                Push::Flush => flush(&mut coalescer, &mut out),
                Push::Unfit => {
                    flush(&mut coalescer, &mut out);
                    out.push(bytes.clone());
                    break;
                }
            }
        }
    }
    flush(&mut coalescer, &mut out);
    (out, superframes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cutting_a_coalesced_flow_gives_back_its_frames(
        header in Header::strategy(),
        lens in proptest::collection::vec(prop_oneof![4 => Just(1000_usize), 1 => 1..1400_usize], 1..70),
        ends in proptest::collection::vec(prop::bool::weighted(0.1), 70),
        broken in proptest::option::of(0..70_usize),
    ) {
        let mut seq = header.seq;
        let mut frames: Vec<Vec<u8>> = lens.iter().enumerate().map(|(n, len)| {
            let bytes = frame(&Header {
                id: header.id.wrapping_add(u16::try_from(n).unwrap()),
                seq,
                fin: false,
                cwr: false,
                psh: ends[n],
                ..header.clone()
            }, &vec![u8::try_from(n).unwrap(); *len]);
            seq = seq.wrapping_add(u32::try_from(*len).unwrap());
            bytes
        }).collect();
        if let Some(frame) = broken.and_then(|n| frames.get_mut(n)) {
            let last = frame.len() - 1;
            frame[last] ^= 1;
        }
        let (out, _) = round_trip(&frames);
        prop_assert_eq!(out, frames);
    }
}

#[test]
fn forty_equal_segments_make_one_superframe() {
    for header in Header::all() {
        let frames: Vec<_> = (0..40_u16)
            .map(|n| {
                let seq = header.seq + u32::from(n) * 1448;
                frame(
                    &Header {
                        id: header.id + n,
                        seq,
                        ..header.clone()
                    },
                    &[3; 1448],
                )
            })
            .collect();
        let (out, superframes) = round_trip(&frames);
        assert_eq!(out, frames);
        assert_eq!(superframes, 1, "{header:?}");
        out.iter().for_each(|frame| assert_checksums(frame));
    }
}

#[test]
fn a_frame_that_continues_joins() {
    assert_eq!(second_push(|_| {}), Push::Taken);
    assert_eq!(second_push(|header| header.psh = true), Push::Complete);
    assert_eq!(second_push(|header| header.fin = true), Push::Complete);
}

#[test]
fn nothing_joins_across_a_difference() {
    assert_eq!(second_push(|header| header.seq += 1), Push::Flush);
    assert_eq!(second_push(|header| header.id += 1), Push::Flush);
    assert_eq!(second_push(|header| header.ttl -= 1), Push::Flush);
    assert_eq!(second_push(|header| header.vlans = 1), Push::Flush);
    assert_eq!(second_push(|header| header.timestamps = true), Push::Flush);
    assert_eq!(second_push(|header| header.source_port += 1), Push::Flush);
    assert_eq!(second_push(|header| header.ipv6 = true), Push::Flush);
    assert_eq!(
        second_push(|header| header.transport = Transport::Udp),
        Push::Flush
    );
    assert_eq!(second_push(|header| header.cwr = true), Push::Unfit);
}

#[test]
fn a_change_of_ecn_or_of_a_timestamp_separates() {
    let (first, second) = pair(|_| {});
    let mut coalescer = Coalescer::new();
    assert_eq!(push(&mut coalescer, &first), Push::Taken);
    let mut marked = second;
    marked[15] |= 3;
    put_be16(&mut marked, 24, 0);
    let checksum = !checksum::fold(checksum::sum(0, &marked[14..34]));
    put_be16(&mut marked, 24, checksum);
    assert_eq!(push(&mut coalescer, &marked), Push::Flush);
}

/// Makes all checksums right again after a change.
pub(super) fn mend(bytes: &mut [u8]) -> Option<()> {
    let copy = bytes.to_vec();
    let packet = Packet::parse(&Frame::parse(&copy).ok()?)?;
    if packet.version == Version::V4 {
        put_be16(bytes, packet.start + 10, 0);
        let sum = checksum::sum(0, &bytes[packet.start..packet.transport]);
        put_be16(bytes, packet.start + 10, !checksum::fold(sum));
    }
    let field = match packet.protocol {
        protocol::TCP => TCP_CHECKSUM,
        _ => UDP_CHECKSUM,
    };
    let field = packet.transport + usize::from(field);
    bytes.get(field..field + 2)?;
    put_be16(bytes, field, 0);
    let transport = &bytes[packet.transport..packet.end];
    let sum = checksum::sum(
        checksum::pseudo_header(&packet, bytes, transport.len()),
        transport,
    );
    put_be16(bytes, field, checksum::finish(sum));
    Some(())
}

#[test]
fn no_bit_of_any_header_is_lost() {
    for header in Header::all() {
        let header = Header {
            timestamps: true,
            ..header
        };
        let next = Header {
            id: header.id + 1,
            seq: header.seq + 100,
            ..header.clone()
        };
        let pair = [frame(&header, &[1; 100]), frame(&next, &[2; 100])];
        assert_eq!(round_trip(&pair).1, 1);
        for bit in 0..header.len() * 8 {
            for side in 0..2 {
                let mut frames = pair.clone();
                frames[side][bit / 8] ^= 1 << (bit % 8);
                let _ = mend(&mut frames[side]);
                if Frame::parse(&frames[side]).is_ok() {
                    assert_eq!(
                        round_trip(&frames).0,
                        frames,
                        "{header:?} bit {bit} of {side}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_wrong_or_absent_checksum_is_unfit() {
    let mut bytes = frame(&Header::default(), b"payload");
    bytes[50] ^= 1;
    assert_eq!(push(&mut Coalescer::new(), &bytes), Push::Unfit);
    let mut bytes = frame(
        &Header {
            transport: Transport::Udp,
            ..Header::default()
        },
        b"payload",
    );
    bytes[40..42].fill(0);
    assert_eq!(push(&mut Coalescer::new(), &bytes), Push::Unfit);
    let mut bytes = frame(&Header::default(), b"payload");
    bytes[24] ^= 1;
    assert_eq!(push(&mut Coalescer::new(), &bytes), Push::Unfit);
}

#[test]
fn padding_and_empty_segments_are_unfit() {
    let mut bytes = frame(&Header::default(), b"p");
    bytes.extend([0; 5]);
    assert_eq!(push(&mut Coalescer::new(), &bytes), Push::Unfit);
    assert_eq!(
        push(&mut Coalescer::new(), &frame(&Header::default(), b"")),
        Push::Unfit
    );
}

#[test]
fn a_single_frame_comes_back_as_it_was() {
    let bytes = frame(&Header::default(), b"alone");
    let mut coalescer = Coalescer::new();
    push(&mut coalescer, &bytes);
    assert_eq!(coalescer.take(), Some((VnetHeader::NONE, &bytes[..])));
    assert_eq!(coalescer.take(), None);
}
