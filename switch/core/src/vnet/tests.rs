//! Headers that a sandbox might write.

use super::*;
use crate::testing::{Header, Transport, frame};

fn validate(raw: &[u8], bytes: &[u8]) -> Result<VnetHeader, DropReason> {
    VnetHeader::validate(raw, &Frame::parse(bytes).unwrap())
}

fn field(raw: &mut [u8], at: usize, value: u16) {
    raw[at..at + 2].copy_from_slice(&value.to_ne_bytes());
}

/// What becomes of a good TSO superframe when its vnet header or frame is changed.
fn changed(change: impl Fn(&mut [u8; 10], &mut Vec<u8>)) -> Result<VnetHeader, DropReason> {
    let header = Header::default();
    let (mut bytes, _) = header.superframe(&[1; 5000], 1448);
    let mut raw = header.raw_vnet(1448);
    change(&mut raw, &mut bytes);
    validate(&raw, &bytes)
}

#[test]
fn a_good_superframe_is_rebuilt_as_it_was() {
    for header in Header::all() {
        let (bytes, vnet) = header.superframe(&[1; 5000], 1400);
        assert_eq!(vnet.to_bytes(), header.raw_vnet(1400));
        assert_eq!(vnet.header_len(), header.len());
        assert_eq!(vnet.segmentation(bytes.len()), (4, header.len() + 1400));
    }
}

#[test]
fn the_ecn_bit_is_no_type_of_its_own() {
    let vnet = changed(|raw, _| raw[1] |= 0x80).unwrap();
    assert_eq!(
        vnet.gso(),
        Gso::TcpV4 {
            size: 1448,
            ecn: true
        }
    );
    assert_eq!(vnet.to_bytes()[1], 0x81);
    assert_eq!(
        changed(|raw, _| raw[1] = 0x80),
        Err(DropReason::VnetGsoType)
    );
    assert_eq!(
        changed(|raw, _| raw[1] = 0x85),
        Err(DropReason::VnetGsoType)
    );
}

#[test]
fn types_we_do_not_carry_are_dropped() {
    for gso_type in [2, 3, 6, 7, 0x20, 0x40, 0x83, 0xff] {
        assert_eq!(
            changed(|raw, _| raw[1] = gso_type),
            Err(DropReason::VnetGsoType)
        );
    }
}

#[test]
fn a_type_that_contradicts_the_headers_is_dropped() {
    for gso_type in [4, 5] {
        assert_eq!(
            changed(|raw, _| raw[1] = gso_type),
            Err(DropReason::VnetHeaders)
        );
    }
}

#[test]
fn sizes_that_cut_to_nothing_or_dust_are_dropped() {
    for size in [0, 1, 2] {
        assert_eq!(
            changed(|raw, _| field(raw, 4, size)),
            Err(DropReason::VnetGsoSize)
        );
    }
}

#[test]
fn one_segment_is_an_ordinary_frame() {
    let vnet = changed(|raw, _| field(raw, 4, 5000)).unwrap();
    assert_eq!(vnet.gso(), Gso::None);
    assert!(vnet.needs_checksum());
    assert_eq!(vnet.to_bytes()[4..6], [0, 0]);
}

#[test]
fn the_header_length_is_computed_not_believed() {
    for claim in [0, 14, 5000, u16::MAX] {
        let vnet = changed(|raw, _| field(raw, 2, claim)).unwrap();
        assert_eq!(vnet.header_len(), 54);
    }
}

#[test]
fn a_superframe_needs_its_checksum_missing_where_its_type_has_it() {
    assert_eq!(changed(|raw, _| raw[0] = 0), Err(DropReason::VnetChecksum));
    for (start, offset) in [
        (34, 6),
        (35, 16),
        (14, 16),
        (0, 0),
        (54, 16),
        (u16::MAX, u16::MAX),
    ] {
        let result = changed(|raw, _| {
            field(raw, 6, start);
            field(raw, 8, offset);
        });
        assert_eq!(result, Err(DropReason::VnetChecksum), "{start} {offset}");
    }
}

