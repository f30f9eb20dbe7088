//! Messages as hosts and routers send them.

use std::net::IpAddr;

use super::super::address::{Address, Family};
use crate::bytes::put_be16;
use crate::checksum;
use crate::packet::Packet;
use crate::{Frame, Mac};

pub(in crate::multicast) const HOST: Mac = Mac::new([2, 0, 0, 0, 0, 2]);

/// Whose IPv4 source is 10.0.0.2 and whose IPv6 source is fe80::2, on the link.
fn packet(family: Family, destination: Address, protocol: u8, message: &[u8]) -> Vec<u8> {
    packet_from(family, source(family), destination, (protocol, 1), message)
}

fn source(family: Family) -> Address {
    address(match family {
        Family::V4 => "10.0.0.2",
        Family::V6 => "fe80::2",
    })
}

pub(in crate::multicast) fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn packet_from(
    family: Family,
    from: Address,
    destination: Address,
    (protocol, ttl): (u8, u8),
    message: &[u8],
) -> Vec<u8> {
    let mut bytes = [&destination.group_mac().octets()[..], &HOST.octets()].concat();
    match family {
        Family::V4 => {
            let total = u16::try_from(20 + message.len()).unwrap();
            bytes.extend([8, 0, 0x45, 0]);
            bytes.extend(total.to_be_bytes());
            bytes.extend([0, 0, 0, 0, ttl, protocol, 0, 0]);
        }
        Family::V6 => {
            let len = u16::try_from(message.len()).unwrap();
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend(len.to_be_bytes());
            bytes.extend([protocol, ttl]);
        }
    }
    bytes.extend(from.to_wire());
    bytes.extend(destination.to_wire());
    bytes.extend(message);
    bytes
}

/// With the checksum at the third byte of its message.
fn sealed(family: Family, mut bytes: Vec<u8>) -> Vec<u8> {
    let frame = Frame::parse(&bytes).unwrap();
    let packet = Packet::parse(&frame).unwrap();
    let message = packet.transport(&frame);
    let initial = match family {
        Family::V4 => 0,
        Family::V6 => checksum::pseudo_header(&packet, frame.bytes(), message.len()),
    };
    let sum = checksum::finish(checksum::sum(initial, message));
    put_be16(&mut bytes, packet.transport + 2, sum);
    bytes
}

/// IGMPv1 or v2.
pub(in crate::multicast) fn igmp(kind: u8, code: u8, group: Address) -> Vec<u8> {
    let message = [&[kind, code, 0, 0][..], &group.to_wire()].concat();
    sealed(Family::V4, packet(Family::V4, group, 2, &message))
}

/// MLDv1.
pub(in crate::multicast) fn mld(kind: u8, group: Address) -> Vec<u8> {
    let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &group.to_wire()].concat();
    sealed(Family::V6, packet(Family::V6, group, 58, &message))
}

/// IGMPv3 or MLDv2, with a few bytes of auxiliary data in each record.
pub(in crate::multicast) fn report(
    family: Family,
    records: &[(u8, Address, Vec<Address>)],
) -> Vec<u8> {
    let (kind, protocol, to) = match family {
        Family::V4 => (0x22, 2, "224.0.0.22"),
        Family::V6 => (143, 58, "ff02::16"),
    };
    let count = u16::try_from(records.len()).unwrap();
    let mut message = vec![kind, 0, 0, 0, 0, 0];
    message.extend(count.to_be_bytes());
    for (kind, group, sources) in records {
        let is_padded = *kind == 1 && !sources.is_empty();
        message.extend([*kind, u8::from(is_padded)]);
        message.extend(u16::try_from(sources.len()).unwrap().to_be_bytes());
        message.extend(group.to_wire());
        message.extend(sources.iter().flat_map(|source| source.to_wire()));
        if is_padded {
            message.extend([0xaa; 4]);
        }
    }
    sealed(family, packet(family, address(to), protocol, &message))
}

pub(in crate::multicast) fn pim_hello(family: Family) -> Vec<u8> {
    let to = match family {
        Family::V4 => "224.0.0.13",
        Family::V6 => "ff02::d",
    };
    packet(
        family,
        address(to),
        103,
        &[0x20, 0, 0, 0, 0, 1, 0, 2, 0, 105],
    )
}

/// A datagram for a group, as a sender beyond the link sends it.
pub(in crate::multicast) fn data(group: Address, from: Address) -> Vec<u8> {
    packet_from(group.family(), from, group, (17, 32), &[0x10; 40])
}
