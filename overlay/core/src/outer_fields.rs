//! What the outer IP header of an encapsulated frame says.
//!
//! # Theory of operation
//!
//! The words are those of iproute2's VXLAN devices: `tos`, `ttl` and `df` are a value of the network's own, or that of the
//! packet inside. A frame without IP has nothing to inherit from. Whatever `tos` says, the two bits of ECN are those of the
//! packet inside ([`crate::ecn`]).

use switch_core::{Frame, ethertype};

use crate::ecn;

/// How a network fills in the outer headers of its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OuterPolicy {
    pub tos: Tos,
    pub ttl: Ttl,
    pub df: Df,
}

/// The differentiated services field (RFC 2474).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tos {
    /// The whole byte, of which the low two bits do not count.
    Fixed(u8),
    Inherit,
}

impl Default for Tos {
    fn default() -> Self {
        Self::Fixed(0)
    }
}

/// Time to live, or hop limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// What the host gives to all that it sends.
    #[default]
    Host,
    Fixed(u8),
    Inherit,
}

/// Don't fragment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Df {
    #[default]
    Set,
    Unset,
    Inherit,
}

/// What one datagram's outer header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterFields {
    /// With ECN.
    pub tos: u8,
    /// The host's where absent.
    pub ttl: Option<u8>,
    pub df: bool,
}

impl Default for OuterFields {
    fn default() -> Self {
        Self {
            tos: 0,
            ttl: None,
            df: true,
        }
    }
}

impl OuterFields {
    /// Whether there is nothing to say but ECN.
    pub const fn are_plain(&self) -> bool {
        self.tos & !ECN_MASK == 0 && self.ttl.is_none() && self.df
    }
}

impl OuterPolicy {
    /// The header for a frame.
    pub fn fields(&self, frame: &Frame<'_>) -> OuterFields {
        let ecn = ecn::encapsulate(frame).bits();
        // Which is nearly every network.
        if *self == Self::default() {
            return OuterFields {
                tos: ecn,
                ..OuterFields::default()
            };
        }
        let inner = Inner::of(frame);
        let tos = match self.tos {
            Tos::Fixed(tos) => tos,
            Tos::Inherit => inner.map_or(0, |inner| inner.tos),
        };
        OuterFields {
            tos: tos & !ECN_MASK | ecn,
            ttl: match self.ttl {
                Ttl::Host => None,
                Ttl::Fixed(ttl) => Some(ttl),
                Ttl::Inherit => inner.map(|inner| inner.ttl.max(1)),
            },
            df: match self.df {
                Df::Set => true,
                Df::Unset => false,
                Df::Inherit => inner.is_some_and(|inner| inner.df),
            },
        }
    }
}

/// What can be inherited.
#[derive(Clone, Copy)]
struct Inner {
    tos: u8,
    ttl: u8,
    df: bool,
}

impl Inner {
    fn of(frame: &Frame<'_>) -> Option<Self> {
        let packet = frame.packet();
        match (frame.ethertype(), packet.first()? >> 4) {
            (ethertype::IPV4, 4) => packet.first_chunk::<20>().map(|header| Self {
                tos: header[1],
                ttl: header[8],
                df: header[6] & 0x40 != 0,
            }),
            // Routers never fragment IPv6.
            (ethertype::IPV6, 6) => packet.first_chunk::<40>().map(|header| Self {
                tos: header[0] << 4 | header[1] >> 4,
                ttl: header[7],
                df: true,
            }),
            _ => None,
        }
    }
}

const ECN_MASK: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Header;

    const INHERIT: OuterPolicy = OuterPolicy {
        tos: Tos::Inherit,
        ttl: Ttl::Inherit,
        df: Df::Inherit,
    };

    fn fields(policy: OuterPolicy, bytes: &[u8]) -> OuterFields {
        policy.fields(&Frame::parse(bytes).unwrap())
    }

    /// DSCP 46 with ECT(0), TTL 9.
    fn marked(ipv6: bool, vlan: bool) -> Vec<u8> {
        let header = Header {
            ipv6,
            vlan,
            ..Header::default()
        };
        let mut bytes = header.frame(b"x");
        let at = header.ip_at();
        match ipv6 {
            true => {
                bytes[at] = 0x6b;
                bytes[at + 1] = 0xa0;
                bytes[at + 7] = 9;
            }
            false => {
                bytes[at + 1] = 0xba;
                bytes[at + 6] = 0;
                bytes[at + 8] = 9;
            }
        }
        bytes
    }

    #[test]
    fn what_is_inherited_is_the_inner_packets() {
        for (ipv6, vlan) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut bytes = marked(ipv6, vlan);
            let found = fields(INHERIT, &bytes);
            assert_eq!((found.tos, found.ttl, found.df), (0xba, Some(9), ipv6));
            let at = if vlan { 18 } else { 14 };
            if !ipv6 {
                bytes[at + 6] = 0x40;
                bytes[at + 8] = 0;
                let found = fields(INHERIT, &bytes);
                assert!(found.df && found.ttl == Some(1));
            }
        }
    }

    #[test]
    fn ecn_is_the_inner_packets_whatever_is_asked_for() {
        let bytes = marked(false, false);
        let plain = fields(OuterPolicy::default(), &bytes);
        assert!(plain.are_plain() && plain.tos == 2);
        let policy = OuterPolicy {
            tos: Tos::Fixed(0x2b),
            ttl: Ttl::Fixed(3),
            df: Df::Unset,
        };
        let found = fields(policy, &bytes);
        assert_eq!((found.tos, found.ttl, found.df), (0x2a, Some(3), false));
        assert!(!found.are_plain());
    }

    #[test]
    fn without_ip_there_is_nothing_to_inherit() {
        let mut arp = [2; 60];
        arp[12..14].copy_from_slice(&[8, 6]);
        let found = fields(INHERIT, &arp);
        assert_eq!((found.tos, found.ttl, found.df), (0, None, false));
    }
}
