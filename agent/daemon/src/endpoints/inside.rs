//! What happens to an endpoint's link inside its sandbox.
//!
//! # Theory of operation
//!
//! The agent hears of every change of links and addresses in the sandboxes that it attached ([`SandboxWatch`]), and looks there:
//!
//! - A link that was deleted in a sandbox that goes on is made again, with its MAC, addresses and routes. So it is with the next
//!   that was deleted, but not one that was moved away before: its owner may have put another in its place.
//! - What the owner of a sandbox set there himself stays: an MTU, a MAC, a name, addresses, a link that is down. It is told in the
//!   log, and shown with the endpoint as long as it is so.
//!
//! It looks at the links that a message was about; at all of a sandbox's where one has come that nobody knows, as it may be one
//! that was away. Who floods the agent with changes gets one look for each [`Stir`], and a rest after each ([`crate::pace`]). Where
//! the kernel drops messages that come too fast, all sandboxes are looked at, but only as often as without any message.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::endpoint::{LinkState, changed};
use agent_core::record::{EndpointRecord, NetnsId, NetworkRecord, Owner};
use agent_host::netlink::{Netlink, NetlinkError, NetnsNumber, Stir, Stirred};
use agent_host::{Netns, find_ways};
use switch_core::PortId;

use super::moved::place_of;
use super::{Endpoints, Place, open_sandbox};
use crate::seats::{Attached, Plug};

impl Endpoints {
    /// Hears of the endpoint's sandbox from now on.
    pub(super) fn attend(&self, place: &Place, attached: &Attached) {
        let Some((netns, link)) = in_sandbox(attached) else {
            return;
        };
        let heard_at = || {
            let number = Netlink::open()?.number(&netns)?;
            let index = match attached.plug.index {
                Some(index) => index,
                None => Netlink::open_in(&netns)?.link_by_name(&link)?.index,
            };
            Ok::<_, NetlinkError>((number, index))
        };
        match heard_at() {
            Ok(heard_at) => place.seats.attend(&attached.record.id, heard_at),
            Err(error) => {
                let endpoint = &attached.record.name;
                tracing::debug!(endpoint, %error, "changes in a sandbox are not seen");
            }
        }
    }

    /// The same of all endpoints that there are.
    pub(super) fn attend_all(&self) {
        for (place, attached) in self.all() {
            self.attend(&place, &attached);
        }
    }

    /// Looks where something happened.
    pub(super) fn follow(&self, stir: &Stir) {
        if *stir == Stir::default() {
            return;
        }
        let places = self.networks.places();
        let own = places.iter().flat_map(|place| place.seats.attended());
        let strange = strange(stir, own);
        let is_concerned = |record: &EndpointRecord, plug: &Plug| {
            let is_engines = matches!(record.owner, Owner::Engine(_));
            let is_stirred = plug.place.is_some_and(|(number, link)| {
                let stirred = stir.sandboxes.get(&number);
                stirred.is_some_and(|stirred| {
                    strange.contains(&number) || stirred.links.contains(&link)
                })
            });
            is_stirred || (stir.own && is_engines)
        };
        let concerned: Vec<_> = places
            .iter()
            .flat_map(|place| {
                let attached = place.seats.attached_by(is_concerned).into_iter();
                attached.map(move |attached| (place, attached))
            })
            .collect();
        let mut views = Views::of(concerned.len());
        for (place, attached) in &concerned {
            self.look(place, attached);
            self.look_inside(place, attached, &mut views);
        }
    }

    /// Looks everywhere, since something happened of which nobody knows where.
    pub(super) fn look_everywhere(&self) {
        let all = self.all();
        let mut views = Views::of(all.len());
        for (place, attached) in all {
            self.look(&place, &attached);
            self.look_inside(&place, &attached, &mut views);
        }
    }

    /// Notes what the sandbox's owner changed at the link.
    fn look_inside(&self, place: &Place, attached: &Attached, views: &mut Views) {
        let record = &attached.record;
        let Some((netns, link)) = in_sandbox(attached) else {
            return;
        };
        // One that has gone meanwhile is told elsewhere.
        let Some(found) = views.find(&netns, &link) else {
            return;
        };
        let given = given(&place.record, record, &attached.plug);
        let changes = changed(&given, &found);
        if !place.seats.note_changed(&record.id, &changes) {
            return;
        }
        let (endpoint, network) = (&record.name, &place.record.name);
        if changes.is_empty() {
            tracing::info!(endpoint, network, "link is as it was given again");
        }
        for change in changes {
            tracing::info!(endpoint, network, "link {change}, by its sandbox's owner");
        }
    }

