//! A network's ways to other hosts: which tunnels it has, and which endpoints are behind them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use agent_cluster::Member;
use agent_core::record::{Encap, NetworkRecord};
use overlay_core::{HostId, NetworkId};
use switch_core::{Mac, PortKind, Vni};

use super::segment::Segment;
use super::{Networks, Place};
use crate::locks::lock;
use crate::sharing::directory::{address_of, id_shared};
use crate::sharing::route::local_address;
use crate::sharing::tunnels::{OpenTunnel, TunnelPort};

/// A remote endpoint's place.
#[derive(Clone, Debug)]
pub(crate) struct RemotePlace {
    pub(crate) host: HostId,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Networks {
    /// A network's segment and its tunnels to fixed remotes, in its turn. What was made stays with the network after a failure.
    pub(super) fn raise(&self, record: &Arc<NetworkRecord>) -> Result<(), RaiseNetwork> {
        let segment = Arc::new(Segment::raise(&self.ground, record)?);
        self.change(&record.id, |network| {
            network.segment = Some(Arc::clone(&segment));
        });
        if let Some(network) = id_shared(record) {
            self.sharing.attach_network(network);
        }
        let Some(overlay) = &record.overlay else {
            return Ok(());
        };
        let vni = Vni::new(overlay.vni).ok_or(RaiseNetwork::Vni(overlay.vni))?;
        for remote in &overlay.remotes {
            let local = local_address(*remote).ok_or(OpenTunnel::NoRoute(*remote))?;
            let tunnel = self.open_vxlan(record, &segment, vni, (local, *remote))?;
            self.change(&record.id, |network| {
                network.ways.tunnels.insert(*remote, tunnel)
            });
        }
        Ok(())
    }

    fn open_vxlan(
        &self,
        record: &NetworkRecord,
        segment: &Segment,
        vni: Vni,
        ends: (IpAddr, IpAddr),
    ) -> Result<TunnelPort, OpenTunnel> {
        let place = (vni, record.port_config(PortKind::Tunnel));
        let gateway = segment.gateway(record);
        let tunnels = &self.sharing.tunnels;
        tunnels.open_vxlan(&segment.bridge, ends, place, gateway)
    }

    /// Opens a network's tunnel to a host that has endpoints there.
    pub(crate) fn open_tunnel(&self, member: &Member, network: NetworkId, host: &HostId) {
        let id = network.to_string();
        let _turn = self.turns.take(id.clone());
        if let Some(place) = self.place(&id) {
            self.open_tunnel_of(&place, member, host);
        }
    }

    pub(super) fn open_tunnel_of(&self, place: &Place, member: &Member, host: &HostId) {
        let Some(remote) = address_of(member, host) else {
            tracing::warn!(%host, "a host with endpoints has no address");
            return;
        };
        let record = &place.record;
        let (Some(segment), Some(vni)) = (&place.segment, record.vni_shared()) else {
            return;
        };
        let opened = match record.shared().map(|shared| shared.encap) {
            Some(Encap::Vxlan) => self.open_vxlan(record, segment, vni, (member.address(), remote)),
            _ => {
                let config = record.port_config(PortKind::Tunnel);
                let tunnels = &self.sharing.tunnels;
                tunnels.open_quic(&segment.bridge, host, (vni, config))
            }
        };
        let tunnel = match opened {
            Ok(tunnel) => tunnel,
            Err(why) => {
                return self.ground.warn(format!(
                    "network {:?} does not reach host {host} at {remote}: {why}",
                    record.name
                ));
            }
        };
        self.change(&record.id, |network| {
            let (port, ways) = (tunnel.port, &mut network.ways);
            ways.tunnels.insert(remote, tunnel);
            ways.hosts.insert(host.clone(), remote);
            for (mac, at) in ways.remotes.iter().filter(|(_, at)| at.host == *host) {
                segment.bridge.register_endpoint(port, *mac, &at.addresses);
            }
        });
    }

    pub(crate) fn close_tunnel(&self, network: NetworkId, host: &HostId) {
        let id = network.to_string();
        let _turn = self.turns.take(id.clone());
        self.close_tunnel_of(&id, host);
    }

    pub(super) fn close_tunnel_of(&self, id: &str, host: &HostId) {
        let tunnel = self.change(id, |network| {
            let remote = network.ways.hosts.remove(host)?;
            network.ways.tunnels.remove(&remote)
        });
        if let Some(tunnel) = tunnel.flatten() {
            let counts = self.sharing.tunnels.close(&tunnel);
            self.add_gone(id, &counts);
        }
    }

    /// A host is at another address now: its tunnels go there.
    pub(crate) fn retarget(&self, member: &Member, host: &HostId, address: IpAddr) {
        let mut moved = Vec::new();
        for network in lock(&self.table).networks.values_mut() {
            let ways = &mut network.ways;
            let Some(old) = ways.hosts.get(host).filter(|at| **at != address) else {
                continue;
            };
            match network.record.shared().map(|shared| shared.encap) {
                Some(Encap::Vxlan) => moved.push(network.record.id.clone()),
                // The port belongs to the host, wherever its connection leads.
                _ => {
                    if let Some(tunnel) = ways.tunnels.remove(old) {
                        ways.tunnels.insert(address, tunnel);
                    }
                    ways.hosts.insert(host.clone(), address);
                }
            }
        }
        for id in moved {
            self.reopen_tunnel(&id, member, host);
        }
    }

    fn reopen_tunnel(&self, id: &str, member: &Member, host: &HostId) {
        let _turn = self.turns.take(id.to_owned());
        let Some(place) = self.place(id) else { return };
        if place.record.shared().is_some() {
            self.close_tunnel_of(id, host);
            self.open_tunnel_of(&place, member, host);
        }
    }

    /// An endpoint is on another host.
    pub(crate) fn place_remote(&self, network: NetworkId, mac: Mac, at: RemotePlace) {
        let mut table = lock(&self.table);
        let Some(network) = table.networks.get_mut(&network.to_string()) else {
            return;
        };
        let Some(segment) = &network.segment else {
            return;
        };
        let ways = &mut network.ways;
        let remote = ways.hosts.get(&at.host);
        if let Some(tunnel) = remote.and_then(|remote| ways.tunnels.get(remote)) {
            segment
                .bridge
                .register_endpoint(tunnel.port, mac, &at.addresses);
        }
        ways.remotes.insert(mac, at);
    }

    /// An endpoint is on no other host any more. Whether it was.
    pub(crate) fn forget_remote(&self, network: NetworkId, mac: Mac) -> bool {
        let id = network.to_string();
        let removed = self.change(&id, |network| network.ways.remotes.remove(&mac));
        removed.flatten().is_some()
    }

    /// Opens VXLAN tunnels again that do not begin where this host is, its addresses being `own`.
    pub(crate) fn reopen_vxlan(&self, member: Option<&Member>, own: &BTreeSet<IpAddr>) {
        for place in self.places() {
            if place.record.shared().is_none() {
                self.reopen_static(&place, own);
            }
        }
        let Some(member) = member else { return };
        for (id, host) in self.begun_elsewhere(member.address()) {
            self.reopen_tunnel(&id, member, &host);
        }
    }

    /// The hosts that shared networks reach over VXLAN from another address than `place`.
    fn begun_elsewhere(&self, place: IpAddr) -> Vec<(String, HostId)> {
        let table = lock(&self.table);
        let shared = table
            .present()
            .filter(|network| network.record.vni_shared().is_some());
        let elsewhere = shared.flat_map(|network| {
            let ways = &network.ways;
            let is_elsewhere = move |remote: &IpAddr| {
                let tunnel = ways.tunnels.get(remote);
                let local = tunnel.and_then(|tunnel| tunnel.local);
                local.is_some_and(|local| local != place)
            };
            let hosts = ways.hosts.iter();
            hosts
                .filter(move |(_, remote)| is_elsewhere(remote))
                .map(|(host, _)| (network.record.id.clone(), host.clone()))
        });
        elsewhere.collect()
    }

    /// The tunnels of a network with fixed remotes that begin at an address which is gone.
    fn reopen_static(&self, place: &Place, own: &BTreeSet<IpAddr>) {
        let record = &place.record;
        let overlay = record.overlay.as_ref();
        let vni = overlay.and_then(|overlay| Vni::new(overlay.vni));
        let (Some(vni), Some(segment)) = (vni, &place.segment) else {
            return;
        };
        let _turn = self.turns.take(record.id.clone());
        let lost: Vec<_> = {
            let table = lock(&self.table);
            let network = table.networks.get(&record.id);
            let tunnels = network
                .into_iter()
                .flat_map(|network| &network.ways.tunnels);
            let is_lost = |local: Option<IpAddr>| local.is_some_and(|local| !own.contains(&local));
            let lost = tunnels.filter(|(_, tunnel)| is_lost(tunnel.local));
            lost.map(|(remote, tunnel)| (*remote, tunnel.clone()))
                .collect()
        };
        for (remote, tunnel) in lost {
            let Some(local) = local_address(remote) else {
                continue;
            };
            let counts = self.sharing.tunnels.close(&tunnel);
            self.add_gone(&record.id, &counts);
            match self.open_vxlan(record, segment, vni, (local, remote)) {
                Ok(opened) => {
                    self.change(&record.id, |network| {
                        network.ways.tunnels.insert(remote, opened)
                    });
                }
                Err(why) => self.ground.warn(format!(
                    "network {:?} does not reach {remote} from {local}: {why}",
                    record.name
                )),
            }
        }
    }
}

/// Why a network does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum RaiseNetwork {
    #[error(transparent)]
    Segment(#[from] super::segment::RaiseSegment),
    #[error(transparent)]
    Tunnel(#[from] OpenTunnel),
    #[error("VNI {0} does not fit 24 bits")]
    Vni(u32),
}
