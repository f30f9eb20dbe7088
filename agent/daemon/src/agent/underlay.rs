//! Where this host is on the underlay: its address, and what the links there carry.
//!
//! # Theory of operation
//!
//! Tunnels are bound to the address that other hosts know this one by, so they end when the host loses it, by hand, by DHCP,
//! or with its link. The kernel says when links and addresses change; then the agent looks for what is not as it was:
//!
//! - The host lost its address: it takes the one of its way to the signer, rebinds the QUIC socket and tells the others
//!   through etcd ([`Member::move_to`]). Connections that this host dialed go on at once, since QUIC lets a client move
//!   (RFC 9000 §9); the others are dialed anew by hosts that have heard of the new address.
//! - VXLAN sockets on an address that is gone: their tunnels are opened again from the one there is.
//! - A link carries longer or shorter packets: VXLAN tunnels are told. QUIC finds out by itself.
//! - A gateway's address is gone from its host link, by hand or with IPv6 that was switched off: it is put back, since
//!   published ports and the containers' way out end with it. A link that somebody took down is left so.
//!
//! The signer takes along where hosts join and renew certificates, and the etcd that it runs.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use overlay_core::HostId;
use switch_core::{PortKind, Vni};

use super::Agent;
use super::host_port::host_link;
use super::overlay::{Tunnels, local_address};
use super::segment::gateway;
use super::state::{Network, State};
use crate::cluster::Member;
use crate::netlink::{LinkWatch, Netlink, NetlinkError, configure_host_link};

impl Agent {
    /// Follows the host's links and addresses from now on.
    pub(super) fn watch_underlay(self: &Arc<Self>) {
        let watch = match LinkWatch::open() {
            Ok(watch) => watch,
            Err(error) => {
                return self.warn(format!(
                    "tunnels will not follow a change of this host's address: {error}"
                ));
            }
        };
        let agent = Arc::downgrade(self);
        let follow = move || {
            let mut look_again = None;
            loop {
                if let Err(error) = watch.wait(look_again) {
                    tracing::warn!(%error, "the watch over links and addresses ended");
                    return;
                }
                let Some(agent) = agent.upgrade() else { return };
                look_again = match agent.follow_underlay() {
                    Ok(true) => None,
                    Ok(false) => Some(LOOK_AGAIN),
                    Err(error) => {
                        tracing::warn!(%error, "this host's addresses cannot be listed");
                        Some(LOOK_AGAIN)
                    }
                };
            }
        };
        let started = std::thread::Builder::new()
            .name("underlay".to_owned())
            .spawn(follow);
        if let Err(error) = started {
            self.warn(format!(
                "tunnels will not follow a change of this host's address: {error}"
            ));
        }
    }

    /// Makes the tunnels fit the links; `false` where something is still to be done.
    fn follow_underlay(&self) -> Result<bool, NetlinkError> {
        let own = own_addresses()?;
        self.restore_gateways(&own)?;
        let member = self.member();
        let is_in_place = member
            .as_deref()
            .is_none_or(|member| self.follow_place(member, &own));
        let mut state = self.state();
        self.reopen_vxlan(&mut state, member.as_deref(), &own);
        state.tunnels.refit();
        self.guard_tunnels(&mut state, member.as_deref());
        Ok(is_in_place)
    }

    /// Gives host links back the addresses that they lost.
    fn restore_gateways(&self, own: &BTreeSet<IpAddr>) -> Result<(), NetlinkError> {
        let state = self.state();
        let hurt: Vec<_> = state
            .networks
            .values()
            .filter(|network| has_host_port(network))
            .map(|network| &network.record)
            .filter(|record| {
                let gateways = record.gateway_addresses();
                gateways.iter().any(|gateway| !own.contains(gateway))
            })
            .collect();
        if hurt.is_empty() {
            return Ok(());
        }
        let mut netlink = Netlink::open()?;
        for record in hurt {
            let wanted = host_link(record);
            if !netlink.link_by_name(&wanted.name).is_ok_and(|link| link.up) {
                continue;
            }
            match configure_host_link(&mut netlink, &wanted) {
                Ok(_) => tracing::info!(network = record.name, "the gateway's addresses are back"),
                Err(error) => self.warn(format!(
                    "network {:?} lost its gateway's address: {error}",
                    record.name
                )),
            }
        }
        Ok(())
    }

    /// Before the first tunnels: the address may be gone since this host was last running.
    pub(super) fn find_place(&self, member: &Member) {
        match own_addresses() {
            Ok(own) => {
                self.follow_place(member, &own);
            }
            Err(error) => tracing::warn!(%error, "this host's addresses cannot be listed"),
        }
    }

