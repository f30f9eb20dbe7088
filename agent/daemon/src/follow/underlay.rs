//! Where this host is on the underlay: its address, and what the links there carry.
//!
//! # Theory of operation
//!
//! Tunnels are bound to the address that other hosts know this one by. They end when the host loses it: by hand, by DHCP, or
//! with its link. The kernel says when links and addresses change; then the agent looks for what is not as it was. What is about the
//! networks' own host links alone is about no tunnel:
//!
//! - The host lost its address: it takes the one of its way to the manager, rebinds the QUIC socket and tells the others
//!   through etcd ([`Member::move_to`]). Connections that this host dialed go on at once, since QUIC lets a client move
//!   (RFC 9000 §9); the others are dialed anew by hosts that have heard of the new address.
//! - VXLAN sockets on an address that is gone: their tunnels are opened again from the one there is.
//! - A link carries longer or shorter packets: VXLAN tunnels are told. QUIC finds out by itself.
//! - A host link is not as the agent made it, or the host does not forward any more: that is put right, since published ports
//!   and the containers' way out end with it ([`Networks::mend_host_links`](crate::networks::Networks::mend_host_links)).
//!
//! Where the host is a manager, three things move with it: the place where hosts join, the place where they renew
//! certificates, and the etcd that it runs.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_cluster::Member;
use agent_core::record::NetworkRecord;
use agent_host::netlink::{LinkChange, LinkWatch, Netlink, NetlinkError};

use super::Follower;
use crate::pace::rest_after;
use crate::panics::essential;
use crate::sharing::route::local_address;

impl Follower {
    /// Follows the host's links and addresses from now on.
    pub(crate) fn watch_underlay(self: &Arc<Self>) {
        let mut watch = match LinkWatch::open() {
            Ok(watch) => watch,
            Err(error) => {
                return self.ground.warn(format!(
                    "tunnels will not follow a change of this host's address: {error}"
                ));
            }
        };
        let follower = Arc::downgrade(self);
        let follow = move || {
            // Something may have changed before anybody listened.
            let mut look_again = Some(Duration::ZERO);
            loop {
                let change = match watch.wait(look_again) {
                    Ok(change) => change,
                    Err(error) => {
                        tracing::warn!(%error, "the watch over links and addresses ended");
                        return;
                    }
                };
                let Some(follower) = follower.upgrade() else {
                    return;
                };
                let start = Instant::now();
                look_again = match follower.follow_links(&change, look_again.is_some()) {
                    Ok(true) => None,
                    Ok(false) => Some(LOOK_AGAIN),
                    Err(error) => {
                        tracing::warn!(%error, "this host's addresses cannot be listed");
                        Some(LOOK_AGAIN)
                    }
                };
                drop(follower);
                std::thread::sleep(rest_after(start.elapsed()));
            }
        };
        let started = std::thread::Builder::new()
            .name("underlay".to_owned())
            .spawn(|| essential(follow));
        if let Err(error) = started {
            self.ground.warn(format!(
                "tunnels will not follow a change of this host's address: {error}"
            ));
        }
    }

    /// Makes host links and tunnels fit what changed, or all of them; `false` where something is still to be done.
    fn follow_links(&self, change: &LinkChange, all: bool) -> Result<bool, NetlinkError> {
        let is_own =
            |names: &BTreeSet<String>| names.iter().any(|name| NetworkRecord::is_host_link(name));
        let (own, others): (Vec<_>, Vec<_>) =
            change.links.values().partition(|names| is_own(names));
        let mended = match all || change.elsewhere {
            true => self.networks.mend_host_links(),
            false => self
                .networks
                .mend_host_links_of(&own.into_iter().flatten().collect()),
        };
        if mended? {
            // Somebody may do it again and again; it is not to keep the agent busy.
            std::thread::sleep(MEND_PAUSE);
        }
        match all || change.elsewhere || !others.is_empty() {
            true => self
                .networks
                .follow_uplinks()
                .and_then(|()| self.follow_underlay()),
            false => Ok(true),
        }
    }

    fn follow_underlay(&self) -> Result<bool, NetlinkError> {
        let own = own_addresses()?;
        self.networks.keep_forwarding();
        let member = self.sharing.member();
        let is_in_place = member
            .as_deref()
            .is_none_or(|member| self.follow_place(member, &own));
        self.networks.reopen_vxlan(member.as_deref(), &own);
        self.sharing.tunnels.refit();
        self.sharing.guard_tunnels(member.as_deref());
        Ok(is_in_place)
    }

    /// Before the first tunnels: the address may be gone since this host was last running. Whether it is where it was.
    pub(super) fn find_place(&self, member: &Member) -> bool {
        let before = member.address();
        match own_addresses() {
            Ok(own) => {
                self.follow_place(member, &own);
                own.contains(&before)
            }
            Err(error) => {
                tracing::warn!(%error, "this host's addresses cannot be listed");
                true
            }
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
        if let Some(quic) = self.sharing.tunnels.quic() {
            let place = SocketAddr::new(new, member.quic_address().port());
            // The socket may lag behind: it was bound to an address that had just come.
            if quic.local_address() != place
                && let Err(error) = self.sharing.tunnels.rebind_quic(place)
            {
                tracing::debug!(%error, "tunnels do not move yet");
                return false;
            }
        }
        if new == old {
            return member.tell_place().is_ok();
        }
        tracing::info!(%old, %new, "this host's address changed");
        self.sharing.be_found(member);
        if let Err(error) = member.move_to(new) {
            tracing::warn!(%error, "other hosts do not know this host's new address yet");
            return false;
        }
        true
    }
}

fn own_addresses() -> Result<BTreeSet<IpAddr>, NetlinkError> {
    let listed = Netlink::open()?.addresses()?;
    Ok(listed
        .into_iter()
        .map(|entry| entry.address.addr())
        .collect())
}

/// The address towards the manager, or on the manager itself towards the first host that there is a way to.
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

const MEND_PAUSE: Duration = Duration::from_millis(200);
/// How long an address may take until it can be used, as IPv6's duplicate address detection makes it (RFC 4862 §5.4).
const LOOK_AGAIN: Duration = Duration::from_millis(200);
