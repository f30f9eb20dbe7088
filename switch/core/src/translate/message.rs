//! Messages that name their sender's MAC inside.

use crate::bytes::{be16, put_be16};
use crate::frame::ethertype;
use crate::gateway::is_dhcp_request;
use crate::guard::{ARP_LEN, is_ipv4_arp};
use crate::packet::{Fragment, Packet, Version, protocol};
use crate::{Frame, Mac};

/// Where a message names its sender, or asks to be answered by MAC. Offsets count from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Arp {
        at: usize,
    },
    /// Options from `options` to `end`, whose link-layer addresses count in the message's checksum.
    Discovery {
        transport: usize,
        options: usize,
        end: usize,
    },
    DhcpRequest {
        transport: usize,
        end: usize,
    },
}

/// The message that a frame carries, if it is one of these.
pub(super) fn names_sender(frame: &Frame<'_>, packet: Option<&Packet>) -> Option<Message> {
    let Some(packet) = packet else {
        let arp = frame.packet().get(..ARP_LEN)?;
        let is_one = frame.ethertype() == ethertype::ARP && is_ipv4_arp(arp);
        return is_one.then(|| Message::Arp {
            at: frame.packet_offset(),
        });
    };
    if packet.fragment != Fragment::Whole {
        return None;
    }
    let (transport, end) = (packet.transport, packet.end);
    match (packet.version, packet.protocol) {
        (Version::V6, protocol::ICMPV6) => {
            let kind = *frame.bytes().get(transport)?;
            let options = transport + options_at(kind)?;
            Some(Message::Discovery {
                transport,
                options,
                end,
            })
        }
        (Version::V4, protocol::UDP) if is_dhcp_request(frame, packet) => {
            Some(Message::DhcpRequest { transport, end })
        }
        _ => None,
    }
}

impl Message {
    /// Puts `to` wherever `bytes` name `from`.
    pub(super) fn rename(self, bytes: &mut [u8], from: Mac, to: Mac, is_open: bool) {
        match self {
            Self::Arp { at } => rename_arp(bytes, at, from, to),
            Self::Discovery {
                transport,
                options,
                end,
            } => {
                let end = end.min(bytes.len());
                let checksum = (!is_open).then_some(transport + ICMPV6_CHECKSUM);
                rename_options(bytes, (options, end), (from, to), checksum);
            }
            Self::DhcpRequest { transport, end } => {
                ask_for_broadcast(bytes, transport, end, is_open);
            }
        }
    }
}

// RFC 826: sender at 8, target at 18; an announcement may name its sender in both.
fn rename_arp(bytes: &mut [u8], at: usize, from: Mac, to: Mac) {
    for field in [at + 8, at + 18] {
        let field = &mut bytes[field..field + 6];
        if *field == from.octets() {
            field.copy_from_slice(&to.octets());
        }
    }
}

// RFC 4861 §4.6.1: type 1 or 2, length in units of eight bytes, address.
fn rename_options(
    bytes: &mut [u8],
    (mut at, end): (usize, usize),
    (from, to): (Mac, Mac),
    checksum: Option<usize>,
) {
    while at + 8 <= end {
        let len = usize::from(bytes[at + 1]) * 8;
        if len == 0 {
            return;
        }
        let is_link_address = matches!(bytes[at], 1 | 2) && len == 8;
        if is_link_address && bytes[at + 2..at + 8] == from.octets() {
            for (word, pair) in to.octets().chunks_exact(2).enumerate() {
                replace_word(bytes, at + 2 + 2 * word, be16(pair, 0), checksum);
            }
        }
        at += len;
    }
}

// RFC 2131 §2: flags at 10, ciaddr at 12, of a message that begins after the UDP header.
fn ask_for_broadcast(bytes: &mut [u8], transport: usize, end: usize, is_open: bool) {
    let message = transport + UDP_HEADER_LEN;
    let is_request = bytes.get(message) == Some(&BOOTREQUEST);
    if end.min(bytes.len()) < message + 16 || !is_request {
        return;
    }
    // Who has an address already is answered there.
    if bytes[message + 12..message + 16] != [0; 4] {
        return;
    }
    let checksum = transport + UDP_CHECKSUM;
    let is_counted = !is_open && be16(bytes, checksum) != 0;
    let flags = be16(bytes, message + 10) | BROADCAST;
    replace_word(bytes, message + 10, flags, is_counted.then_some(checksum));
}

/// Writes a word and brings the checksum that counts it up to date (RFC 1624 §3, equation 3).
fn replace_word(bytes: &mut [u8], at: usize, word: u16, checksum: Option<usize>) {
    let before = be16(bytes, at);
    put_be16(bytes, at, word);
    let Some(field) = checksum else {
        return;
    };
    let sum = u32::from(!be16(bytes, field)) + u32::from(!before) + u32::from(word);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from(sum).unwrap_or(u16::MAX);
    // RFC 768: zero says that there is none.
    put_be16(bytes, field, if sum == 0 { 0xffff } else { sum });
}

/// Where the options of a message of neighbor discovery begin (RFC 4861 §4).
pub(super) const fn options_at(kind: u8) -> Option<usize> {
    match kind {
        133 => Some(8),
        134 => Some(16),
        135 | 136 => Some(24),
        137 => Some(40),
        _ => None,
    }
}

const ICMPV6_CHECKSUM: usize = 2;
const UDP_HEADER_LEN: usize = 8;
const UDP_CHECKSUM: usize = 6;
const BOOTREQUEST: u8 = 1;
const BROADCAST: u16 = 0x8000;
