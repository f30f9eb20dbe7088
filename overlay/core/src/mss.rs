//! TCP's maximum segment size, lowered to what a path carries.
//!
//! # Theory of operation
//!
//! Each end of a TCP connection says in its SYN how long a segment it takes (RFC 9293 §3.7.1). A bridge whose path carries
//! less than its ports' MTU lowers the number, and the connection never sends a packet that is too big: no message has to
//! arrive, which is what so often fails. SYNs are few, so this costs nothing elsewhere. A SYN without the option stays as it
//! is: its sender takes 536 bytes, or 1220. A signed SYN stays as it is as well. TCP-AO covers the options (RFC 5925 §5.1), and
//! the other end would drop what was changed. TCP-MD5 does not cover them (RFC 2385 §2.0), but a sender that signs does not
//! want anything changed.

use switch_core::{Frame, VnetHeader, ethertype};

use crate::checksum;
use switch_core::bytes::{be16, put_be16};

/// Lowers the MSS option of a SYN so that its answers' packets are no longer than `mtu` bytes; says whether it changed the
/// frame. The checksum follows, unless `vnet` says that it is missing.
pub fn clamp(vnet: &VnetHeader, bytes: &mut [u8], mtu: u32) -> bool {
    let Some(option) = find(bytes) else {
        return false;
    };
    let limit = mtu.saturating_sub(option.headers_len);
    let (Ok(limit), old) = (u16::try_from(limit), be16(bytes, option.at)) else {
        return false;
    };
    if old <= limit || limit == 0 {
        return false;
    }
    put_be16(bytes, option.at, limit);
    if !vnet.needs_checksum() {
        let field = option.tcp + CHECKSUM;
        // At an odd place its bytes belong to two words of the sum.
        let swap = |value: u16| match (option.at - option.tcp) % 2 {
            0 => value,
            _ => value.swap_bytes(),
        };
        let sum = checksum::updated(be16(bytes, field), swap(old), swap(limit));
        put_be16(bytes, field, sum);
    }
    true
}

/// A copy of a frame with its MSS lowered as by [`clamp`]; `None` when the frame can stay as it is, as nearly all can.
pub fn clamped(vnet: &VnetHeader, bytes: &[u8], mtu: u32) -> Option<Vec<u8>> {
    find(bytes)?;
    let mut copy = bytes.to_vec();
    clamp(vnet, &mut copy, mtu).then_some(copy)
}

/// Where the option's value is.
struct MssOption {
    at: usize,
    tcp: usize,
    /// Length of IP and TCP headers without options, which the MSS does not count.
    headers_len: u32,
}

/// `None` when the frame is no SYN, or has no such option.
fn find(bytes: &[u8]) -> Option<MssOption> {
    let frame = Frame::parse(bytes).ok()?;
    let packet = frame.packet();
    let (ip_len, headers_len) = match frame.ethertype() {
        ethertype::IPV4 => (ipv4_len(packet)?, 20 + 20),
        ethertype::IPV6 => (ipv6_len(packet)?, 40 + 20),
        _ => return None,
    };
    let tcp = packet.get(ip_len..)?;
    let header_len = usize::from(*tcp.get(12)? >> 4) * 4;
    let options = tcp.get(20..header_len)?;
    if tcp[13] & SYN == 0 {
        return None;
    }
    let tcp_at = frame.packet_offset() + ip_len;
    Some(MssOption {
        at: tcp_at + 20 + mss_value(options)?,
        tcp: tcp_at,
        headers_len,
    })
}

/// Length of the header of a TCP packet that is not fragmented.
fn ipv4_len(packet: &[u8]) -> Option<usize> {
    let header = packet.get(..20)?;
    let is_whole = be16(header, 6) & 0x3fff == 0;
    let len = usize::from(header[0] & 0x0f) * 4;
    (header[0] >> 4 == 4 && header[9] == TCP && is_whole && len >= 20).then_some(len)
}

/// Packets with extension headers are left alone.
fn ipv6_len(packet: &[u8]) -> Option<usize> {
    let header = packet.get(..40)?;
    (header[0] >> 4 == 6 && header[6] == TCP).then_some(40)
}

