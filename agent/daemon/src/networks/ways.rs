//! A network's ways to other hosts: which tunnels it has, and which endpoints are behind them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use agent_cluster::{ALIVE, AliveRecord, Member};
use agent_core::network::{Asked, VxlanOptions};
use agent_core::record::{Encap, NetworkRecord};
use overlay_core::{Df, HostId, NetworkId, OuterPolicy, Tos, Ttl};
use switch_core::vlan::PortVlans;
use switch_core::{Mac, PortId, PortKind, Vni};

use super::segment::Segment;
use super::{FarEnd, Networks, Place, Tunnel};
use crate::locks::lock;
use crate::sharing::directory::{address_of, id_shared};
use crate::sharing::route::local_address;
use crate::sharing::tunnels::{OpenTunnel, TunnelPort, VxlanEnds};

/// A remote endpoint's place.
#[derive(Clone, Debug)]
pub(crate) struct RemotePlace {
    pub(crate) host: HostId,
    pub(crate) addresses: Vec<IpAddr>,
    /// Those that its port belongs to there, where somebody said which.
    pub(crate) vlans: Option<PortVlans>,
}

fn register_remote(segment: &Segment, port: PortId, mac: Mac, at: &RemotePlace) {
    let vlans = at.vlans.clone();
    segment
        .bridge
        .register_remote(port, mac, &at.addresses, vlans);
}

