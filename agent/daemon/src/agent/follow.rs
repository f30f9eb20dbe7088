//! What other hosts share: their networks become this host's, their endpoints are reached through tunnels.

use std::net::IpAddr;
use std::sync::Arc;

use dns_core::{EndpointNames, Service};
use overlay_core::{DirectoryEvent, Epoch, HostId, Record, RecordFlags, Sequence, Withdrawal};
use serde::de::DeserializeOwned;
use switch_core::{Mac, PortKind, Vni};

use super::Agent;
use super::segment::gateway;
use super::state::{Network, State};
use crate::cluster::{
    ADDRESSES, ALIVE, AliveRecord, Difference, ENDPOINTS, EndpointShared, Follow, HOSTS, Holder,
    HostRecord, Identity, Member, NETWORKS, Session,
};
use crate::edge::EdgeHost;
use crate::ipam::Tenant;
use crate::record::{Encap, NetworkRecord};
use crate::store::{Entry, StoreError};

impl Follow for Agent {
    fn follow(&self, member: &Arc<Member>, mut differences: Vec<Difference>) {
        // A network comes before what is in it, and goes after it.
        differences.sort_by_key(order);
        let mut state = self.state();
        for difference in &differences {
            self.follow_one(&mut state, member, difference);
        }
        self.follow_directory(&mut state, member);
        self.guard_tunnels(&mut state, Some(member));
    }

    fn begin(&self, member: &Arc<Member>, session: Session) -> Result<(), StoreError> {
        let mut state = self.state();
        let shared = self.share_everything(&mut state, member, session);
        self.follow_directory(&mut state, member);
        self.guard_tunnels(&mut state, Some(member));
        shared
    }

    fn locate(&self, host: &str) -> Option<IpAddr> {
        let host = HostId::new(host).ok()?;
        let quic = self.state().tunnels.quic().cloned()?;
        let peer = quic.peer(&host).filter(|peer| peer.is_up)?;
        Some(peer.address.ip())
    }

    fn recertified(&self, identity: &Identity) {
        self.renew_quic(identity);
    }
}

impl Agent {
    fn follow_one(&self, state: &mut State, member: &Member, difference: &Difference) {
        let (entry, is_there) = match difference {
            Difference::Put(entry) => (entry, true),
            Difference::Deleted(entry) => (entry, false),
        };
        let key = entry.key.as_str();
        if key.starts_with(NETWORKS) {
            if let Some(record) = decode::<NetworkRecord>(entry) {
                match is_there {
                    true => self.adopt_network(state, member, record),
                    false => self.abandon_network(state, &record),
                }
            }
        } else if let Some(rest) = key.strip_prefix(ENDPOINTS) {
            if let (Some(shared), Some((network, id))) =
                (decode::<EndpointShared>(entry), rest.split_once('/'))
            {
                self.follow_endpoint(state, member, (network, id), &shared, is_there);
            }
        } else if let Some(rest) = key.strip_prefix(ADDRESSES) {
            if let (Some(holder), Some((network, address))) =
                (decode::<Holder>(entry), rest.split_once('/'))
                && let (Some(network), Ok(address)) =
                    (state.networks.get_mut(network), address.parse())
            {
                follow_address(network, member, address, &holder, is_there);
            }
        } else if let Some(host) = key.strip_prefix(ALIVE)
            && let (Some(alive), Ok(id)) = (decode::<AliveRecord>(entry), HostId::new(host))
        {
            self.meet(state, member, &id);
            match is_there {
                true => self.retarget(state, member, &id, alive.address),
                false => self.forget_host(state, &id, entry.revision),
            }
        }
    }

    fn adopt_network(&self, state: &mut State, member: &Member, record: NetworkRecord) {
        if state.networks.contains_key(&record.id) {
            return;
        }
        let (id, name) = (record.id.clone(), record.name.clone());
        if state
            .networks
            .values()
            .any(|network| network.record.name == name)
        {
            return self.warn(format!(
                "network {name:?} of the cluster is not here, because this host has another one of that name; rename that"
            ));
        }
        if let Err(error) = self.add_network(state, record) {
            return self.warn(format!(
                "network {name:?} of the cluster is not here: {error}"
            ));
        }
        if let (Some(network), Some(_)) = (state.networks.get_mut(&id), member.session()) {
            self.fill_reserve(member, network);
        }
    }

    fn abandon_network(&self, state: &mut State, record: &NetworkRecord) {
        let Some(network) = state.networks.get(&record.id) else {
            return;
        };
        if let Some(endpoint) = network.endpoints.values().next() {
            return self.warn(format!(
                "network {:?} was removed from the cluster and stays here, because {:?} is in it",
                record.name, endpoint.record.name
            ));
        }
        if let Err(error) = self.drop_network(state, &record.id) {
            self.warn(format!(
                "network {:?} is not quite gone: {error}",
                record.name
            ));
        }
    }

