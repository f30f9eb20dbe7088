//! Which frames somebody wants to hear of.
//!
//! # Theory of operation
//!
//! A few words of tcpdump's, all of which must hold: `host A`, `mac M`, `port N`, `arp`, `ip`, `ip6`, `icmp`, `tcp`, `udp`,
//! each with `not` before it if wanted, `and` between them or nothing. Whoever carries frames asks it of each while somebody
//! listens, so it looks at a [`Summary`] and allocates nothing.

use std::net::IpAddr;
use std::str::FromStr;

use super::Summary;
use crate::Mac;
use crate::frame::ethertype;
use crate::packet::protocol;

/// A condition on frames; the default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<Term>);

/// Why words are no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseFilter {
    #[error(
        "{0:?} is no word of a filter; use host A, mac M, port N, arp, ip, ip6, icmp, tcp or udp, with not and and"
    )]
    Unknown(String),
    #[error("{word:?} needs {wants} behind it, as in {word} {example}")]
    Incomplete {
        word: &'static str,
        wants: &'static str,
        example: &'static str,
    },
    #[error("a filter has {0} words at most")]
    Long(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    negated: bool,
    test: Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Host(IpAddr),
    Mac(Mac),
    Port(u16),
    EtherType(u16),
    /// By its number over IPv4 and over IPv6.
    Protocol([u8; 2]),
}

impl Filter {
    pub fn matches(&self, frame: &Summary) -> bool {
        self.0
            .iter()
            .all(|term| term.test.holds(frame) != term.negated)
    }
}

impl Test {
    fn holds(self, frame: &Summary) -> bool {
        let is_one = |pair: Option<(IpAddr, IpAddr)>, host| {
            pair.is_some_and(|(one, other)| one == host || other == host)
        };
        match self {
            Self::Host(host) => is_one(frame.addresses, host),
            Self::Mac(mac) => frame.src == mac || frame.dst == mac,
            Self::Port(port) => frame
                .ports
                .is_some_and(|(one, other)| one == port || other == port),
            Self::EtherType(ethertype) => frame.ethertype == ethertype,
            Self::Protocol(numbers) => frame
                .protocol
                .is_some_and(|number| numbers.contains(&number)),
        }
    }
}

impl FromStr for Filter {
    type Err = ParseFilter;

    fn from_str(text: &str) -> Result<Self, ParseFilter> {
        let mut words = text.split_whitespace();
        let mut terms = Vec::new();
        let mut negated = false;
        while let Some(word) = words.next() {
            let test = match word {
                "and" | "&&" => continue,
                "not" | "!" => {
                    negated = !negated;
                    continue;
                }
                _ => test(word, &mut words)?,
            };
            terms.push(Term { negated, test });
            negated = false;
            if terms.len() > TERMS_MAX {
                return Err(ParseFilter::Long(TERMS_MAX));
            }
        }
        match negated {
            true => Err(ParseFilter::Incomplete {
                word: "not",
                wants: "a condition",
                example: "arp",
            }),
            false => Ok(Self(terms)),
        }
    }
}

fn test<'a>(word: &str, rest: &mut impl Iterator<Item = &'a str>) -> Result<Test, ParseFilter> {
    Ok(match word {
        "host" => Test::Host(value(rest, "host", "an address", "172.17.0.2")?),
        "mac" => Test::Mac(value(rest, "mac", "a MAC", "02:42:ac:11:00:02")?),
        "port" => Test::Port(value(rest, "port", "a number", "53")?),
        "arp" => Test::EtherType(ethertype::ARP),
        "ip" => Test::EtherType(ethertype::IPV4),
        "ip6" => Test::EtherType(ethertype::IPV6),
        "icmp" => Test::Protocol([protocol::ICMP, protocol::ICMPV6]),
        "tcp" => Test::Protocol([protocol::TCP; 2]),
        "udp" => Test::Protocol([protocol::UDP; 2]),
        _ => return Err(ParseFilter::Unknown(word.chars().take(SHOWN_MAX).collect())),
    })
}

fn value<'a, T: FromStr>(
    rest: &mut impl Iterator<Item = &'a str>,
    word: &'static str,
    wants: &'static str,
    example: &'static str,
) -> Result<T, ParseFilter> {
    let value = rest.next().and_then(|value| value.parse().ok());
    value.ok_or(ParseFilter::Incomplete {
        word,
        wants,
        example,
    })
}

const TERMS_MAX: usize = 16;
const SHOWN_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Frame;
    use crate::trace::{Payload, Sample};

    fn matches(filter: &str, payload: Payload) -> bool {
        let sample = Sample {
            src: Mac::new([2, 0, 0, 0, 0, 2]),
            dst: Mac::new([2, 0, 0, 0, 0, 3]),
            source: Some([172, 17, 0, 2].into()),
            destination: Some([172, 17, 0, 3].into()),
            payload,
        };
        let bytes = sample.to_bytes();
        let filter: Filter = filter.parse().unwrap();
        filter.matches(&Summary::of(&Frame::parse(&bytes).unwrap()))
    }

    #[test]
    fn all_words_must_hold() {
        for (filter, udp, arp) in [
            ("", true, true),
            ("host 172.17.0.3", true, true),
            ("host 172.17.0.4", false, false),
            ("mac 02:00:00:00:00:02", true, true),
            ("arp", false, true),
            ("not arp", true, false),
            ("udp and port 53", true, false),
            ("udp port 54", false, false),
            ("not port 54", true, true),
            ("tcp", false, false),
            ("ip not host 172.17.0.9", true, false),
            ("ip6", false, false),
        ] {
            assert_eq!(matches(filter, Payload::Udp(53)), udp, "{filter}");
            assert_eq!(matches(filter, Payload::WhoHas), arp, "{filter}");
        }
        assert!(matches("icmp", Payload::Echo));
    }

    #[test]
    fn what_is_no_filter_is_told_in_one_line() {
        let error = |text: &str| text.parse::<Filter>().unwrap_err().to_string();
        assert_eq!(
            error("host web"),
            "\"host\" needs an address behind it, as in host 172.17.0.2"
        );
        assert!(error("port").contains("needs a number"));
        assert!(error("vlan 3").starts_with("\"vlan\" is no word of a filter"));
        assert!(error("tcp not").contains("needs a condition"));
        assert!(error(&"arp ".repeat(99)).contains("16 words"));
    }
}
