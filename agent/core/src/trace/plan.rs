//! The frame that a station would send to whom somebody names.

use std::net::{IpAddr, Ipv4Addr};

use agent_api::{ApiError, ErrorKind, TracePayload};
use ipnet::IpNet;
use switch_core::{Mac, Payload, Sample};

/// Who sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub name: String,
    pub mac: Mac,
    pub addresses: Vec<IpAddr>,
}

/// To whom, once a name is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Mac(Mac),
    /// Those of a name, in the order in which they are tried.
    Addresses(Vec<IpAddr>),
}

/// What is known of the network.
pub struct Surroundings<'a> {
    pub gateway_mac: Mac,
    pub subnets: Vec<IpNet>,
    /// The MAC of an address that is registered.
    pub mac_of: &'a dyn Fn(IpAddr) -> Option<Mac>,
    /// The addresses of a MAC that is registered.
    pub addresses_of: &'a dyn Fn(Mac) -> Vec<IpAddr>,
}

/// A frame, and what is to be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub sample: Sample,
    /// Nobody is registered with this address: a station asks for it first, and that is the frame.
    pub asks_first: Option<IpAddr>,
}

/// Why there is no such frame.
#[derive(Debug, thiserror::Error)]
pub enum TracePlan {
    #[error(
        "{sender:?} has no {family} address to send from; name another target, or the frame itself with --frame"
    )]
    NoSource {
        sender: String,
        family: &'static str,
    },
    #[error(
        "no address of {0} is known here; give the address as the target, or leave the port away"
    )]
    NoAddress(Mac),
    #[error("no MAC is known that frames from {0:?} have; give the frame itself with --frame")]
    NoSender(String),
}

impl From<TracePlan> for ApiError {
    fn from(error: TracePlan) -> Self {
        Self::new(ErrorKind::Invalid, error.to_string())
    }
}

/// The frame that goes from `sender` to `target`.
pub fn plan(
    sender: &Sender,
    target: &Target,
    payload: Option<TracePayload>,
    around: &Surroundings<'_>,
) -> Result<Planned, TracePlan> {
    let wanted = match target {
        Target::Mac(mac) => (around.addresses_of)(*mac),
        Target::Addresses(addresses) => addresses.clone(),
    };
    let ends = wanted.iter().find_map(|destination| {
        let mut own = sender.addresses.iter();
        let source = own.find(|own| own.is_ipv4() == destination.is_ipv4())?;
        Some((*source, *destination))
    });
    let payload = match payload {
        None | Some(TracePayload::Icmp) => Payload::Echo,
        Some(TracePayload::Arp) => Payload::WhoHas,
        Some(TracePayload::Udp(port)) => Payload::Udp(port),
        Some(TracePayload::Tcp(port)) => Payload::Tcp(port),
    };
    let frame = |dst, payload| Sample {
        src: sender.mac,
        dst,
        source: ends.map(|(source, _)| source),
        destination: ends.map(|(_, destination)| destination),
        payload,
    };
    let sample = match (target, ends) {
        (Target::Mac(mac), None) if payload != Payload::Echo => {
            return Err(TracePlan::NoAddress(*mac));
        }
        (Target::Mac(mac), _) => frame(*mac, payload),
        (Target::Addresses(addresses), None) => {
            return Err(TracePlan::NoSource {
                sender: sender.name.clone(),
                family: match addresses.first() {
                    Some(IpAddr::V6(_)) => "IPv6",
                    _ => "IPv4",
                },
            });
        }
        (Target::Addresses(_), Some((_, destination))) => {
            let Some(dst) = next_hop(destination, around) else {
                return Ok(Planned {
                    sample: frame(Mac::BROADCAST, Payload::WhoHas),
                    asks_first: (payload != Payload::WhoHas).then_some(destination),
                });
            };
            frame(dst, payload)
        }
    };
    Ok(Planned {
        sample,
        asks_first: None,
    })
}

