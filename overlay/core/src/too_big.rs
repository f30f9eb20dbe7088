//! Answers to packets that are too big.
//!
//! # Theory of operation
//!
//! A router that cannot pass a packet on tells its sender how long the next may be (RFC 1191, RFC 8201). An overlay is a
//! bridge, but has paths that carry less than its ports' MTU, so it answers in the gateway's name; Linux does the same for its
//! own tunnels (`iptunnel_pmtud_build_icmp`). In a network without a gateway address the answer comes from the packet's
//! destination.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! | ICMP:   3     |       4       |           checksum            |   RFC 792, RFC 1191 §4
//! +---------------+---------------+-------------------------------+
//! |            zero               |             MTU               |
//! +-------------------------------+-------------------------------+
//!
//! +---------------+---------------+-------------------------------+
//! | ICMPv6: 2     |       0       |           checksum            |   RFC 4443 §3.2
//! +---------------+---------------+-------------------------------+
//! |                              MTU                              |
//! +---------------------------------------------------------------+
//! ```
//!
//! The start of the packet follows. No answer goes to a group, a fragment other than the first, an ICMP error, or a sender
//! without an address (RFC 1122 §3.2.2, RFC 4443 §2.4). IPv4 is answered with and without "don't fragment": this bridge
//! does not fragment, and a sender that hears the limit does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use switch_core::{Frame, Mac, Time, ethertype};

use crate::Bucket;
use crate::checksum::{add, sum};
use switch_core::bytes::{be16, put_be16, put_be32};

/// How many answers may go out: a sender that does not listen must not be answered for every packet (RFC 4443 §2.4 (f)).
pub const fn budget(now: Time) -> Bucket {
    Bucket::full(now, RATE, BURST)
}

/// Longest answer, in bytes: a packet of IPv6's minimum MTU behind an Ethernet header with two tags.
pub const LEN_MAX: usize = IPV6_ANSWER_MAX + Frame::HEADER_LEN + 8;

/// Writes the answer to a packet that is longer than `mtu` bytes to the start of `out`, and returns its length: zero when no
/// answer is due, or `out` is too short. The answer goes back to where the frame came from.
pub fn answer(
    frame: &Frame<'_>,
    mtu: u32,
    gateway_mac: Mac,
    gateways: &[IpAddr],
    out: &mut [u8],
) -> usize {
    if frame.dst().is_multicast() {
        return 0;
    }
    let tags_end = frame.packet_offset();
    let Some((ethernet, packet)) = out.split_at_mut_checked(tags_end) else {
        return 0;
    };
    ethernet[..6].copy_from_slice(&frame.src().octets());
    ethernet[6..12].copy_from_slice(&gateway_mac.octets());
    // Tags and ethertype are the answer's too.
    ethernet[12..].copy_from_slice(&frame.bytes()[12..tags_end]);
    let len = match frame.ethertype() {
        ethertype::IPV4 => answer_v4(frame.packet(), mtu, gateways, packet),
        ethertype::IPV6 => answer_v6(frame.packet(), mtu, gateways, packet),
        _ => None,
    };
    len.map_or(0, |len| tags_end + len)
}

fn answer_v4(packet: &[u8], mtu: u32, gateways: &[IpAddr], out: &mut [u8]) -> Option<usize> {
    let header = packet.get(..20)?;
    let source = ipv4(header, 12);
    let destination = ipv4(header, 16);
    let transport = usize::from(header[0] & 0x0f) * 4;
    let is_first = be16(header, 6) & 0x1fff == 0;
    let is_error = header[9] == ICMP && !matches!(packet.get(transport), Some(0 | 8));
    let is_due = header[0] >> 4 == 4
        && is_first
        && !is_error
        && !is_nobody_v4(source)
        && !is_nobody_v4(destination);
    if !is_due {
        return None;
    }
    let gateway = gateways.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    let quoted = &packet[..packet.len().min(IPV4_ANSWER_MAX - 28)];
    let len = 28 + quoted.len();
    let out = out.get_mut(..len)?;
    out[..28].fill(0);
    out[28..].copy_from_slice(quoted);
    let (ip, message) = out.split_at_mut(20);
    ip[0] = 0x45;
    // RFC 1812 §4.3.2.5: errors are internetwork control.
    ip[1] = 0xc0;
    put_be16(ip, 2, u16::try_from(len).ok()?);
    ip[8..10].copy_from_slice(&[TTL, ICMP]);
    ip[12..16].copy_from_slice(&gateway.unwrap_or(destination).octets());
    ip[16..20].copy_from_slice(&source.octets());
    let checksum = !sum(0, ip);
    put_be16(ip, 10, checksum);
    message[..2].copy_from_slice(&[3, 4]);
    put_be16(message, 6, u16::try_from(mtu).unwrap_or(u16::MAX));
    let checksum = !sum(0, message);
    put_be16(message, 2, checksum);
    Some(len)
}

