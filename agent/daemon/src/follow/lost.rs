//! Networks that are not in the store any more: removed by somebody, or lost with a store that was set back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use agent_cluster::{Member, NETWORKS};
use agent_core::shared::networks;
use agent_store::{Change, Expected};

use super::Follower;
use crate::networks::Place;
use crate::sharing::networks::put_network_back;

impl Follower {
    /// A network of this host that the store has no more.
    pub(super) fn mind_gone(&self, member: &Member, place: &Place) {
        let record = &place.record;
        let is_removed = networks::was_removed(&member.world(), record);
        if !is_removed {
            // Before a session begins nothing can be put back, and when it begins this is asked again.
            if member.session().is_none() {
                return;
            }
            match put_network_back(member, record) {
                Ok(back) => {
                    tracing::warn!(
                        network = record.name,
                        "the cluster's store had lost a network; it is put back"
                    );
                    return self.networks.renumber(member, &back);
                }
                Err(error) if error.is_of_store() => {
                    tracing::warn!(network = record.name, %error, "a network that the store has lost is put back later");
                    return member.say_again();
                }
                Err(error) => self.ground.warn(format!(
                    "the cluster's store has lost network {:?}, and it cannot be put back: {error}",
                    record.name
                )),
            }
        }
        self.let_go(place);
    }

    /// The network goes, or what is left of it is cut off.
    fn let_go(&self, place: &Place) {
        if !self.networks.abandon(&place.record.id) {
            self.endpoints.cut_off(place);
        }
    }

    /// Networks that went while nobody looked.
    pub(super) fn mind_all_gone(&self, member: &Member) {
        for place in self.networks.places() {
            if place.record.is_cut_off() {
                self.networks.drop_if_left(&place.record.id);
            } else if place.record.shared().is_some()
                && !member
                    .world()
                    .contains(&format!("{NETWORKS}{}", place.record.id))
            {
                self.mind_gone(member, &place);
            }
        }
    }

    /// Says that this host has none of the removed networks any more, so that their VNIs can be others' when they have rested.
    pub(super) fn acknowledge(&self, member: &Arc<Member>) {
        if member.session().is_none() {
            return;
        }
        let (told, removed) = {
            let world = member.world();
            let Some(told) = networks::to_acknowledge(&world, member.host()) else {
                return;
            };
            (told, networks::removed(&world).collect::<Vec<_>>())
        };
        let is_here = |id: &String| {
            let place = self.networks.place(id);
            place.is_some_and(|place| place.record.shared().is_some())
        };
        if removed.iter().any(is_here) {
            return;
        }
        let (followed, key) = told;
        // Of what was just said nobody may have heard yet, this host included.
        let said = self
            .said_followed
            .fetch_max(followed.revision, Ordering::Relaxed);
        if said >= followed.revision {
            return;
        }
        let written = Change::encode(key, &followed, Expected::Anything)
            .and_then(|change| member.store().transact(&[change]));
        if let Err(error) = written {
            self.said_followed.store(said, Ordering::Relaxed);
            tracing::debug!(%error, "VNIs of removed networks rest longer");
        }
    }
}
