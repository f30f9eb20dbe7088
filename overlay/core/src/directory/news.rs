//! What this host's bridges have not been told yet.

use std::collections::{BTreeMap, BTreeSet};

use switch_core::Mac;

use super::claims::Claims;
use super::config::{DirectoryEvent, Endpoint};
use super::touched::Touched;
use crate::{HostId, NetworkId};

/// What was told, and what may differ from it.
#[derive(Debug, Default)]
pub(super) struct News {
    endpoints: BTreeMap<(NetworkId, Mac), Endpoint>,
    flood: BTreeSet<(NetworkId, HostId)>,
    pub(super) touched: Touched,
}

impl News {
    pub(super) fn attach(&mut self, network: NetworkId, claims: &Claims) {
        if !self.touched.attach(network) {
            return;
        }
        for mac in claims.macs(network) {
            self.touched.mac(network, mac);
        }
        for host in claims.members(network) {
            self.touched.host(network, host);
        }
    }

    pub(super) fn detach(&mut self, network: NetworkId) {
        self.touched.detach(network);
        self.endpoints.retain(|(other, _), _| *other != network);
        self.flood.retain(|(other, _)| *other != network);
    }

    /// Hosts before endpoints: a bridge needs the tunnel first.
    pub(super) fn next(&mut self, claims: &Claims, local: &HostId) -> Option<DirectoryEvent> {
        while let Some((network, host)) = self.touched.next_host() {
            if host != *local
                && let Some(event) = self.tell_host(network, host, claims)
            {
                return Some(event);
            }
        }
        while let Some((network, mac)) = self.touched.next_mac() {
            if let Some(event) = self.tell_mac(network, mac, claims) {
                return Some(event);
            }
        }
        None
    }

    fn tell_host(
        &mut self,
        network: NetworkId,
        host: HostId,
        claims: &Claims,
    ) -> Option<DirectoryEvent> {
        let key = (network, host.clone());
        if claims.is_member(network, &host) {
            let is_new = self.flood.insert(key);
            is_new.then_some(DirectoryEvent::FloodJoin { network, host })
        } else {
            let was_told = self.flood.remove(&key);
            was_told.then_some(DirectoryEvent::FloodLeave { network, host })
        }
    }

    fn tell_mac(
        &mut self,
        network: NetworkId,
        mac: Mac,
        claims: &Claims,
    ) -> Option<DirectoryEvent> {
        let Some(endpoint) = endpoint(network, mac, claims) else {
            let told = self.endpoints.remove(&(network, mac));
            return told.map(|_| DirectoryEvent::EndpointGone { network, mac });
        };
        if self.endpoints.get(&(network, mac)) == Some(&endpoint) {
            return None;
        }
        self.endpoints.insert((network, mac), endpoint.clone());
        Some(DirectoryEvent::Endpoint {
            network,
            mac,
            endpoint,
        })
    }
}

fn endpoint(network: NetworkId, mac: Mac, claims: &Claims) -> Option<Endpoint> {
    let best = claims.best(network, mac)?;
    let is_its = |address: &&std::net::IpAddr| {
        let owner = claims.owner(network, **address);
        owner.is_some_and(|owner| owner.mac == mac)
    };
    Some(Endpoint {
        host: best.host.clone(),
        addresses: best.addresses.iter().filter(is_its).copied().collect(),
        flags: best.flags,
    })
}
