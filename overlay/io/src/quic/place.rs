//! Addresses of hosts that are reached over others.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Where a host is over a relay. For quinn it is an address like any other, made of both hosts' numbers in this engine; it lies in
/// the prefix of packets that are to be discarded (RFC 6666), so no host of any underlay has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::quic) struct Place {
    pub(in crate::quic) relay: u32,
    pub(in crate::quic) host: u32,
}

impl Place {
    /// `None` for an address of the underlay.
    pub(in crate::quic) fn of(address: SocketAddr) -> Option<Self> {
        let IpAddr::V6(ip) = address.ip() else {
            return None;
        };
        let [a, b, c, d, e, f, g, h] = ip.segments();
        let word = |high: u16, low: u16| u32::from(high) << 16 | u32::from(low);
        ([a, b, c, d] == PREFIX).then(|| Self {
            relay: word(e, f),
            host: word(g, h),
        })
    }

    pub(in crate::quic) fn address(self) -> SocketAddr {
        let [a, b, c, d] = PREFIX;
        let prefix = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_bits();
        let ip = prefix | u128::from(self.relay) << 32 | u128::from(self.host);
        SocketAddr::new(Ipv6Addr::from_bits(ip).into(), UDP_PORT)
    }
}

/// 100::/64.
const PREFIX: [u16; 4] = [0x100, 0, 0, 0];
/// Any but zero, which quinn does not dial.
const UDP_PORT: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_numbers_that_it_was_made_of() {
        for (relay, host) in [(0, 0), (1, 2), (u32::MAX, 0xdead_beef)] {
            let place = Place { relay, host };
            assert_eq!(Place::of(place.address()), Some(place));
        }
    }

    #[test]
    fn addresses_of_an_underlay_are_none() {
        for address in [
            "192.0.2.1:4790",
            "[2001:db8::1]:1",
            "[fd00::1]:1",
            "[100:0:0:1::1]:1",
            "[::]:1",
        ] {
            assert_eq!(Place::of(address.parse().unwrap()), None, "{address}");
        }
    }
}
