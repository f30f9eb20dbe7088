//! The matrix of the kernel's `tools/testing/selftests/net/lib/csum.c`, through every pair of drivers.
//!
//! Both families, both transports; checksums partial, complete, absent, summing to zero, bad, and inside an
//! encapsulation. What was right arrives right; what was wrong arrives as wrong as it was.

use std::net::IpAddr;

use switch_core::Mac;

use crate::ends::{End, FAMILIES, Family, Path, TRANSPORTS};
use crate::packets::{
    DATA_VALID, ETHERNET, NEEDS_CSUM, PLAIN, Segment, Transport, Vnet, checksums_hold, contains,
    encapsulated, finished, receive, vnet,
};

#[test]
fn offload_to_offload_keeps_good_checksums_good_and_bad_ones_bad() {
    Path::OffloadToOffload.with(matrix);
}

#[test]
fn offload_to_basic_finishes_what_was_unfinished_and_repairs_nothing() {
    Path::OffloadToBasic.with(|from, to| {
        matrix(from, to);
        let (frame, header) = from
            .segment(
                to,
                Family::V4,
                Transport::Tcp,
                b"plain for a basic TAP".to_vec(),
            )
            .partial();
        from.wire.send(&header, &frame).unwrap();
        let received =
            receive(&to.wire, |frame| contains(frame, b"plain for a basic TAP")).unwrap();
        assert_eq!(
            received.vnet[0] & NEEDS_CSUM,
            0,
            "a basic TAP has nowhere to say so"
        );
    });
}

#[test]
fn basic_to_offload_keeps_good_checksums_good_and_bad_ones_bad() {
    Path::BasicToOffload.with(matrix);
}

#[test]
fn basic_to_basic_keeps_good_checksums_good_and_bad_ones_bad() {
    Path::BasicToBasic.with(matrix);
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Partial,
    Complete,
    /// UDP's "no checksum".
    Absent,
    ZeroPartial,
    ZeroComplete,
    Bad,
    InnerPartial,
    InnerComplete,
    InnerBad,
}

const KINDS: [Kind; 9] = [
    Kind::Partial,
    Kind::Complete,
    Kind::Absent,
    Kind::ZeroPartial,
    Kind::ZeroComplete,
    Kind::Bad,
    Kind::InnerPartial,
    Kind::InnerComplete,
    Kind::InnerBad,
];

