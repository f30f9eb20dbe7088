//! What a network's options say of its VXLAN datagrams, in the words of iproute2.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::error::CreateNetwork;
use super::option_list::{OPTION_DF, OPTION_DSTPORT, OPTION_LOCAL, OPTION_TOS, OPTION_TTL};
use crate::record::NetworkRecord;

/// How a network's datagrams look from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VxlanOptions {
    /// Where every host of the network receives.
    pub dstport: u16,
    /// Where this host sends from and receives; its address towards the remote where absent.
    pub local: Option<IpAddr>,
    pub tos: Asked<u8>,
    pub ttl: Asked<u8>,
    /// Don't fragment.
    pub df: Asked<bool>,
}

/// A field of the outer header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked<T> {
    #[default]
    Default,
    Fixed(T),
    /// As the packet inside has it.
    Inherit,
}

impl Default for VxlanOptions {
    fn default() -> Self {
        Self {
            dstport: VXLAN_UDP_PORT,
            local: None,
            tos: Asked::Default,
            ttl: Asked::Default,
            df: Asked::Default,
        }
    }
}

impl VxlanOptions {
    pub(super) fn read(options: &BTreeMap<String, String>) -> Result<Self, CreateNetwork> {
        let mut read = Self::default();
        for (name, value) in options {
            let wrong = |expected| CreateNetwork::OptionValue {
                name: name.clone(),
                value: value.clone(),
                expected,
            };
            match name.as_str() {
                OPTION_DSTPORT => {
                    let port = number(value).and_then(|port| u16::try_from(port).ok());
                    let port = port.filter(|port| *port > 0);
                    read.dstport = port.ok_or_else(|| wrong("a UDP port from 1 to 65535"))?;
                }
                OPTION_LOCAL => {
                    let local = value.parse().ok().filter(is_a_hosts);
                    read.local = Some(local.ok_or_else(|| wrong("an address of this host"))?);
                }
                OPTION_TOS => {
                    let tos = asked(value, 0..=255);
                    read.tos = tos.ok_or_else(|| wrong("inherit, or a number from 0 to 255"))?;
                }
                OPTION_TTL => {
                    let ttl = asked(value, 1..=255);
                    read.ttl = ttl.ok_or_else(|| wrong("inherit, or a number from 1 to 255"))?;
                }
                OPTION_DF => {
                    read.df = match value.as_str() {
                        "set" => Asked::Fixed(true),
                        "unset" => Asked::Fixed(false),
                        "inherit" => Asked::Inherit,
                        _ => return Err(wrong("set, unset or inherit")),
                    }
                }
                _ => {}
            }
        }
        Ok(read)
    }

    /// Whether a packet that the underlay does not carry may cross all the same.
    pub fn may_fragment(&self) -> bool {
        matches!(self.df, Asked::Fixed(false) | Asked::Inherit)
    }

    /// The option that only VXLAN has, if one was given.
    pub(super) fn given(options: &BTreeMap<String, String>) -> Option<&'static str> {
        let names = [
            OPTION_DSTPORT,
            OPTION_LOCAL,
            OPTION_TOS,
            OPTION_TTL,
            OPTION_DF,
        ];
        names.into_iter().find(|name| options.contains_key(*name))
    }
}

impl NetworkRecord {
    /// How its VXLAN datagrams look from outside. What is not understood is as if it were not there.
    pub fn vxlan_options(&self) -> VxlanOptions {
        VxlanOptions::read(&self.options).unwrap_or_default()
    }
}

fn asked(value: &str, range: std::ops::RangeInclusive<u32>) -> Option<Asked<u8>> {
    if value == "inherit" {
        return Some(Asked::Inherit);
    }
    let number = number(value).filter(|number| range.contains(number))?;
    u8::try_from(number).ok().map(Asked::Fixed)
}

/// Decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    let are_digits = digits.chars().all(|digit| digit.is_digit(radix));
    u32::from_str_radix(digits, radix)
        .ok()
        .filter(|_| are_digits)
}

fn is_a_hosts(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

/// Assigned to VXLAN by IANA; Linux' devices have 8472 unless told otherwise.
const VXLAN_UDP_PORT: u16 = 4789;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<VxlanOptions, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let options = options.iter().map(owned).collect();
        VxlanOptions::read(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_is_understood() {
        assert_eq!(read(&[("vni", "7")]).unwrap(), VxlanOptions::default());
        let options = [
            ("dstport", "8472"),
            ("local", "192.0.2.1"),
            ("tos", "0xb8"),
            ("ttl", "inherit"),
            ("df", "unset"),
        ];
        let read = read(&options).unwrap();
        assert_eq!(read.dstport, 8472);
        assert_eq!(read.local, Some("192.0.2.1".parse().unwrap()));
        assert_eq!((read.tos, read.ttl), (Asked::Fixed(0xb8), Asked::Inherit));
        assert!(read.df == Asked::Fixed(false) && read.may_fragment());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, value) in [
            ("dstport", "0"),
            ("dstport", "65536"),
            ("dstport", "+1"),
            ("dstport", "0x"),
            ("local", "0.0.0.0"),
            ("local", "host"),
            ("tos", "256"),
            ("tos", "-1"),
            ("ttl", "0"),
            ("ttl", "auto"),
            ("df", "yes"),
        ] {
            let refused = read(&[(name, value)]).unwrap_err();
            assert!(refused.contains(&format!("{name}={value}")), "{refused}");
        }
    }
}