#[test]
fn lengths_that_disagree_are_dropped() {
    assert_eq!(
        changed(|_, bytes| bytes.push(0)),
        Err(DropReason::VnetHeaders)
    );
    assert_eq!(
        changed(|_, bytes| bytes[46] = 0x40),
        Err(DropReason::VnetHeaders)
    );
    assert_eq!(
        changed(|_, bytes| bytes[46] = 0xf0).map(|vnet| vnet.header_len()),
        Ok(94)
    );
    let header = Header {
        transport: Transport::Udp,
        ..Header::default()
    };
    let (mut bytes, _) = header.superframe(&[1; 5000], 1448);
    bytes[38] ^= 1;
    assert_eq!(
        validate(&header.raw_vnet(1448), &bytes),
        Err(DropReason::VnetHeaders)
    );
}

#[test]
fn a_wrong_ipv4_header_checksum_is_dropped_before_the_kernel_does() {
    assert_eq!(
        changed(|_, bytes| bytes[24] ^= 1),
        Err(DropReason::VnetIpv4Checksum)
    );
    assert_eq!(
        changed(|_, bytes| bytes[24..26].fill(0)),
        Err(DropReason::VnetIpv4Checksum)
    );
}

#[test]
fn a_header_cut_short_is_malformed() {
    let bytes = frame(&Header::default(), b"x");
    assert_eq!(validate(&[0; 9], &bytes), Err(DropReason::VnetMalformed));
    assert_eq!(validate(&[0; 10], &bytes), Ok(VnetHeader::NONE));
}

#[test]
fn a_claim_of_validity_is_cleared() {
    let bytes = frame(&Header::default(), b"x");
    let vnet = validate(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0], &bytes).unwrap();
    assert_eq!(vnet.to_bytes(), [0; 10]);
}