fn answer_v6(packet: &[u8], mtu: u32, gateways: &[IpAddr], out: &mut [u8]) -> Option<usize> {
    let header = packet.get(..40)?;
    let source = ipv6(header, 8)?;
    let destination = ipv6(header, 24)?;
    // Informational messages have the high bit (RFC 4443 §2.1).
    let is_error = header[6] == ICMPV6 && packet.get(40).is_none_or(|kind| kind & 0x80 == 0);
    let is_later =
        header[6] == FRAGMENT && packet.get(42..44).is_none_or(|at| be16(at, 0) >> 3 != 0);
    let is_due = header[0] >> 4 == 6
        && !is_error
        && !is_later
        && !is_nobody_v6(source)
        && !is_nobody_v6(destination);
    if !is_due {
        return None;
    }
    let gateway = gateways.iter().find_map(|address| match address {
        IpAddr::V6(address) => Some(*address),
        IpAddr::V4(_) => None,
    });
    let quoted = &packet[..packet.len().min(IPV6_ANSWER_MAX - 48)];
    let len = 48 + quoted.len();
    let out = out.get_mut(..len)?;
    out[..48].fill(0);
    out[48..].copy_from_slice(quoted);
    let (ip, message) = out.split_at_mut(40);
    let message_len = u16::try_from(message.len()).ok()?;
    ip[0] = 0x60;
    put_be16(ip, 4, message_len);
    ip[6..8].copy_from_slice(&[ICMPV6, TTL]);
    ip[8..24].copy_from_slice(&gateway.unwrap_or(destination).octets());
    ip[24..40].copy_from_slice(&source.octets());
    message[..2].copy_from_slice(&[2, 0]);
    // Nobody may be told less (RFC 8200 §5).
    put_be32(message, 4, mtu.max(IPV6_MTU_MIN));
    let pseudo_header = add(add(sum(0, &ip[8..40]), message_len), u16::from(ICMPV6));
    let checksum = !sum(pseudo_header, message);
    put_be16(message, 2, checksum);
    Some(len)
}

fn ipv4(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

fn ipv6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(octets.into())
}

fn is_nobody_v4(address: Ipv4Addr) -> bool {
    address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_loopback()
}

fn is_nobody_v6(address: Ipv6Addr) -> bool {
    address.is_unspecified() || address.is_multicast() || address.is_loopback()
}

/// Answers a second, and answers at once after a pause.
const RATE: u64 = 200;
const BURST: u64 = 50;
/// RFC 1812 §4.3.2.3.
const IPV4_ANSWER_MAX: usize = 576;
/// RFC 4443 §2.4 (c).
const IPV6_ANSWER_MAX: usize = 1280;
const IPV6_MTU_MIN: u32 = 1280;
const TTL: u8 = 64;
const ICMP: u8 = 1;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv4Type, Icmpv6Type, SlicedPacket, TransportSlice, icmpv4};

    use super::*;
    use crate::testing::{Header, payload, verify_checksums};

    const GATEWAY: Mac = Mac::new([2, 0, 0, 0, 0, 0xee]);

    fn answer_to(header: &Header, gateways: &[IpAddr]) -> Vec<u8> {
        let bytes = header.frame(&payload(3000));
        let mut out = [0xaa; LEN_MAX];
        let len = answer(
            &Frame::parse(&bytes).unwrap(),
            1400,
            GATEWAY,
            gateways,
            &mut out,
        );
        out[..len].to_vec()
    }

    #[test]
    fn ipv4_is_told_the_mtu_in_the_gateways_name() {
        for vlan in [false, true] {
            let header = Header {
                vlan,
                ..Header::default()
            };
            let bytes = answer_to(&header, &["10.0.0.254".parse().unwrap()]);
            let frame = Frame::parse(&bytes).unwrap();
            assert_eq!(frame.src(), GATEWAY);
            assert_eq!(frame.packet().len(), 576);
            assert_eq!(frame.packet()[12..20], [10, 0, 0, 254, 10, 0, 0, 1]);
            verify_checksums(&bytes);
            let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
            let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else {
                panic!("not ICMP");
            };
            let expected =
                icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
            assert_eq!(
                icmp.icmp_type(),
                Icmpv4Type::DestinationUnreachable(expected)
            );
            assert_eq!(
                icmp.payload(),
                &header.frame(&payload(3000))[header.ip_at()..][..548]
            );
        }
    }

    #[test]
    fn ipv6_is_told_the_mtu_and_without_a_gateway_by_the_destination() {
        let header = Header {
            ipv6: true,
            udp: true,
            ..Header::default()
        };
        let bytes = answer_to(&header, &["10.0.0.254".parse().unwrap()]);
        assert_eq!(bytes.len(), 14 + 1280);
        assert_eq!(bytes[14 + 8..14 + 40], [[0xfe; 16], [0xfd; 16]].concat());
        let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
        let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else {
            panic!("not ICMPv6");
        };
        assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: 1400 });
        assert!(icmp.is_checksum_valid([0xfe; 16], [0xfd; 16]));
    }

    #[test]
    fn no_answer_to_groups_errors_fragments_and_nobody() {
        let good = Header::default().frame(&payload(2000));
        let len_after = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            let frame = Frame::parse(&bytes).unwrap();
            answer(&frame, 1400, GATEWAY, &[], &mut [0; LEN_MAX])
        };
        assert_ne!(len_after(&|_| {}), 0);
        assert_eq!(len_after(&|bytes| bytes[0] = 0xff), 0);
        assert_eq!(len_after(&|bytes| bytes[21] = 1), 0);
        assert_eq!(len_after(&|bytes| bytes[26..30].fill(0)), 0);
        assert_eq!(len_after(&|bytes| bytes[30] = 224), 0);
        assert_eq!(len_after(&|bytes| bytes[13] = 6), 0);
        for (kind, due) in [(3, false), (8, true), (0, true), (11, false)] {
            let len = len_after(&|bytes| {
                bytes[23] = 1;
                bytes[34] = kind;
            });
            assert_eq!(len != 0, due, "{kind}");
        }
        for len in 14..40 {
            let frame = Frame::parse(&good[..len]).unwrap();
            answer(&frame, 1400, GATEWAY, &[], &mut [0; LEN_MAX]);
        }
        let frame = Frame::parse(&good).unwrap();
        assert_eq!(answer(&frame, 1400, GATEWAY, &[], &mut [0; 100]), 0);
    }
}
