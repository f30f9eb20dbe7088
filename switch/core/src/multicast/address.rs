//! Addresses of groups and of those who send to them.

use crate::Mac;
pub(crate) use crate::address::Address;

/// The two protocols by which hosts say what they listen to: IGMP and MLD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

/// Whom frames for a group are meant for, as far as its address says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everybody, whoever asked: what discovery and routing on the link need (RFC 4541 §2.1.2, §3). That solicited-node groups
    /// (RFC 4291 §2.7.1) are among them keeps neighbor discovery apart from what was heard.
    Everybody,
    /// The link's stations: those who asked, or everybody where nobody did.
    Link,
    /// Those who asked.
    Listeners,
}

impl Address {
    /// No source, or any.
    pub(crate) const ANY: Self = Self::from_bits(0);

    pub(crate) const fn family(self) -> Family {
        match self.is_v4() {
            true => Family::V4,
            false => Family::V6,
        }
    }

    /// `None`: it is no group's.
    #[inline]
    pub(crate) fn reach(self) -> Option<Reach> {
        let octets = self.bits().to_be_bytes();
        match octets {
            [.., 224, 0, 0, _] if self.family() == Family::V4 => Some(Reach::Everybody),
            [.., 224..=239, _, _, _] if self.family() == Family::V4 => Some(Reach::Listeners),
            [0xff, scope, rest @ ..] => Some(match scope & 0x0f {
                0 | 1 => Reach::Everybody,
                LINK_SCOPE if rest == ALL_NODES || rest.starts_with(&SOLICITED) => Reach::Everybody,
                LINK_SCOPE => Reach::Link,
                _ => Reach::Listeners,
            }),
            _ => None,
        }
    }

    /// The MAC of a group's frames (RFC 1112 §6.4, RFC 2464 §7).
    pub(crate) const fn group_mac(self) -> Mac {
        let [.., a, b, c, d] = self.bits().to_be_bytes();
        match self.family() {
            Family::V4 => Mac::new([1, 0, 0x5e, b & 0x7f, c, d]),
            Family::V6 => Mac::new([0x33, 0x33, a, b, c, d]),
        }
    }
}

impl Family {
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub const fn index(self) -> usize {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }
}

/// RFC 4291 §2.7.
const LINK_SCOPE: u8 = 2;
const ALL_NODES: [u8; 14] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const SOLICITED: [u8; 11] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff];

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn whom_a_group_is_meant_for_is_in_its_address() {
        for (text, reach) in [
            ("224.0.0.251", Some(Reach::Everybody)),
            ("224.0.1.1", Some(Reach::Listeners)),
            ("225.0.0.1", Some(Reach::Listeners)),
            ("239.255.255.250", Some(Reach::Listeners)),
            ("10.0.0.1", None),
            ("240.0.0.1", None),
            ("255.255.255.255", None),
            ("ff01::1", Some(Reach::Everybody)),
            ("ff02::1", Some(Reach::Everybody)),
            ("ff02::1:ff00:2", Some(Reach::Everybody)),
            ("ff02::2", Some(Reach::Link)),
            ("ff12::cc", Some(Reach::Link)),
            ("ff05::1", Some(Reach::Listeners)),
            ("ff3e::4321:1234", Some(Reach::Listeners)),
            ("fe80::1", None),
            ("::", None),
        ] {
            assert_eq!(address(text).reach(), reach, "{text}");
        }
    }

    #[test]
    fn an_address_is_the_same_on_the_wire_and_off() {
        for (text, mac) in [
            ("239.129.2.3", "01:00:5e:01:02:03"),
            ("ff05::1:2:3", "33:33:00:02:00:03"),
        ] {
            let address = address(text);
            assert_eq!(Address::on_wire(&address.to_wire()), Some(address));
            assert_eq!(address.ip().to_string(), text);
            assert_eq!(address.group_mac().to_string(), mac);
        }
        assert_eq!(Address::on_wire(&[1, 2, 3]), None);
    }
}
