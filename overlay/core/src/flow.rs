//! Which flow a frame belongs to.
//!
//! # Theory of operation
//!
//! Routers of the underlay, and receivers with several queues, tell flows apart by the outer header. So an encapsulated
//! frame's UDP source port is drawn from a hash of what its inner headers say (RFC 7348 §5): frames of one flow stay in
//! order, and flows spread. The hash covers MACs, ethertype, IP addresses, protocol, and the ports of an unfragmented packet; a
//! superframe hashes like its segments.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use switch_core::{Frame, ethertype};

use switch_core::bytes::be16;

/// A number that frames of one flow share.
pub fn flow_hash(frame: &Frame<'_>) -> u64 {
    let bytes = frame.bytes();
    let mut hasher = FixedState::with_seed(SEED).build_hasher();
    hasher.write(&bytes[..12]);
    hasher.write_u16(frame.ethertype());
    let packet = frame.packet();
    match frame.ethertype() {
        ethertype::IPV4 => hash_v4(&mut hasher, packet),
        ethertype::IPV6 => hash_v6(&mut hasher, packet),
        _ => {}
    }
    hasher.finish()
}

/// The UDP source port for an encapsulated flow: in the dynamic range 49152 .. 65535 (RFC 6335 §6).
pub fn source_udp_port(flow_hash: u64) -> u16 {
    let mixed = flow_hash ^ flow_hash >> 32;
    let low = u16::try_from(mixed & u64::from(DYNAMIC_PORTS - 1)).unwrap_or(0);
    DYNAMIC_FIRST + low
}

fn hash_v4(hasher: &mut impl Hasher, packet: &[u8]) {
    let Some(header) = packet.get(..20) else {
        return;
    };
    hasher.write(&header[12..20]);
    hasher.write_u8(header[9]);
    // All fragments take the way of the first.
    let is_whole = be16(header, 6) & 0x3fff == 0;
    let transport = usize::from(header[0] & 0x0f) * 4;
    if is_whole {
        hash_ports(hasher, header[9], packet.get(transport..));
    }
}

fn hash_v6(hasher: &mut impl Hasher, packet: &[u8]) {
    let Some(header) = packet.get(..40) else {
        return;
    };
    hasher.write(&header[8..40]);
    hasher.write_u8(header[6]);
    hash_ports(hasher, header[6], packet.get(40..));
}

fn hash_ports(hasher: &mut impl Hasher, protocol: u8, transport: Option<&[u8]>) {
    if let (6 | 17 | 132, Some(ports)) = (protocol, transport.and_then(<[u8]>::first_chunk::<4>)) {
        hasher.write_u32(u32::from_be_bytes(*ports));
    }
}

const SEED: u64 = 0x7a9e_57f1;
/// The dynamic range.
pub const DYNAMIC_FIRST: u16 = 49_152;
pub const DYNAMIC_PORTS: u16 = 16_384;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::Header;

    fn hash(header: &Header, payload: &[u8]) -> u64 {
        flow_hash(&Frame::parse(&header.frame(payload)).unwrap())
    }

    #[test]
    fn a_flow_keeps_its_number_and_flows_spread() {
        for ipv6 in [false, true] {
            let header = |source_port| Header {
                ipv6,
                source_port,
                ..Header::default()
            };
            assert_eq!(hash(&header(1), b"x"), hash(&header(1), &[0; 5000]));
            let ports: BTreeSet<u16> = (0..1000)
                .map(|port| source_udp_port(hash(&header(port), b"")))
                .collect();
            assert!(ports.len() > 900, "{}", ports.len());
            assert!(ports.iter().all(|port| *port >= 49_152));
        }
    }

    #[test]
    fn all_fragments_of_a_packet_are_one_flow() {
        let mut first = Header::default().frame(&[0; 100]);
        let mut later = Header::default().frame(&[9; 100]);
        first[20] = 0x20;
        later[21] = 10;
        later[34..38].fill(7);
        let hash = |bytes: &[u8]| flow_hash(&Frame::parse(bytes).unwrap());
        assert_eq!(hash(&first), hash(&later));
    }
}
