//! What a network's options and its gateway come to.

use std::net::IpAddr;
use std::time::Duration;

use switch_core::{Joining, Mac};

use super::plan::{OPTION_AGEING, OPTION_JOIN, OPTION_TAP, OPTION_TRANSPARENT, parse_ageing};
use crate::record::NetworkRecord;

impl NetworkRecord {
    /// Whether it forwards the frames that bridges keep to themselves (IEEE 802.1D, 7.12.6).
    pub fn is_transparent(&self) -> bool {
        self.options
            .get(OPTION_TRANSPARENT)
            .is_some_and(|value| value == "true")
    }

    /// The network's TAP driver.
    pub fn tap_driver(&self) -> &str {
        self.options
            .get(OPTION_TAP)
            .map_or(DRIVER_OFFLOAD, String::as_str)
    }

    /// What may be joined on the way to a TAP.
    pub fn joining(&self) -> Joining {
        match self.options.get(OPTION_JOIN).map(String::as_str) {
            Some("udp") => Joining::TcpAndUdp,
            _ => Joining::Tcp,
        }
    }

    /// How long an address stays learned that does not send.
    pub fn fdb_ageing(&self) -> Option<Duration> {
        parse_ageing(self.options.get(OPTION_AGEING)?)
    }

    /// At most one of each family, the IPv4 one first.
    pub fn gateway_addresses(&self) -> Vec<IpAddr> {
        self.subnets.iter().map(|subnet| subnet.gateway).collect()
    }

    /// `02:42` and the IPv4 gateway's bytes, or those of the IPv6 gateway folded into four: the same on every host.
    pub fn gateway_mac(&self) -> Mac {
        let gateway = self.subnet_v4().or(self.subnet_v6());
        match gateway.map(|subnet| subnet.gateway) {
            Some(IpAddr::V4(address)) => Mac::from_ipv4(address),
            Some(IpAddr::V6(address)) => {
                let octets = address.octets();
                let (words, _) = octets.as_chunks::<4>();
                let folded = words.iter().map(|word| u32::from_be_bytes(*word));
                Mac::from_ipv4(folded.fold(0, |sum, word| sum ^ word).into())
            }
            None => Mac::new([0x02, 0x42, 0, 0, 0, 1]),
        }
    }
}

pub const DRIVER_OFFLOAD: &str = "offload";