/// Where the value of the option is among the options (RFC 9293 §3.2); `None` as well when they are signed.
fn mss_value(options: &[u8]) -> Option<usize> {
    let (mut at, mut value) = (0, None);
    while at < options.len() {
        match options[at] {
            END => break,
            NO_OPERATION => at += 1,
            MD5_SIGNATURE | AUTHENTICATION => return None,
            kind => {
                let len = usize::from(*options.get(at + 1)?);
                if kind == MSS && len == 4 && at + len <= options.len() {
                    value = value.or(Some(at + 2));
                }
                // A length that does not cover itself would never end.
                at += if len < 2 { return None } else { len };
            }
        }
    }
    value
}

const TCP: u8 = 6;
const SYN: u8 = 0x02;
const CHECKSUM: usize = 16;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;
const MD5_SIGNATURE: u8 = 19;
const AUTHENTICATION: u8 = 29;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Header, on_the_wire, verify_checksums};

    fn syn(ipv6: bool) -> Header {
        Header {
            ipv6,
            syn: true,
            ..Header::default()
        }
    }

    #[test]
    fn a_syn_is_lowered_to_what_fits_and_its_checksum_follows() {
        for (ipv6, expected) in [(false, 1410_u16), (true, 1390)] {
            let mut bytes = syn(ipv6).frame(b"");
            assert!(clamp(&VnetHeader::NONE, &mut bytes, 1450));
            let at = bytes.len() - 2;
            assert_eq!(be16(&bytes, at), expected);
            verify_checksums(&bytes);
            assert!(!clamp(&VnetHeader::NONE, &mut bytes, 1450));
        }
    }

    #[test]
    fn a_missing_checksum_stays_missing_and_comes_out_right() {
        let (mut bytes, vnet) = syn(false).open_frame(b"", 0);
        assert!(clamp(&vnet, &mut bytes, 1450));
        verify_checksums(&on_the_wire(&vnet, &bytes)[0]);
    }

    #[test]
    fn an_option_at_an_odd_place_is_summed_right() {
        let mut bytes = syn(false).frame(b"");
        // NOP, MSS, and END where the last byte was.
        let at = bytes.len() - 4;
        bytes.extend([0; 4]);
        bytes[at..].copy_from_slice(&[1, 2, 4, 0x05, 0xb4, 0, 0, 0]);
        bytes[46] = 7 << 4;
        bytes[16..18].copy_from_slice(&48_u16.to_be_bytes());
        crate::testing::fix_checksums(&mut bytes);
        assert!(clamp(&VnetHeader::NONE, &mut bytes, 1400));
        assert_eq!(be16(&bytes, at + 3), 1360);
        verify_checksums(&bytes);
    }

    #[test]
    fn a_signed_syn_is_left_as_it_was_signed() {
        for (kind, len) in [(19, 18_u8), (29, 16), (29, 4)] {
            for is_first in [false, true] {
                let mut bytes = syn(false).frame(b"");
                let at = bytes.len() - 4;
                let mss = bytes.split_off(at);
                let mut signature = vec![kind, len];
                signature.resize(usize::from(len), 0xab);
                let options = match is_first {
                    true => [signature, mss].concat(),
                    false => [mss, signature].concat(),
                };
                bytes.extend(&options);
                bytes.resize(at + options.len().next_multiple_of(4), 1);
                let header_len = u8::try_from(20 + bytes.len() - at).unwrap();
                bytes[46] = header_len << 2;
                bytes[16..18].copy_from_slice(&(20 + u16::from(header_len)).to_be_bytes());
                crate::testing::fix_checksums(&mut bytes);
                let before = bytes.clone();
                assert!(!clamp(&VnetHeader::NONE, &mut bytes, 1400), "kind {kind}");
                assert_eq!(bytes, before);
                // Were it another option, it would be lowered.
                let signature_at = if is_first { at } else { at + 4 };
                bytes[signature_at] = 254;
                assert!(clamp(&VnetHeader::NONE, &mut bytes, 1400));
            }
        }
    }

    #[test]
    fn other_frames_are_left_alone() {
        let mut data = Header::default().frame(&[2, 4, 0x05, 0xb4]);
        assert!(!clamp(&VnetHeader::NONE, &mut data, 500));
        let udp = Header {
            udp: true,
            ..Header::default()
        };
        assert!(!clamp(&VnetHeader::NONE, &mut udp.frame(b"x"), 500));
        let whole = syn(false).frame(b"");
        assert_eq!(clamped(&VnetHeader::NONE, &whole, 9000), None);
        for len in 14..whole.len() {
            assert!(!clamp(&VnetHeader::NONE, &mut whole[..len].to_vec(), 500));
        }
    }
}
