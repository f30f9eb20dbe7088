//! How rules are written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::BadAclRule;
use super::party::AclParty;
use super::{AclAction, AclRule};

/// Ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl AclRule {
    /// Whether what it asks for may be of one frame.
    pub fn check(&self) -> Result<(), BadAclRule> {
        let has_ports = matches!(self.protocol, Some(TCP | UDP | SCTP));
        let needs = |what, proto, is_so: bool| match is_so {
            true => Ok(()),
            false => Err(BadAclRule::Protocol { what, proto }),
        };
        let ported = "proto tcp, udp or sctp";
        needs("sport", ported, has_ports || self.source_ports.is_none())?;
        needs("port", ported, has_ports || self.ports.is_none())?;
        let is_icmp = matches!(self.protocol, Some(ICMP | ICMPV6));
        let icmp = "proto icmp or icmp6";
        needs("icmp-type", icmp, is_icmp || self.icmp_type.is_none())?;
        let is_tcp = self.protocol == Some(TCP);
        needs("established", "proto tcp", is_tcp || !self.established)?;
        if self.both && self.established {
            return Err(BadAclRule::Established);
        }
        let net = |party: &AclParty| match party {
            AclParty::Net(net) => Some(net.addr().is_ipv4()),
            _ => None,
        };
        let (from, to) = (net(&self.from), net(&self.to));
        if from.zip(to).is_some_and(|(from, to)| from != to) {
            return Err(BadAclRule::Families);
        }
        match self.ethertype {
            Some(kind @ (IPV4 | IPV6)) => {
                let is_v4 = kind == IPV4;
                let clashes = |family: Option<bool>| family.is_some_and(|v4| v4 != is_v4);
                match clashes(from) || clashes(to) {
                    true => Err(BadAclRule::Families),
                    false => Ok(()),
                }
            }
            Some(kind) if self.protocol.is_some() || from.or(to).is_some() => {
                Err(BadAclRule::Ethertype(kind))
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for AclRule {
    type Err = BadAclRule;

    fn from_str(text: &str) -> Result<Self, BadAclRule> {
        let mut words = text.split_whitespace();
        let action = words.next().unwrap_or_default();
        let mut rule = Self {
            action: match action {
                "allow" => AclAction::Allow,
                "deny" => AclAction::Deny,
                _ => return Err(BadAclRule::Action(action.to_owned())),
            },
            ..Self::default()
        };
        while let Some(word) = words.next() {
            let name = WORDS.iter().find(|known| **known == word);
            let name = *name.ok_or_else(|| BadAclRule::Word(word.to_owned()))?;
            let mut value = || words.next().ok_or(BadAclRule::Value(name));
            match name {
                "from" => rule.from = once(name, &rule.from, value()?)?,
                "to" => rule.to = once(name, &rule.to, value()?)?,
                "proto" => put(name, &mut rule.protocol, protocol(value()?)?)?,
                "sport" => put(name, &mut rule.source_ports, ports(value()?)?)?,
                "port" => put(name, &mut rule.ports, ports(value()?)?)?,
                "icmp-type" => put(name, &mut rule.icmp_type, icmp_type(value()?)?)?,
                "ethertype" => put(name, &mut rule.ethertype, ethertype(value()?)?)?,
                "established" => rule.established = true,
                _ => rule.both = true,
            }
        }
        rule.check()?;
        Ok(rule)
    }
}

const WORDS: [&str; 9] = [
    "from",
    "to",
    "proto",
    "sport",
    "port",
    "icmp-type",
    "ethertype",
    "established",
    "both",
];

fn put<T>(name: &'static str, place: &mut Option<T>, value: T) -> Result<(), BadAclRule> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(BadAclRule::Twice(name)),
    }
}

fn once(name: &'static str, before: &AclParty, value: &str) -> Result<AclParty, BadAclRule> {
    match before.is_any() {
        true => value.parse(),
        false => Err(BadAclRule::Twice(name)),
    }
}

fn named(names: &[(&str, u16)], value: &str) -> Option<u16> {
    let known = names.iter().find(|(name, _)| *name == value);
    let number = known.map(|(_, number)| *number);
    number.or_else(|| match value.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    })
}

fn protocol(value: &str) -> Result<u8, BadAclRule> {
    let number = named(PROTOCOLS, value).and_then(|number| u8::try_from(number).ok());
    // 255 is reserved.
    let number = number.filter(|number| *number < u8::MAX);
    number.ok_or_else(|| BadAclRule::Number {
        word: "proto",
        value: value.to_owned(),
        expected: "tcp, udp, icmp, icmp6, sctp or a number below 255",
    })
}

fn ethertype(value: &str) -> Result<u16, BadAclRule> {
    let number = named(ETHERTYPES, value).filter(|number| *number >= ETHERTYPE_MIN);
    number.ok_or_else(|| BadAclRule::Number {
        word: "ethertype",
        value: value.to_owned(),
        expected: "ip, ip6, arp or a number from 0x600 on",
    })
}

fn icmp_type(value: &str) -> Result<u8, BadAclRule> {
    let number = named(ICMP_TYPES, value).and_then(|number| u8::try_from(number).ok());
    number.ok_or_else(|| BadAclRule::Number {
        word: "icmp-type",
        value: value.to_owned(),
        expected: "a number below 256",
    })
}

fn ports(value: &str) -> Result<PortRange, BadAclRule> {
    value.parse()
}

impl FromStr for PortRange {
    type Err = BadAclRule;

    fn from_str(text: &str) -> Result<Self, BadAclRule> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = first.parse().ok().zip(last.parse().ok());
        let range = range.map(|(first, last)| Self { first, last });
        let range = range.filter(|range| range.first <= range.last);
        range.ok_or_else(|| BadAclRule::Number {
            word: "port",
            value: text.to_owned(),
            expected: "a number, or two with a - between",
        })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl TryFrom<String> for PortRange {
    type Error = BadAclRule;

    fn try_from(text: String) -> Result<Self, BadAclRule> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for AclRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |names: &[(&'static str, u16)], number: u16| {
            let known = names.iter().find(|(_, known)| *known == number);
            known.map(|(name, _)| (*name).to_owned())
        };
        write!(f, "{}", self.action)?;
        if !self.from.is_any() {
            write!(f, " from {}", self.from)?;
        }
        if !self.to.is_any() {
            write!(f, " to {}", self.to)?;
        }
        if let Some(kind) = self.ethertype {
            let told = name(ETHERTYPES, kind).unwrap_or_else(|| format!("0x{kind:04x}"));
            write!(f, " ethertype {told}")?;
        }
        if let Some(number) = self.protocol {
            let told = name(PROTOCOLS, number.into()).unwrap_or_else(|| number.to_string());
            write!(f, " proto {told}")?;
        }
        if let Some(ports) = self.source_ports {
            write!(f, " sport {ports}")?;
        }
        if let Some(ports) = self.ports {
            write!(f, " port {ports}")?;
        }
        if let Some(kind) = self.icmp_type {
            write!(f, " icmp-type {kind}")?;
        }
        if self.established {
            f.write_str(" established")?;
        }
        if self.both {
            f.write_str(" both")?;
        }
        Ok(())
    }
}

const PROTOCOLS: &[(&str, u16)] = &[
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("sctp", 132),
];
const ETHERTYPES: &[(&str, u16)] = &[("ip", IPV4), ("ip6", IPV6), ("arp", 0x0806)];
const ICMP_TYPES: &[(&str, u16)] = &[("echo-request", 8), ("echo-reply", 0), ("unreachable", 3)];
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// What is less is a length (IEEE 802.3 §3.2.6).
const ETHERTYPE_MIN: u16 = 0x0600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_as_it_is_written() {
        for text in [
            "allow",
            "deny from label:tier=web to name:db proto tcp port 5432",
            "allow from 10.0.0.0/8 to 10.1.2.3 proto udp sport 53 port 1024-65535",
            "deny from label:tier!=web,env,!old ethertype ip6",
            "deny to gateway ethertype arp",
            "allow from mac:02:42:ac:11:00:02 ethertype 0x88b5",
            "allow from name:db proto tcp sport 5432 established",
            "allow to fd00::/64 proto icmp6 icmp-type 128 both",
            "deny proto 89",
        ] {
            let rule: AclRule = text.parse().unwrap();
            assert_eq!(rule.to_string(), text);
            let json = serde_json::to_string(&rule).unwrap();
            assert_eq!(serde_json::from_str::<AclRule>(&json).unwrap(), rule);
        }
        let json = serde_json::to_string(
            &"deny from name:web proto tcp port 1"
                .parse::<AclRule>()
                .unwrap(),
        );
        assert_eq!(
            json.unwrap(),
            r#"{"action":"deny","from":"name:web","protocol":6,"ports":"1"}"#
        );
    }

    #[test]
    fn what_is_no_rule_is_told() {
        for (text, told) in [
            ("", "begins with allow or deny"),
            ("pass from any", "not with \"pass\""),
            ("deny from web", "name:NAME"),
            ("deny from label:=x", "label:KEY=VALUE"),
            ("deny frm any", "is no word of a rule"),
            ("deny from", "from needs a value"),
            ("deny from name:a from name:b", "from comes twice"),
            ("deny port 80", "needs proto tcp, udp or sctp"),
            ("deny proto icmp port 80", "needs proto tcp"),
            ("deny proto tcp port 90-80", "two with a - between"),
            ("deny proto udp established", "needs proto tcp"),
            ("deny proto tcp established both", "contradict"),
            ("deny from 10.0.0.1 to fd00::1", "two families"),
            ("deny ethertype ip from fd00::1", "two families"),
            ("deny ethertype arp proto tcp", "has no IP protocol"),
            ("deny proto 255", "below 255"),
            ("deny ethertype 5", "0x600"),
        ] {
            let refused = text.parse::<AclRule>().unwrap_err().to_string();
            assert!(refused.contains(told), "{text}: {refused}");
        }
    }

    #[test]
    fn the_other_direction_has_its_ends_and_ports_swapped() {
        let rule: AclRule = "allow from name:a to name:b proto tcp sport 1 port 2"
            .parse()
            .unwrap();
        let swapped = "allow from name:b to name:a proto tcp sport 2 port 1";
        assert_eq!(rule.reversed().to_string(), swapped);
    }

    #[test]
    fn labels_are_selected_as_pods_are() {
        let labels = [("tier".to_owned(), "web".to_owned())].into();
        for (text, selects) in [
            ("label:tier=web", true),
            ("label:tier=db", false),
            ("label:tier!=db", true),
            ("label:env!=test", true),
            ("label:tier", true),
            ("label:!tier", false),
            ("label:tier=web,!env", true),
            ("label:tier=web,env", false),
        ] {
            let AclParty::Label(selector) = text.parse().unwrap() else {
                panic!("{text} is no label");
            };
            assert_eq!(selector.selects(&labels), selects, "{text}");
        }
    }
}
