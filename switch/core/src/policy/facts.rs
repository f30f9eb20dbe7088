//! What a policy looks at in a frame.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::bytes::be16;
use crate::packet::{Fragment, Packet, TCP_HEADER_LEN, Version, is_extension, protocol};
use crate::{Frame, Mac, ethertype};

/// See the module's name. Nothing is borrowed, and nothing allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(super) source_mac: Mac,
    pub(super) destination_mac: Mac,
    pub(super) kind: Kind,
    pub(super) transport: Transport,
    pub(super) addresses: Addresses,
}

/// What the frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Arp,
    /// Neighbor discovery (RFC 4861 §4).
    Discovery,
    Ip {
        version: Version,
        protocol: u8,
    },
    /// IP whose protocol cannot be told.
    Opaque(Version),
    /// Beneath more tags than are looked through.
    Hidden,
    Other(u16),
}

/// What its transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// There is none that rules know.
    Without,
    Ports {
        source: u16,
        destination: u16,
        /// A segment of TCP with neither ACK nor RST.
        is_new: bool,
    },
    Icmp {
        kind: u8,
    },
    /// It is in another fragment, or cut.
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    None,
    V4(u32, u32),
    V6(u128, u128),
    /// An IP packet without a whole header.
    Unreadable,
}

impl Facts {
    /// `packet` is what was parsed of the frame, if it was.
    #[inline]
    pub(crate) fn of(frame: &Frame<'_>, packet: Option<&Packet>) -> Self {
        let parsed;
        let packet = match packet {
            Some(packet) => Some(packet),
            None => {
                parsed = Packet::parse(frame);
                parsed.as_ref()
            }
        };
        let mut facts = Self {
            source_mac: frame.src(),
            destination_mac: frame.dst(),
            kind: Kind::Other(frame.ethertype()),
            transport: Transport::Without,
            addresses: Addresses::None,
        };
        match (frame.ethertype(), packet) {
            (ethertype::ARP, _) => facts.kind = Kind::Arp,
            (ethertype::IPV4, None) => facts.be_opaque(Version::V4),
            (ethertype::IPV6, None) => facts.be_opaque(Version::V6),
            (_, Some(packet)) => facts.read(frame, packet),
            (_, None) if frame.has_deeper_tags() => {
                facts.be_opaque(Version::V4);
                facts.kind = Kind::Hidden;
            }
            (_, None) => {}
        }
        facts
    }

    /// Whether it passes where no rule means it.
    pub(super) const fn is_exempt(&self) -> bool {
        matches!(self.kind, Kind::Arp | Kind::Discovery)
    }

    const fn be_opaque(&mut self, version: Version) {
        self.kind = Kind::Opaque(version);
        self.transport = Transport::Unreadable;
        self.addresses = Addresses::Unreadable;
    }

    fn read(&mut self, frame: &Frame<'_>, packet: &Packet) {
        self.addresses = addresses(frame, packet);
        self.transport = transport(frame, packet);
        self.kind = match (packet.protocol, packet.version) {
            (protocol::UNKNOWN, version) => Kind::Opaque(version),
            // What follows stands in the first fragment.
            (number, version) if packet.fragment == Fragment::Later && is_extension(number) => {
                Kind::Opaque(version)
            }
            (protocol::ICMPV6, Version::V6) if self.is_discovery() => Kind::Discovery,
            (protocol, version) => Kind::Ip { version, protocol },
        };
    }

    const fn is_discovery(&self) -> bool {
        matches!(self.transport, Transport::Icmp { kind: 133..=137 })
    }
}

fn addresses(frame: &Frame<'_>, packet: &Packet) -> Addresses {
    let (source, destination) = (packet.source(frame), packet.destination(frame));
    match packet.version {
        Version::V4 => {
            let number = |octets: &[u8]| {
                octets
                    .first_chunk::<4>()
                    .map(|four| u32::from_be_bytes(*four))
            };
            match number(source).zip(number(destination)) {
                Some((source, destination)) => Addresses::V4(source, destination),
                None => Addresses::Unreadable,
            }
        }
        Version::V6 => {
            let number = |octets: &[u8]| {
                octets
                    .first_chunk::<16>()
                    .map(|all| u128::from_be_bytes(*all))
            };
            match number(source).zip(number(destination)) {
                Some((source, destination)) => Addresses::V6(source, destination),
                None => Addresses::Unreadable,
            }
        }
    }
}

fn transport(frame: &Frame<'_>, packet: &Packet) -> Transport {
    if packet.fragment == Fragment::Later {
        return match has_transport(packet) {
            true => Transport::Unreadable,
            false => Transport::Without,
        };
    }
    let header = packet.transport(frame);
    match packet.protocol {
        protocol::TCP if header.len() >= TCP_HEADER_LEN => Transport::Ports {
            source: be16(header, 0),
            destination: be16(header, 2),
            is_new: header[13] & (ACK | RST) == 0,
        },
        protocol::UDP | SCTP | DCCP | UDP_LITE if header.len() >= 4 => Transport::Ports {
            source: be16(header, 0),
            destination: be16(header, 2),
            is_new: false,
        },
        protocol::ICMP | protocol::ICMPV6 => match header.first() {
            Some(kind) => Transport::Icmp { kind: *kind },
            None => Transport::Unreadable,
        },
        _ if has_transport(packet) => Transport::Unreadable,
        _ => Transport::Without,
    }
}

/// Whether rules know the header, or nobody knows what it is.
const fn has_transport(packet: &Packet) -> bool {
    matches!(
        packet.protocol,
        protocol::TCP
            | protocol::UDP
            | protocol::ICMP
            | protocol::ICMPV6
            | protocol::UNKNOWN
            | SCTP
            | DCCP
            | UDP_LITE
    )
}

/// For rules, which have addresses by family.
pub(super) fn number_v4(address: Ipv4Addr) -> u32 {
    u32::from_be_bytes(address.octets())
}

pub(super) fn number_v6(address: Ipv6Addr) -> u128 {
    u128::from_be_bytes(address.octets())
}

// RFC 9293 §3.1.
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;