/// Every case, told together, so that one run shows the whole picture.
fn matrix(from: &End, to: &End) {
    let mut wrong = Vec::new();
    for family in FAMILIES {
        for transport in TRANSPORTS {
            for kind in KINDS
                .into_iter()
                .filter(|kind| transport == Transport::Udp || !matches!(kind, Kind::Absent))
            {
                if let Err(why) = cross(from, to, family, transport, kind) {
                    wrong.push(format!("{family:?} {transport:?} {kind:?}: {why}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Sends one frame of `kind` and judges what arrives.
fn cross(
    from: &End,
    to: &End,
    family: Family,
    transport: Transport,
    kind: Kind,
) -> Result<(), String> {
    let marker = format!("{family:?} {transport:?} {kind:?}");
    let sent = made(from, to, family, transport, kind, marker.as_bytes());
    from.wire
        .send(&sent.vnet, &sent.frame)
        .map_err(|error| format!("not sent: {error}"))?;
    let received =
        receive(&to.wire, |frame| contains(frame, marker.as_bytes())).ok_or("did not arrive")?;
    let frame = finished(&received);
    if !checksums_hold(&frame, ETHERNET) && !matches!(kind, Kind::Bad) {
        return Err("the outer checksum is wrong".into());
    }
    if sent.is_good != checksums_hold(&frame, sent.checked_at) {
        return Err(format!(
            "good when sent: {}, and the other way when received",
            sent.is_good
        ));
    }
    if !sent.is_good && (frame != sent.frame || received.vnet[0] & (NEEDS_CSUM | DATA_VALID) != 0) {
        return Err(format!(
            "changed, or vouched for with flags {:#x}",
            received.vnet[0]
        ));
    }
    let field = &frame[sent.field_at..sent.field_at + 2];
    match kind {
        Kind::Absent if field != [0, 0] => Err("a checksum was added".into()),
        Kind::ZeroPartial | Kind::ZeroComplete
            if transport == Transport::Udp && field != [0xff, 0xff] =>
        {
            Err("zero must be sent as all ones in UDP".into())
        }
        _ => Ok(()),
    }
}

struct Sent {
    frame: Vec<u8>,
    vnet: Vnet,
    is_good: bool,
    /// Where the IP header starts whose checksums the case is about.
    checked_at: usize,
    /// Where the transport checksum is that the case is about.
    field_at: usize,
}

fn made(
    from: &End,
    to: &End,
    family: Family,
    transport: Transport,
    kind: Kind,
    marker: &[u8],
) -> Sent {
    let mut payload = marker.to_vec();
    payload.resize(101, 0x5a);
    if matches!(kind, Kind::ZeroPartial | Kind::ZeroComplete) {
        payload.push(0);
    }
    let mut segment = from.segment(to, family, transport, payload);
    let field = segment.checksum_field();
    let plain = |frame: Vec<u8>, is_good| Sent {
        frame,
        vnet: PLAIN,
        is_good,
        checked_at: ETHERNET,
        field_at: field,
    };
    match kind {
        Kind::Complete => plain(segment.frame(), true),
        Kind::Bad => plain(spoiled(segment.frame(), field), false),
        Kind::Absent => {
            let mut frame = segment.frame();
            frame[field..field + 2].fill(0);
            plain(frame, true)
        }
        Kind::ZeroComplete => {
            segment.sum_to_zero();
            plain(segment.frame(), true)
        }
        Kind::Partial | Kind::ZeroPartial => {
            if matches!(kind, Kind::ZeroPartial) {
                segment.sum_to_zero();
            }
            let (frame, vnet) = segment.partial();
            Sent {
                vnet,
                ..plain(frame, true)
            }
        }
        Kind::InnerPartial | Kind::InnerComplete | Kind::InnerBad => {
            wrapped(&segment, family, kind)
        }
    }
}

/// The segment between two stations of an inner network, inside a VXLAN datagram between the ends.
fn wrapped(outer: &Segment, family: Family, kind: Kind) -> Sent {
    let [source, destination]: [IpAddr; 2] = match family {
        Family::V4 => ["192.0.2.1", "192.0.2.2"],
        Family::V6 => ["2001:db8::1", "2001:db8::2"],
    }
    .map(|address| address.parse().unwrap());
    let (source_mac, destination_mac) =
        (Mac::new([2, 0, 0, 0, 1, 1]), Mac::new([2, 0, 0, 0, 1, 2]));
    let inner = Segment {
        source_mac,
        destination_mac,
        source,
        destination,
        ..outer.clone()
    };
    let inner_frame = match kind {
        Kind::InnerPartial => inner.partial().0,
        Kind::InnerComplete => inner.frame(),
        _ => spoiled(inner.frame(), inner.checksum_field()),
    };
    let (frame, at) = encapsulated(outer, &inner_frame);
    let start = u16::try_from(at + inner.transport_start()).unwrap();
    let offset = u16::try_from(inner.transport.checksum_offset()).unwrap();
    let vnet = if matches!(kind, Kind::InnerPartial) {
        vnet(0, 0, 0, start, offset)
    } else {
        PLAIN
    };
    let is_good = !matches!(kind, Kind::InnerBad);
    Sent {
        frame,
        vnet,
        is_good,
        checked_at: at + ETHERNET,
        field_at: at + inner.checksum_field(),
    }
}

fn spoiled(mut frame: Vec<u8>, field: usize) -> Vec<u8> {
    frame[field] ^= 0x55;
    frame
}
