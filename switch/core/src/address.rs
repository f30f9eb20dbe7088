//! IP addresses as tables are ordered by.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An address of either family; an IPv4 address is the IPv6 address that it is mapped to (RFC 4291 §2.5.5.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address(u128);

impl Address {
    /// From 4 or 16 bytes of a packet.
    #[inline]
    pub(crate) fn on_wire(bytes: &[u8]) -> Option<Self> {
        if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
            return Some(Self(MAPPED | u128::from(u32::from_be_bytes(v4))));
        }
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }

    pub(crate) const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) const fn bits(self) -> u128 {
        self.0
    }

    pub(crate) const fn is_v4(self) -> bool {
        self.0 >> 32 == MAPPED >> 32
    }

    /// The bytes of a packet.
    pub(crate) fn to_wire(self) -> Vec<u8> {
        match self.ip() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        }
    }

    pub(crate) fn ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits(self.0)).to_canonical()
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        })
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

const MAPPED: u128 = 0xffff_0000_0000;