    /// A link was deleted behind the agent's back, or has gone with its namespace.
    pub(super) fn port_gone(&self, port: PortId) {
        if self.networks.host_port_gone(port) || self.networks.uplink_gone(port) {
            return;
        }
        for place in self.networks.places() {
            let Some(attached) = place.seats.behind(port) else {
                continue;
            };
            let is_home = attached.record.moved.is_none();
            match &attached.record.owner {
                Owner::Container(_) | Owner::Sandbox(_) if is_home => self.mend(&place, &attached),
                Owner::Sandbox(_) | Owner::Engine(_) => self.lose(&place, &attached),
                Owner::Container(_) => {}
            }
        }
    }

    /// Makes the endpoint's link again, where its sandbox goes on. That of a container ends when the container is seen to.
    fn mend(&self, place: &Place, attached: &Attached) {
        let (id, owner) = (&attached.record.id, &attached.record.owner);
        let Some(home) = home(attached) else {
            if matches!(owner, Owner::Sandbox(_)) {
                self.lose(place, attached);
            }
            return;
        };
        let _turn = self.turns.take(owner.clone());
        let is_same = |now: &Attached| now.plug.port == attached.plug.port;
        // It may have gone before the turn came.
        let Some(dead) = place.seats.get(id).filter(is_same) else {
            return;
        };
        if let Some(removed) = self.unplug(place, &dead) {
            let network = &place.record.id;
            self.networks.add_gone(network, &removed.counters());
        }
        let record = &dead.record;
        let (endpoint, network) = (&record.name, &place.record.name);
        let made = self.plug(place, record, &home, home.id());
        let made = made.and_then(|link| self.listen_to(place, record).map(|()| link));
        match made {
            Ok(link) => {
                tracing::warn!(
                    endpoint,
                    network,
                    link,
                    "link was deleted in its sandbox, and is there again"
                );
                self.join_company(place, record);
                if let Some(made) = place.seats.get(id) {
                    self.attend(place, &made);
                }
            }
            Err(why) => {
                self.ground.warn(format!(
                    "endpoint {endpoint:?} on network {network:?} has no link, because it was deleted in its sandbox and {why}; detach it and attach it again"
                ));
                if let Some(half) = place.seats.get(id) {
                    drop(self.unplug(place, &half));
                }
                place.seats.plug(id, Plug::nowhere(&dead.plug));
            }
        }
    }
}

/// The sandbox that the endpoint was attached in, as long as there is a way to it.
fn home(attached: &Attached) -> Option<Netns> {
    let sandbox = attached.plug.sandbox?;
    let path = find_ways(&BTreeSet::from([sandbox])).remove(&sandbox)?;
    let netns = open_sandbox(&path).ok()?;
    (netns.id() == sandbox).then_some(netns)
}

/// The sandbox and the link in it, unless that is elsewhere or an engine's.
fn in_sandbox(attached: &Attached) -> Option<(Netns, String)> {
    let (netns, link) = place_of(attached)?.ok()?;
    let is_home = attached.plug.sandbox == Some(netns.id()) && !netns.is_own();
    is_home.then_some((netns, link))
}

/// Namespaces in which a link came that is none of `own`.
fn strange(stir: &Stir, own: impl Iterator<Item = (NetnsNumber, u32)>) -> BTreeSet<NetnsNumber> {
    let come = |stirred: &Stirred| &stirred.links - &stirred.gone;
    let stirred = stir.sandboxes.iter();
    let mut unknown: BTreeMap<_, _> = stirred.map(|(at, stirred)| (*at, come(stirred))).collect();
    for (number, link) in own {
        if let Some(links) = unknown.get_mut(&number) {
            links.remove(&link);
        }
    }
    unknown.retain(|_, links| !links.is_empty());
    unknown.into_keys().collect()
}

/// Links as they are: a few are asked for one by one, of many those of a sandbox are listed together.
enum Views {
    Single,
    Listed(BTreeMap<NetnsId, BTreeMap<String, LinkState>>),
}

impl Views {
    fn of(links: usize) -> Self {
        match links {
            0..=SINGLE_MAX => Self::Single,
            _ => Self::Listed(BTreeMap::new()),
        }
    }

    /// Nothing where there is none, or it cannot be asked for.
    fn find(&mut self, netns: &Netns, link: &str) -> Option<LinkState> {
        let inside = || Netlink::open_in(netns);
        match self {
            Self::Single => inside().and_then(|mut inside| inside.state_of(link)).ok(),
            Self::Listed(seen) => {
                let list = || inside().and_then(|mut inside| inside.states());
                let links = seen
                    .entry(netns.id())
                    .or_insert_with(|| list().unwrap_or_default());
                links.get(link).cloned()
            }
        }
    }
}

const SINGLE_MAX: usize = 8;

fn given(network: &NetworkRecord, record: &EndpointRecord, plug: &Plug) -> LinkState {
    let addresses = record.addresses().into_iter();
    LinkState {
        name: record.link.clone().unwrap_or_else(|| plug.link.clone()),
        mac: Some(record.mac),
        mtu: u32::from(network.mtu),
        up: true,
        addresses: addresses
            .filter_map(|address| network.on_link(address))
            .collect(),
    }
}