#[test]
fn a_checksum_cannot_be_written_over_what_the_guard_read() {
    let mut raw = Header::default().raw_vnet(0);
    let tcp = frame(&Header::default(), &[0; 64]);
    // IP header, TCP port, nothing at all.
    for (start, offset) in [(14, 10), (34, 0), (0, 0), (33, 17)] {
        field(&mut raw, 6, start);
        field(&mut raw, 8, offset);
        assert_eq!(validate(&raw, &tcp), Err(DropReason::VnetChecksum));
    }
    let mut arp = vec![2; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    for start in 0..50 {
        field(&mut raw, 6, start);
        field(&mut raw, 8, 0);
        assert_eq!(validate(&raw, &arp), Err(DropReason::VnetChecksum));
    }
}

#[test]
fn a_checksum_starts_where_a_kernel_takes_it() {
    let bytes = [
        &[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 3, 0x88, 0xb5][..],
        &[0; 46],
    ]
    .concat();
    for (start, taken) in [(13, false), (14, false), (19, false), (20, true)] {
        let mut raw = [0; VnetHeader::LEN];
        raw[0] = 1;
        field(&mut raw, 6, start);
        let open = validate(&raw, &bytes).map(|vnet| vnet.needs_checksum());
        let expected = match taken {
            true => Ok(true),
            false => Err(DropReason::VnetChecksum),
        };
        assert_eq!(open, expected, "{start}");
    }
}

#[test]
fn neighbor_discovery_has_its_checksum_only_where_it_belongs() {
    let mut bytes = frame(
        &Header {
            ipv6: true,
            ..Header::default()
        },
        &[0; 64],
    );
    bytes[20] = protocol::ICMPV6;
    let mut raw = Header {
        ipv6: true,
        ..Header::default()
    }
    .raw_vnet(0);
    for (start, offset, good) in [
        (54, 2, true),
        (54, 8, false),
        (62, 0, false),
        (14, 8, false),
    ] {
        field(&mut raw, 6, start);
        field(&mut raw, 8, offset);
        assert_eq!(validate(&raw, &bytes).is_ok(), good, "{start} {offset}");
    }
}

#[test]
fn a_datagram_has_no_checksum_over_its_ports() {
    let header = Header {
        transport: Transport::Udp,
        ..Header::default()
    };
    let bytes = frame(&header, &[0; 64]);
    let mut raw = header.raw_vnet(0);
    for (start, offset) in [(34, 0), (34, 2), (35, 1), (36, 0)] {
        field(&mut raw, 6, start);
        field(&mut raw, 8, offset);
        assert_eq!(validate(&raw, &bytes), Err(DropReason::VnetChecksum));
    }
}

#[test]
fn a_fragment_has_no_checksum_to_complete() {
    let header = Header::default();
    let mut bytes = frame(&header, &[0; 64]);
    bytes[20] = 0x20;
    assert_eq!(
        validate(&header.raw_vnet(0), &bytes),
        Err(DropReason::VnetChecksum)
    );
}

#[test]
fn a_checksum_deep_inside_a_tunnel_is_accepted_in_range() {
    let header = Header {
        transport: Transport::Udp,
        ..Header::default()
    };
    let bytes = frame(&header, &[0; 100]);
    let mut raw = header.raw_vnet(0);
    for (start, offset, good) in [
        (42, 0, true),
        (92, 16, true),
        (140, 0, true),
        (141, 0, false),
        (41, 8, false),
    ] {
        field(&mut raw, 6, start);
        field(&mut raw, 8, offset);
        assert_eq!(validate(&raw, &bytes).is_ok(), good, "{start} {offset}");
    }
}

#[test]
fn a_missing_checksum_is_completed_to_what_the_sender_would_have_written() {
    for header in Header::all() {
        let whole = frame(&header, b"payload of odd length");
        let mut open = whole.clone();
        let vnet = header.leave_checksum_open(&mut open);
        assert_ne!(open, whole);
        vnet.complete_checksum(&mut open);
        assert_eq!(open, whole, "{header:?}");
    }
}

#[test]
fn a_udp_sum_of_zero_becomes_ones() {
    let header = Header {
        transport: Transport::Udp,
        ..Header::default()
    };
    let mut bytes = frame(&header, &[0, 0]);
    // Two bytes of payload that bring the sum to zero: the checksum of the rest.
    let end = bytes.len() - 2;
    let checksum: [u8; 2] = bytes[40..42].try_into().unwrap();
    bytes[end..].copy_from_slice(&checksum);
    let vnet = header.leave_checksum_open(&mut bytes);
    assert!(vnet.needs_checksum());
    vnet.complete_checksum(&mut bytes);
    assert_eq!(bytes[40..42], [0xff, 0xff]);
}

#[test]
fn a_checksum_inside_a_tunnel_is_completed() {
    // UDP in VXLAN: the inner frame begins 8 + 8 bytes into the outer datagram's header.
    let inner_header = Header {
        transport: Transport::Tcp,
        ..Header::default()
    };
    let inner = frame(&inner_header, b"inside");
    let mut open = inner.clone();
    inner_header.leave_checksum_open(&mut open);
    let outer_header = Header {
        transport: Transport::Udp,
        ..Header::default()
    };
    let vxlan = |inner: &[u8]| {
        frame(
            &outer_header,
            &[&[8, 0, 0, 0, 0, 0, 1, 0][..], inner].concat(),
        )
    };
    let mut bytes = vxlan(&open);
    let inner_at = bytes.len() - inner.len();
    let mut raw = [0; VnetHeader::LEN];
    raw[0] = 1;
    raw[6..8].copy_from_slice(&u16::try_from(inner_at + 34).unwrap().to_ne_bytes());
    raw[8..10].copy_from_slice(&16_u16.to_ne_bytes());
    let vnet = VnetHeader::validate(&raw, &Frame::parse(&bytes).unwrap()).unwrap();
    vnet.complete_checksum(&mut bytes);
    assert_eq!(bytes[inner_at..], inner);
}
