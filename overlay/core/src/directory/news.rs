//! What this host's bridges have not been told yet.

use std::collections::{BTreeMap, BTreeSet};

use switch_core::{Mac, Vni};

use super::claims::Claims;
use super::config::{DirectoryEvent, Endpoint};
use super::touched::Touched;
use crate::HostId;

/// What was told, and what may differ from it.
#[derive(Debug, Default)]
pub(super) struct News {
    endpoints: BTreeMap<(Vni, Mac), Endpoint>,
    flood: BTreeSet<(Vni, HostId)>,
    pub(super) touched: Touched,
}

impl News {
    pub(super) fn attach(&mut self, vni: Vni, claims: &Claims) {
        if !self.touched.attach(vni) {
            return;
        }
        for mac in claims.macs(vni) {
            self.touched.mac(vni, mac);
        }
        for host in claims.members(vni) {
            self.touched.host(vni, host);
        }
    }

    pub(super) fn detach(&mut self, vni: Vni) {
        self.touched.detach(vni);
        self.endpoints.retain(|(other, _), _| *other != vni);
        self.flood.retain(|(other, _)| *other != vni);
    }

    /// Hosts before endpoints: a bridge needs the tunnel first.
    pub(super) fn next(&mut self, claims: &Claims, local: &HostId) -> Option<DirectoryEvent> {
        while let Some((vni, host)) = self.touched.next_host() {
            if host != *local
                && let Some(event) = self.tell_host(vni, host, claims)
            {
                return Some(event);
            }
        }
        while let Some((vni, mac)) = self.touched.next_mac() {
            if let Some(event) = self.tell_mac(vni, mac, claims) {
                return Some(event);
            }
        }
        None
    }

    fn tell_host(&mut self, vni: Vni, host: HostId, claims: &Claims) -> Option<DirectoryEvent> {
        let key = (vni, host.clone());
        if claims.is_member(vni, &host) {
            let is_new = self.flood.insert(key);
            is_new.then_some(DirectoryEvent::FloodJoin { vni, host })
        } else {
            let was_told = self.flood.remove(&key);
            was_told.then_some(DirectoryEvent::FloodLeave { vni, host })
        }
    }

    fn tell_mac(&mut self, vni: Vni, mac: Mac, claims: &Claims) -> Option<DirectoryEvent> {
        let Some(endpoint) = endpoint(vni, mac, claims) else {
            let told = self.endpoints.remove(&(vni, mac));
            return told.map(|_| DirectoryEvent::EndpointGone { vni, mac });
        };
        if self.endpoints.get(&(vni, mac)) == Some(&endpoint) {
            return None;
        }
        self.endpoints.insert((vni, mac), endpoint.clone());
        Some(DirectoryEvent::Endpoint { vni, mac, endpoint })
    }
}

fn endpoint(vni: Vni, mac: Mac, claims: &Claims) -> Option<Endpoint> {
    let best = claims.best(vni, mac)?;
    let is_its = |address: &&std::net::IpAddr| {
        let owner = claims.owner(vni, **address);
        owner.is_some_and(|owner| owner.mac == mac)
    };
    Some(Endpoint {
        host: best.host.clone(),
        addresses: best.addresses.iter().filter(is_its).copied().collect(),
        flags: best.flags,
    })
}
