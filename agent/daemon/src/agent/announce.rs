//! Announcements: who remembers another MAC for an endpoint's address learns the right one.
//!
//! # Theory of operation
//!
//! An address that is used again may come with another MAC. Caches of neighbours, the host's among them, hold the old one
//! for up to a minute, and send there. So a new endpoint announces itself from its own link, as its own kernel might: its
//! frames pass the guard and the tunnels like any others of its, and do not come back to it.
//!
//! They go to everybody, so they are sent only where somebody may remember another MAC: on networks with other hosts,
//! and where the agent does not know that the address had this MAC, or none, before.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use switch_core::{Mac, announcement};
use switch_io::packet::{PacketSocket, VNET_LENGTH};

use super::Agent;
use super::endpoint::addresses;
use super::state::Network;
use crate::netlink::Netns;
use crate::record::EndpointRecord;

/// Which MAC each address of a network had last.
#[derive(Debug)]
pub(super) struct Past {
    /// `None` where neighbours may know several.
    last: HashMap<IpAddr, Option<Mac>>,
    /// Whether an address that is not in there was nobody's.
    is_complete: bool,
}

impl Past {
    /// Of a network that is just being made.
    pub(super) fn none() -> Self {
        Self {
            last: HashMap::new(),
            is_complete: true,
        }
    }

    /// Of a network that was there before this process.
    pub(super) fn unknown() -> Self {
        Self {
            last: HashMap::new(),
            is_complete: false,
        }
    }

    fn may_be_another(&self, address: IpAddr, mac: Mac) -> bool {
        match self.last.get(&address) {
            Some(last) => *last != Some(mac),
            None => !self.is_complete,
        }
    }

    fn note(&mut self, address: IpAddr, mac: Option<Mac>) {
        if self.last.len() >= PAST_MAX && !self.last.contains_key(&address) {
            *self = Self::unknown();
        }
        self.last.insert(address, mac);
    }
}

impl Network {
    /// Notes what neighbours know of an endpoint that is about to go. One that spoke from another MAC than its own may be
    /// remembered by either.
    pub(super) fn remember(&mut self, record: &EndpointRecord) {
        let Some(segment) = &self.segment else { return };
        let own = Mac::new(record.mac);
        for address in addresses(record) {
            let known = segment.bridge.neighbors().lookup(address);
            let is_own = known.is_some_and(|neighbor| neighbor.mac == own);
            self.past.note(address, is_own.then_some(own));
        }
    }
}

impl Agent {
    /// Tells everybody on the network, here and on other hosts, of an endpoint that was just attached.
    pub(super) fn announce(&self, network: &mut Network, record: &EndpointRecord, netns: &Netns) {
        let mac = Mac::new(record.mac);
        let mut frames = Vec::new();
        for address in addresses(record) {
            if network.record.overlay.is_some() || network.past.may_be_another(address, mac) {
                frames.push(announcement(mac, address));
            }
            network.past.note(address, Some(mac));
        }
        let (Some(link), false) = (&record.link, frames.is_empty()) else {
            return;
        };
        let opened = netns.run(|| PacketSocket::open_sender(link));
        let socket = match opened {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return unannounced(record, &error),
            Err(error) => return unannounced(record, &error),
        };
        self.runtime.spawn(async move {
            for pause in PAUSES {
                tokio::time::sleep(pause).await;
                for frame in &frames {
                    if socket.send(&PLAIN, frame).is_err() {
                        // The link has gone again.
                        return;
                    }
                }
            }
        });
    }
}

fn unannounced(record: &EndpointRecord, error: &dyn std::fmt::Display) {
    tracing::warn!(endpoint = record.name, %error, "neighbours may not find an endpoint for a minute");
}

/// A second in all: other hosts take nothing of an endpoint before the news of it has reached them.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_millis(700),
];
const PLAIN: [u8; VNET_LENGTH] = [0; VNET_LENGTH];
/// Addresses whose past is known; beyond, all are announced again.
const PAST_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac::new([2, 0, 0, 0, 0, 2]);

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn only_another_mac_than_before_is_announced() {
        let mut past = Past::none();
        assert!(!past.may_be_another(address(1), ONE));
        past.note(address(1), Some(ONE));
        assert!(!past.may_be_another(address(1), ONE));
        assert!(past.may_be_another(address(1), OTHER));
        past.note(address(1), None);
        assert!(past.may_be_another(address(1), ONE));
    }

    #[test]
    fn nothing_is_known_of_networks_from_before_or_of_too_many_addresses() {
        assert!(Past::unknown().may_be_another(address(1), ONE));
        let mut past = Past::none();
        for number in 0..=u32::try_from(PAST_MAX).unwrap() {
            past.note(address(number), Some(ONE));
        }
        assert!(past.last.len() <= PAST_MAX);
        assert!(past.may_be_another(address(1), ONE));
    }
}