    /// `false` while this host has no address, or cannot use it yet.
    fn follow_place(&self, member: &Member, own: &BTreeSet<IpAddr>) -> bool {
        let old = member.address();
        if own.contains(&old) && !member.follows_way() {
            return true;
        }
        let Some(new) = address_of_the_way(member) else {
            return own.contains(&old);
        };
        let quic = {
            let state = self.state();
            state.tunnels.quic().cloned()
        };
        if let Some(quic) = quic {
            let place = SocketAddr::new(new, member.quic_address().port());
            // The socket may lag behind: it was bound to an address that had just come.
            if quic.local_address() != place
                && let Err(error) = quic.rebind(place)
            {
                tracing::debug!(%error, "tunnels do not move yet");
                return false;
            }
        }
        if new == old {
            return member.tell_place().is_ok();
        }
        tracing::info!(%old, %new, "this host's address changed");
        if let Err(error) = member.move_to(new) {
            tracing::warn!(%error, "other hosts do not know this host's new address yet");
            return false;
        }
        true
    }

    /// Opens VXLAN tunnels again that do not begin where this host is.
    fn reopen_vxlan(&self, state: &mut State, member: Option<&Member>, own: &BTreeSet<IpAddr>) {
        let State {
            networks, tunnels, ..
        } = state;
        for network in networks.values_mut() {
            if network.record.shared().is_none() {
                self.reopen_static(tunnels, network, own);
            }
        }
        let Some(member) = member else { return };
        let place = member.address();
        let moved: Vec<(Vni, HostId)> = state
            .networks
            .values()
            .flat_map(|network| elsewhere(network, place))
            .collect();
        for (vni, host) in moved {
            self.close_tunnel(state, vni, &host);
            self.open_tunnel(state, member, vni, &host);
        }
    }

    /// The tunnels of a network with fixed remotes that begin at an address which is gone.
    fn reopen_static(&self, tunnels: &mut Tunnels, network: &mut Network, own: &BTreeSet<IpAddr>) {
        let record = &network.record;
        let vni = record
            .overlay
            .as_ref()
            .and_then(|overlay| Vni::new(overlay.vni));
        let (Some(vni), Some(segment)) = (vni, &mut network.segment) else {
            return;
        };
        let is_lost = |local: Option<IpAddr>| local.is_some_and(|local| !own.contains(&local));
        for (remote, tunnel) in &mut segment.tunnels {
            let Some(local) = local_address(*remote).filter(|_| is_lost(tunnel.local)) else {
                continue;
            };
            segment.gone += &tunnels.close(&self.switch, tunnel);
            let ends = (local, *remote);
            let place = (vni, record.port_config(PortKind::Tunnel));
            let gateway = gateway(record, segment.edge_port);
            match tunnels.open_vxlan(&self.switch, &segment.bridge, ends, place, gateway) {
                Ok(opened) => *tunnel = opened,
                Err(why) => self.warn(format!(
                    "network {:?} does not reach {remote} from {local}: {why}",
                    record.name
                )),
            }
        }
    }
}

fn has_host_port(network: &Network) -> bool {
    let segment = network.segment.as_ref();
    segment.is_some_and(|segment| segment.host.is_some())
}

/// The hosts that a shared network reaches over VXLAN from another address than `place`.
fn elsewhere(network: &Network, place: IpAddr) -> Vec<(Vni, HostId)> {
    let (Some(vni), Some(segment)) = (network.record.vni_shared(), &network.segment) else {
        return Vec::new();
    };
    let is_elsewhere = |remote: &IpAddr| {
        let tunnel = segment.tunnels.get(remote);
        let local = tunnel.and_then(|tunnel| tunnel.local);
        local.is_some_and(|local| local != place)
    };
    let hosts = segment.hosts.iter();
    hosts
        .filter(|(_, remote)| is_elsewhere(remote))
        .map(|(host, _)| (vni, host.clone()))
        .collect()
}

fn own_addresses() -> Result<BTreeSet<IpAddr>, NetlinkError> {
    let listed = Netlink::open()?.addresses()?;
    Ok(listed
        .into_iter()
        .map(|entry| entry.address.addr())
        .collect())
}

/// The address towards the signer, or on the signer itself towards the first host that there is a way to.
fn address_of_the_way(member: &Member) -> Option<IpAddr> {
    let address = match member.way() {
        Some(signer) => local_address(signer),
        None => {
            let hosts = member.hosts().into_iter();
            hosts
                .filter(|host| host.id != member.host())
                .filter_map(|host| host.alive)
                .find_map(|alive| local_address(alive.address))
        }
    };
    address.filter(|address| !address.is_loopback())
}

/// How long an address may take until it can be used, as IPv6's duplicate address detection makes it (RFC 4862 §5.4).
const LOOK_AGAIN: Duration = Duration::from_millis(200);