/// Whose MAC a frame for the address has; `None` where a station has to ask.
fn next_hop(destination: IpAddr, around: &Surroundings<'_>) -> Option<Mac> {
    if let Some(group) = group_mac(destination, &around.subnets) {
        return Some(group);
    }
    let known = (around.mac_of)(destination);
    let is_near = around.subnets.iter().any(|net| net.contains(&destination));
    match known {
        Some(mac) => Some(mac),
        None if is_near => None,
        None => Some(around.gateway_mac),
    }
}

/// RFC 1112 §6.4, RFC 2464 §7.
fn group_mac(address: IpAddr, subnets: &[IpNet]) -> Option<Mac> {
    match address {
        IpAddr::V4(address) if address.is_multicast() => {
            let [_, b, c, d] = address.octets();
            Some(Mac::new([1, 0, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(address) if address.is_multicast() => {
            let [.., a, b, c, d] = address.octets();
            Some(Mac::new([0x33, 0x33, a, b, c, d]))
        }
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(Mac::BROADCAST),
        IpAddr::V4(_) => {
            let mut nets = subnets.iter();
            let is_all = nets.any(|net| net.prefix_len() < 31 && net.broadcast() == address);
            is_all.then_some(Mac::BROADCAST)
        }
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: Mac = Mac::new([2, 0x42, 172, 17, 0, 2]);
    const DB: Mac = Mac::new([2, 0x42, 172, 17, 0, 3]);
    const GATEWAY: Mac = Mac::new([2, 0x42, 172, 17, 0, 1]);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn planned(to: &str, payload: Option<TracePayload>) -> Result<Planned, TracePlan> {
        let sender = Sender {
            name: "web".into(),
            mac: WEB,
            addresses: vec![address("172.17.0.2")],
        };
        let target = match to.parse() {
            Ok(mac) => Target::Mac(mac),
            Err(_) => Target::Addresses(vec![address(to)]),
        };
        let around = Surroundings {
            gateway_mac: GATEWAY,
            subnets: vec!["172.17.0.0/16".parse().unwrap()],
            mac_of: &|known| (known == address("172.17.0.3")).then_some(DB),
            addresses_of: &|mac| match mac == DB {
                true => vec![address("172.17.0.3")],
                false => Vec::new(),
            },
        };
        plan(&sender, &target, payload, &around)
    }

    #[test]
    fn a_frame_goes_to_whom_a_station_would_send_it() {
        for (to, mac) in [
            ("172.17.0.3", DB),
            ("02:42:ac:11:00:03", DB),
            ("192.0.2.1", GATEWAY),
            ("172.17.255.255", Mac::BROADCAST),
            ("255.255.255.255", Mac::BROADCAST),
            ("224.0.0.251", Mac::new([1, 0, 0x5e, 0, 0, 0xfb])),
        ] {
            let planned = planned(to, None).unwrap();
            assert_eq!(
                (planned.sample.dst, planned.asks_first),
                (mac, None),
                "{to}"
            );
            assert_eq!(planned.sample.source, Some(address("172.17.0.2")));
        }
    }

    #[test]
    fn for_an_address_that_nobody_has_a_station_asks_first() {
        let planned = planned("172.17.0.99", Some(TracePayload::Tcp(80))).unwrap();
        assert_eq!(planned.asks_first, Some(address("172.17.0.99")));
        assert_eq!(planned.sample.payload, Payload::WhoHas);
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let said = |to, payload| planned(to, payload).unwrap_err().to_string();
        assert!(said("fd00::1", None).contains("\"web\" has no IPv6 address"));
        let unknown = said("02:00:00:00:00:09", Some(TracePayload::Udp(53)));
        assert!(
            unknown.contains("no address of 02:00:00:00:00:09"),
            "{unknown}"
        );
        let bare = planned("02:00:00:00:00:09", None).unwrap();
        assert_eq!(bare.sample.destination, None);
    }
}
