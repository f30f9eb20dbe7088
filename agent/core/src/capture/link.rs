//! A frame that carries no packet of IP, in words: what bridges and their neighbours say, or whose EtherType it is.

use std::fmt::Write as _;

use etherparse::{LaxSlicedPacket, LinkSlice};
use switch_core::Mac;

pub(super) fn describe_link(
    packet: &LaxSlicedPacket<'_>,
    bytes: &[u8],
    original_len: u32,
) -> String {
    let header = ETHERNET_LEN + packet.link_exts.len() * TAG_LEN;
    let payload = bytes.get(header..).unwrap_or_default();
    let ethertype = match bytes.get(header - 2..header) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    };
    match (ethertype, payload) {
        (0..ETHERTYPES, [0x42, 0x42, 0x03, bpdu @ ..]) => describe_stp(bpdu),
        (LLDP, _) => describe_lldp(payload),
        (SLOW, [1, ..]) => format!("LACP, length {original_len}"),
        (IPV4 | IPV6, _) => format!("IP, truncated, length {original_len}"),
        _ => {
            let (from, to) = match &packet.link {
                Some(LinkSlice::Ethernet2(link)) => {
                    (Mac::new(link.source()), Mac::new(link.destination()))
                }
                _ => (Mac::ZERO, Mac::ZERO),
            };
            let kind = match ethertype {
                0..ETHERTYPES => "LLC".to_owned(),
                EAPOL => "EAPOL".to_owned(),
                MPLS => "MPLS".to_owned(),
                MACSEC => "MACsec".to_owned(),
                _ => format!("ethertype 0x{ethertype:04x}"),
            };
            format!("{from} > {to}, {kind}, length {original_len}")
        }
    }
}

/// IEEE 802.1D §9.3, 802.1Q §14.4.
fn describe_stp(bpdu: &[u8]) -> String {
    let name = match bpdu.get(2..4) {
        Some([0, 0x00]) => "802.1d, Config",
        Some([0, 0x80]) => return "STP 802.1d, Topology Change".to_owned(),
        Some([2, 0x02]) => "802.1w, Rapid STP",
        Some([3..=u8::MAX, 0x02]) => "802.1s, Multiple STP",
        _ => return "STP, unknown".to_owned(),
    };
    let bridge = |at: usize| {
        let id = bpdu.get(at..at + 8)?.split_first_chunk::<2>()?;
        let mac = Mac::new(id.1.try_into().ok()?);
        Some(format!("{:04x}.{mac}", u16::from_be_bytes(*id.0)))
    };
    match (bridge(5), bridge(17), bpdu.get(25..27)) {
        (Some(root), Some(sender), Some(port)) => {
            format!(
                "STP {name}, bridge-id {sender}.{:02x}{:02x}, root {root}",
                port[0], port[1]
            )
        }
        _ => format!("STP {name}"),
    }
}

/// Who speaks, from the TLVs (IEEE 802.1AB §8).
fn describe_lldp(mut tlvs: &[u8]) -> String {
    let mut line = "LLDP".to_owned();
    while let Some((&[high, low], rest)) = tlvs.split_first_chunk::<2>() {
        let (kind, len) = (high >> 1, usize::from(high & 1) << 8 | usize::from(low));
        let Some((value, next)) = rest.split_at_checked(len) else {
            break;
        };
        match (kind, value) {
            (LLDP_END, _) => break,
            (LLDP_PORT, [_, name @ ..]) if is_text(name) => {
                // Writing to a string does not fail.
                let _ = write!(line, ", port {}", String::from_utf8_lossy(name));
            }
            (LLDP_SYSTEM, name) if is_text(name) => {
                let _ = write!(line, ", system {}", String::from_utf8_lossy(name));
            }
            _ => {}
        }
        tlvs = next;
    }
    line
}

/// What a terminal may be shown.
fn is_text(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

const ETHERNET_LEN: usize = 14;
const TAG_LEN: usize = 4;
/// What is less is a length (IEEE 802.3 §3.2.6).
const ETHERTYPES: u16 = 0x0600;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const MPLS: u16 = 0x8847;
const SLOW: u16 = 0x8809;
const EAPOL: u16 = 0x888e;
const LLDP: u16 = 0x88cc;
const MACSEC: u16 = 0x88e5;
const LLDP_END: u8 = 0;
const LLDP_PORT: u8 = 2;
const LLDP_SYSTEM: u8 = 5;
