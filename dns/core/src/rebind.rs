//! Answers from the world that point into private networks.
//!
//! A page may ask its visitor's browser for a name that at first has a public address and then, moments later, one of
//! the visitor's own network. Where private answers are blocked, such addresses are taken out of what an upstream says,
//! as unbound does with `private-address`; the rest of the answer stays.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::Message;
use hickory_proto::rr::RData;

/// Takes private addresses out of all sections of the answer; says whether there were any.
pub fn strip_private(message: &mut Message) -> bool {
    let mut stripped = false;
    let sections = [
        &mut message.answers,
        &mut message.authorities,
        &mut message.additionals,
    ];
    for records in sections {
        let before = records.len();
        records.retain(|record| is_public(&record.data));
        stripped |= records.len() < before;
    }
    stripped
}

fn is_public(data: &RData) -> bool {
    match data {
        RData::A(address) => !is_private(address.0.into()),
        RData::AAAA(address) => !is_private(address.0.into()),
        // Their hints are addresses too, and no answer needs them.
        RData::HTTPS(_) | RData::SVCB(_) => false,
        _ => true,
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || first == 0
        // Shared address space (RFC 6598).
        || (first == 100 && second & 0xc0 == 64)
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let embedded = address
        .to_ipv4_mapped()
        .or_else(|| translated(&address))
        .is_some_and(is_private_v4);
    embedded
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_unique_local()
        || address.is_unicast_link_local()
}

/// The address behind the well-known prefix of NAT64 (RFC 6052 §2.1).
fn translated(address: &Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_of_every_kind_are_known() {
        for private in [
            "10.0.0.1",
            "172.31.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.0.1",
            "0.0.0.0",
            "100.64.0.1",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "64:ff9b::808:808",
        ] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }
}