impl Networks {
    /// A network's segment and its tunnels to fixed remotes, in its turn. What was made stays with the network after a failure.
    pub(super) fn raise(&self, record: &Arc<NetworkRecord>) -> Result<(), RaiseNetwork> {
        let segment = Arc::new(Segment::raise(&self.ground, &self.names, record)?);
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
            let local = local_of(record, *remote).ok_or(OpenTunnel::NoRoute(*remote))?;
            let tunnel = self.open_vxlan(record, &segment, vni, (local, *remote))?;
            self.insert_fixed(&record.id, *remote, tunnel);
        }
        Ok(())
    }

    fn insert_fixed(&self, id: &str, address: IpAddr, port: TunnelPort) {
        self.change(id, |network| {
            let tunnel = Tunnel { port, address };
            network.ways.tunnels.insert(FarEnd::Fixed(address), tunnel)
        });
    }

    fn open_vxlan(
        &self,
        record: &NetworkRecord,
        segment: &Segment,
        vni: Vni,
        (local, remote): (IpAddr, IpAddr),
    ) -> Result<TunnelPort, OpenTunnel> {
        let options = record.vxlan_options();
        let ends = VxlanEnds {
            local: SocketAddr::new(local, options.dstport),
            remote,
            outer: outer_policy(&options),
        };
        let place = (vni, record.port_config(PortKind::Tunnel));
        let gateway = segment.gateway(record);
        let tunnels = &self.sharing.tunnels;
        tunnels.open_vxlan(&segment.bridge, ends, place, gateway)
    }

    /// Has connections to the hosts that share networks with this one, and no others: after endpoints came or went, here or there.
    pub(crate) fn follow_needs(&self) {
        self.sharing.follow_needs(|| {
            let table = lock(&self.table);
            let needing = table.present().filter(|network| network.needs_quic());
            needing
                .filter_map(|network| NetworkId::parse(&network.record.id))
                .collect()
        });
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
            Some(Encap::Vxlan) => {
                if !self.make_way(&record.id, member, (host, remote)) {
                    return tracing::info!(%host, %remote, "another host is at its address now");
                }
                self.open_vxlan(record, segment, vni, (member.address(), remote))
            }
            _ => {
                let config = record.port_config(PortKind::Tunnel);
                let tunnels = &self.sharing.tunnels;
                // Until the cluster knows this host again there may be none.
                if tunnels.quic().is_none() && member.session().is_none() {
                    return;
                }
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
            let tunnel = Tunnel {
                port: tunnel,
                address: remote,
            };
            ways.tunnels.insert(FarEnd::Host(host.clone()), tunnel);
            for (mac, at) in ways.remotes.iter().filter(|(_, at)| at.host == *host) {
                register_remote(segment, port, *mac, at);
            }
        });
    }

    /// VXLAN knows hosts by their addresses, so of two hosts at one, such as one that was installed anew and its former self,
    /// only the one that came to life last has a tunnel. Whether that is `host`; the other's tunnel is closed then.
    fn make_way(&self, id: &str, member: &Member, (host, at): (&HostId, IpAddr)) -> bool {
        let others = self.change(id, |network| {
            let tunnels = network.ways.tunnels.iter();
            let there = tunnels.filter(|(_, tunnel)| tunnel.address == at);
            let hosts = there.filter_map(|(far, _)| match far {
                FarEnd::Host(other) if other != host => Some(other.clone()),
                _ => None,
            });
            hosts.collect::<Vec<_>>()
        });
        let others = others.unwrap_or_default();
        let since = alive_since(member, host);
        if others
            .iter()
            .any(|other| alive_since(member, other) > since)
        {
            return false;
        }
        for other in others {
            self.close_tunnel_of(id, &other);
        }
        true
    }

    pub(crate) fn close_tunnel(&self, network: NetworkId, host: &HostId) {
        let id = network.to_string();
        let _turn = self.turns.take(id.clone());
        self.close_tunnel_of(&id, host);
    }

    pub(super) fn close_tunnel_of(&self, id: &str, host: &HostId) {
        let far = FarEnd::Host(host.clone());
        let tunnel = self.change(id, |network| network.ways.tunnels.remove(&far));
        if let Some(tunnel) = tunnel.flatten() {
            let counts = self.sharing.tunnels.close(&tunnel.port);
            self.add_gone(id, &counts);
        }
    }

    /// A host is at that address now: its tunnels go there.
    pub(crate) fn retarget(&self, member: &Member, host: &HostId, address: IpAddr) {
        let mut moved = Vec::new();
        let far = FarEnd::Host(host.clone());
        for network in lock(&self.table).networks.values_mut() {
            let is_vxlan = network.record.shared().map(|shared| shared.encap) == Some(Encap::Vxlan);
            let ways = &mut network.ways;
            match ways.tunnels.get_mut(&far) {
                Some(tunnel) if tunnel.address == address => {}
                Some(_) if is_vxlan => moved.push(network.record.id.clone()),
                // The port belongs to the host, wherever its connection leads.
                Some(tunnel) => tunnel.address = address,
                // It had to make way for another host, or there was no QUIC.
                None if ways.remotes.values().any(|at| at.host == *host) => {
                    moved.push(network.record.id.clone());
                }
                None => {}
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
        if let Some(tunnel) = ways.tunnels.get(&FarEnd::Host(at.host.clone())) {
            register_remote(segment, tunnel.port.port, mac, &at);
        }
        ways.remotes.insert(mac, at);
        let id = network.record.id.clone();
        drop(table);
        self.settle_acl(&id);
    }

    /// An endpoint on another host belongs to these VLANs there: one that came in the place of another may be told by nothing else.
    pub(crate) fn move_remote(&self, network: NetworkId, mac: Mac, vlans: Option<PortVlans>) {
        let known = self.change(&network.to_string(), |network| {
            network.ways.remotes.get(&mac).cloned()
        });
        if let Some(at) = known.flatten()
            && at.vlans != vlans
        {
            self.place_remote(network, mac, RemotePlace { vlans, ..at });
        }
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
            let is_elsewhere = move |tunnel: &Tunnel| {
                let local = tunnel.port.local;
                local.is_some_and(|local| local.ip() != place)
            };
            let tunnels = network.ways.tunnels.iter();
            let begun = tunnels.filter(move |(_, tunnel)| is_elsewhere(tunnel));
            begun.filter_map(|(far, _)| match far {
                FarEnd::Host(host) => Some((network.record.id.clone(), host.clone())),
                FarEnd::Fixed(_) => None,
            })
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
            let is_lost =
                |local: Option<SocketAddr>| local.is_some_and(|local| !own.contains(&local.ip()));
            let lost = tunnels.filter(|(_, tunnel)| is_lost(tunnel.port.local));
            lost.map(|(_, tunnel)| (tunnel.address, tunnel.port.clone()))
                .collect()
        };
        for (remote, tunnel) in lost {
            let Some(local) = local_of(record, remote) else {
                continue;
            };
            // It was asked for, and goes on there when the host has it again.
            if tunnel.local.is_some_and(|at| at.ip() == local) {
                continue;
            }
            let counts = self.sharing.tunnels.close(&tunnel);
            self.add_gone(&record.id, &counts);
            match self.open_vxlan(record, segment, vni, (local, remote)) {
                Ok(opened) => self.insert_fixed(&record.id, remote, opened),
                Err(why) => self.ground.warn(format!(
                    "network {:?} does not reach {remote} from {local}: {why}",
                    record.name
                )),
            }
        }
    }
}

/// Where a network with fixed remotes reaches one of them from.
fn local_of(record: &NetworkRecord, remote: IpAddr) -> Option<IpAddr> {
    let asked = record.vxlan_options().local;
    asked.or_else(|| local_address(remote))
}

/// When the host last said that it is alive, in revisions of the store; zero where it is not.
fn alive_since(member: &Member, host: &HostId) -> u64 {
    let world = member.world();
    let alive = world.find::<AliveRecord>(&format!("{ALIVE}{host}"));
    alive.map_or(0, |(_, revision)| revision)
}

fn outer_policy(options: &VxlanOptions) -> OuterPolicy {
    OuterPolicy {
        tos: match options.tos {
            Asked::Default => Tos::default(),
            Asked::Fixed(tos) => Tos::Fixed(tos),
            Asked::Inherit => Tos::Inherit,
        },
        ttl: match options.ttl {
            Asked::Default => Ttl::default(),
            Asked::Fixed(ttl) => Ttl::Fixed(ttl),
            Asked::Inherit => Ttl::Inherit,
        },
        df: match options.df {
            Asked::Default | Asked::Fixed(true) => Df::Set,
            Asked::Fixed(false) => Df::Unset,
            Asked::Inherit => Df::Inherit,
        },
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
