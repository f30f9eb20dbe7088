//! Looking again at networks of the cluster that are kept out of this host.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_cluster::{ENDPOINTS, Member, NETWORKS};
use agent_core::record::NetworkRecord;
use agent_core::shared::{Difference, Entry, networks};
use agent_host::netlink::LinkWatch;

use super::{Follower, decode};
use crate::panics::essential;

/// Whether somebody watches for what is in the way to go.
#[derive(Default)]
pub(crate) struct Watched(AtomicBool);

impl Follower {
    /// Takes networks of the cluster in, each with what is known of it.
    pub(super) fn adopt_networks(&self, member: &Member, wanted: Vec<NetworkRecord>) {
        let (here, new): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|record| {
            let place = self.networks.place(&record.id);
            place.is_some_and(|place| place.record.shared().is_some())
        });
        for record in &here {
            self.networks.renumber(member, record);
        }
        if new.is_empty() {
            return;
        }
        let mut obstacles = self.networks.obstacles();
        obstacles.extend(networks::hosts(&member.world()));
        for record in new {
            let id = record.id.clone();
            if self.networks.adopt(record, &obstacles) {
                self.follow_network(member, &id);
            }
        }
        if self.networks.keeps_out() {
            self.watch_kept_out();
        }
    }

    /// What was said of a network before it was here.
    fn follow_network(&self, member: &Member, id: &str) {
        let known: Vec<Entry> = {
            let world = member.world();
            let prefix = format!("{ENDPOINTS}{id}/");
            let entries = world.entries_under(&prefix);
            entries.map(|(_, entry)| entry.clone()).collect()
        };
        for entry in known {
            self.follow_one(member, &Difference::Put(entry));
        }
        if let (Some(place), Some(_)) = (self.networks.place(id), member.session()) {
            self.settle_place(member, &place);
        }
    }

    /// Something that was in the way may have gone.
    pub(crate) fn look_again(&self) {
        let Some(member) = self.sharing.member().filter(|_| self.networks.keeps_out()) else {
            return;
        };
        self.take_in_known(&member);
        self.follow_directory(&member);
    }

    /// Takes in what is known of networks. One that was removed here, and is in the store again as it was, is no news of the world's.
    pub(super) fn take_in_known(&self, member: &Member) {
        let wanted: Vec<_> = {
            let world = member.world();
            let networks = world.entries_under(NETWORKS);
            networks.filter_map(|(_, entry)| decode(entry)).collect()
        };
        self.adopt_networks(member, wanted);
    }

    /// As long as some network is kept out, routes and addresses are watched. Busy routers change theirs all the time: nobody
    /// watches otherwise.
    fn watch_kept_out(&self) {
        if self.watched.0.swap(true, Ordering::Relaxed) {
            return;
        }
        let follower = self.this.clone();
        let watch = match LinkWatch::with_routes() {
            Ok(watch) => watch,
            Err(error) => {
                self.watched.0.store(false, Ordering::Relaxed);
                return self.ground.warn(format!(
                    "networks that are kept out are looked at again when the cluster says something: {error}"
                ));
            }
        };
        let look = move || loop {
            // Name servers change in silence.
            if let Err(error) = watch.wait(Some(LOOK_AGAIN)) {
                tracing::warn!(%error, "the watch over routes ended");
            }
            let Some(follower) = follower.upgrade() else {
                return;
            };
            follower.look_again();
            if !follower.networks.keeps_out() {
                follower.watched.0.store(false, Ordering::Relaxed);
                // One may have come since.
                if follower.networks.keeps_out() {
                    follower.watch_kept_out();
                }
                return;
            }
        };
        let started = std::thread::Builder::new()
            .name("kept-out".to_owned())
            .spawn(|| essential(look));
        if let Err(error) = started {
            self.watched.0.store(false, Ordering::Relaxed);
            self.ground.warn(format!(
                "networks that are kept out are looked at again when the cluster says something: {error}"
            ));
        }
    }
}

const LOOK_AGAIN: Duration = Duration::from_secs(5);