    fn follow_endpoint(
        &self,
        state: &mut State,
        member: &Member,
        (network, id): (&str, &str),
        shared: &EndpointShared,
        is_there: bool,
    ) {
        // A host that was shut out may still have a word in etcd for a moment.
        if shared.host == member.host() || (is_there && !member.knows(&shared.host)) {
            return;
        }
        let State {
            networks,
            directory,
            ..
        } = state;
        let Some((network, directory)) = networks.get(network).zip(directory.as_mut()) else {
            return;
        };
        let (Some(vni), Ok(host)) = (network.record.vni_shared(), HostId::new(&shared.host)) else {
            return;
        };
        let record = Record {
            vni,
            mac: Mac::new(shared.mac),
            addresses: shared.addresses(),
            host,
            epoch: Epoch(shared.epoch),
            sequence: Sequence(shared.sequence),
            flags: RecordFlags {
                sticky: true,
                ..RecordFlags::default()
            },
        };
        let now = self.switch.now();
        let applied = if is_there {
            directory.apply(now, record)
        } else {
            let withdrawal: Withdrawal = record.withdrawal();
            directory.apply_withdrawal(now, &withdrawal)
        };
        tracing::debug!(
            endpoint = shared.name,
            host = shared.host,
            ?applied,
            is_there,
            "remote endpoint"
        );
        self.follow_names(network, id, shared, is_there);
    }

    fn follow_names(&self, network: &Network, id: &str, shared: &EndpointShared, is_there: bool) {
        let Some(segment) = &network.segment else {
            return;
        };
        if !is_there {
            return segment.edge.remove(id);
        }
        let host = EdgeHost {
            port: None,
            mac: Mac::new(shared.mac),
            dhcp: None,
            names: EndpointNames {
                name: shared.name.clone(),
                aliases: shared.aliases.clone(),
                hostname: shared.hostname.clone(),
                short_id: shared.short_id.clone(),
                v4: shared.ipv4,
                v6: shared.ipv6,
                services: shared.services.iter().map(Service::from).collect(),
            },
            dns: Vec::new(),
        };
        if let Err(error) = segment.edge.insert(id, host) {
            tracing::warn!(endpoint = shared.name, %error, "a remote endpoint has no names here");
        }
    }

    fn forget_host(&self, state: &mut State, host: &HostId, epoch: u64) {
        if let Some(directory) = &mut state.directory {
            directory.host_gone(self.switch.now(), host, Epoch(epoch));
        }
    }

    /// Makes the bridges what the directory says.
    pub(super) fn follow_directory(&self, state: &mut State, member: &Member) {
        let Some(directory) = &mut state.directory else {
            return;
        };
        let events: Vec<_> = std::iter::from_fn(|| directory.poll_event()).collect();
        for event in events {
            match event {
                DirectoryEvent::Endpoint { vni, mac, endpoint } => {
                    let is_own = endpoint.host.as_str() == member.host();
                    if let Some(network) = network_of(state, vni) {
                        if is_own {
                            keep_own(network, mac, &endpoint.addresses);
                        } else {
                            place_remote(network, mac, endpoint.host, endpoint.addresses);
                        }
                    }
                }
                DirectoryEvent::EndpointGone { vni, mac } => {
                    if let Some(segment) =
                        network_of(state, vni).and_then(|network| network.segment.as_mut())
                        && segment.remotes.remove(&mac).is_some()
                    {
                        segment.bridge.unregister_endpoint(mac);
                    }
                }
                DirectoryEvent::FloodJoin { vni, host } => {
                    self.open_tunnel(state, member, vni, &host)
                }
                DirectoryEvent::FloodLeave { vni, host } => self.close_tunnel(state, vni, &host),
            }
        }
    }

    pub(super) fn open_tunnel(&self, state: &mut State, member: &Member, vni: Vni, host: &HostId) {
        let Some(remote) = address_of(member, host) else {
            tracing::warn!(%host, "a host with endpoints has no address");
            return;
        };
        let State {
            networks, tunnels, ..
        } = state;
        let mut of_vni = networks
            .values_mut()
            .filter(|network| network.record.vni_shared() == Some(vni));
        let Some(network) = of_vni.next() else { return };
        let encap = encap(network);
        let Some(segment) = &mut network.segment else {
            return;
        };
        let gateway = gateway(&network.record, segment.edge_port);
        let place = (vni, network.record.port_config(PortKind::Tunnel));
        let opened = match encap {
            Some(Encap::Vxlan) => tunnels.open_vxlan(
                &self.switch,
                &segment.bridge,
                (member.address(), remote),
                place,
                gateway,
            ),
            _ => tunnels.open_quic(&self.switch, &segment.bridge, host, place),
        };
        match opened {
            Ok(tunnel) => {
                let port = tunnel.port;
                segment.tunnels.insert(remote, tunnel);
                segment.hosts.insert(host.clone(), remote);
                for (mac, at) in segment.remotes.iter().filter(|(_, at)| at.host == *host) {
                    segment.bridge.register_endpoint(port, *mac, &at.addresses);
                }
            }
            Err(why) => self.warn(format!(
                "network {:?} does not reach host {host} at {remote}: {why}",
                network.record.name
            )),
        }
    }

    pub(super) fn close_tunnel(&self, state: &mut State, vni: Vni, host: &HostId) {
        let State {
            networks, tunnels, ..
        } = state;
        let mut of_vni = networks
            .values_mut()
            .filter(|network| network.record.vni_shared() == Some(vni));
        let Some(segment) = of_vni.next().and_then(|network| network.segment.as_mut()) else {
            return;
        };
        let remote = segment.hosts.remove(host);
        if let Some(tunnel) = remote.and_then(|remote| segment.tunnels.remove(&remote)) {
            segment.gone += &tunnels.close(&self.switch, &tunnel);
        }
    }

    /// A host is at another address now: its tunnels go there.
    fn retarget(&self, state: &mut State, member: &Member, host: &HostId, address: IpAddr) {
        let mut moved = Vec::new();
        for network in state.networks.values_mut() {
            let (encap, vni) = (encap(network), network.record.vni_shared());
            let Some(segment) = &mut network.segment else {
                continue;
            };
            let Some(old) = segment.hosts.get(host).filter(|at| **at != address) else {
                continue;
            };
            match encap {
                Some(Encap::Vxlan) => moved.extend(vni),
                // The port belongs to the host, wherever its connection leads.
                _ => {
                    if let Some(tunnel) = segment.tunnels.remove(old) {
                        segment.tunnels.insert(address, tunnel);
                    }
                    segment.hosts.insert(host.clone(), address);
                }
            }
        }
        for vni in moved {
            self.close_tunnel(state, vni, host);
            self.open_tunnel(state, member, vni, host);
        }
    }
}

/// A remote endpoint's place.
#[derive(Clone, Debug)]
pub(super) struct RemotePlace {
    pub(super) host: HostId,
    pub(super) addresses: Vec<IpAddr>,
}

fn place_remote(network: &mut Network, mac: Mac, host: HostId, addresses: Vec<IpAddr>) {
    let Some(segment) = &mut network.segment else {
        return;
    };
    let tunnel = segment
        .hosts
        .get(&host)
        .and_then(|remote| segment.tunnels.get(remote));
    if let Some(tunnel) = tunnel {
        segment
            .bridge
            .register_endpoint(tunnel.port, mac, &addresses);
    }
    segment.remotes.insert(mac, RemotePlace { host, addresses });
}

/// An endpoint of this host has its MAC, whoever had it before.
fn keep_own(network: &mut Network, mac: Mac, addresses: &[IpAddr]) {
    let own = network
        .endpoints
        .values()
        .find(|endpoint| endpoint.record.mac == mac.octets());
    let port = own.and_then(|endpoint| endpoint.port);
    let Some(segment) = &mut network.segment else {
        return;
    };
    if segment.remotes.remove(&mac).is_some()
        && let Some(port) = port
    {
        segment.bridge.register_endpoint(port, mac, addresses);
    }
}

fn follow_address(
    network: &mut Network,
    member: &Member,
    address: IpAddr,
    holder: &Holder,
    is_there: bool,
) {
    let is_own = holder.host == member.host();
    match (is_there, is_own, &holder.endpoint) {
        (false, ..) => network.pools.unmark(address),
        (true, false, _) => {
            network.pools.unmark(address);
            network.pools.mark(address, Tenant::Elsewhere);
        }
        (true, true, None) => network.pools.mark(address, Tenant::Reserve),
        (true, true, Some(_)) => {}
    }
}

fn encap(network: &Network) -> Option<Encap> {
    network.record.shared().map(|shared| shared.encap)
}

fn network_of(state: &mut State, vni: Vni) -> Option<&mut Network> {
    state
        .networks
        .values_mut()
        .find(|network| network.record.vni_shared() == Some(vni))
}

fn address_of(member: &Member, host: &HostId) -> Option<IpAddr> {
    let world = member.world();
    let alive = world.find::<AliveRecord>(&format!("{ALIVE}{host}"));
    alive.map(|(alive, _)| alive.address).or_else(|| {
        let known = world.find::<HostRecord>(&format!("{HOSTS}{host}"));
        known.map(|(known, _)| known.address)
    })
}

fn order(difference: &Difference) -> u8 {
    let (entry, is_there) = match difference {
        Difference::Put(entry) => (entry, true),
        Difference::Deleted(entry) => (entry, false),
    };
    match (entry.key.starts_with(NETWORKS), is_there) {
        (true, true) => 0,
        (false, true) => 1,
        (false, false) => 2,
        (true, false) => 3,
    }
}

fn decode<T: DeserializeOwned>(entry: &Entry) -> Option<T> {
    match entry.decode() {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(%error, "passed over");
            None
        }
    }
}
