//! Looking again at networks of the cluster: those that are kept out of this host, and those that something came to overlap.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_cluster::{ENDPOINTS, Member, NETWORKS};
use agent_core::ipam::SubnetInUse;
use agent_core::record::NetworkRecord;
use agent_core::shared::{Difference, Entry, networks};
use agent_host::netlink::LinkWatch;

use super::{Follower, decode};
use crate::panics::essential;

/// Whether somebody watches for what is in the way to come and go.
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
        if !new.is_empty() {
            let obstacles = self.obstacles(member);
            for record in new {
                let id = record.id.clone();
                if self.networks.adopt(record, &obstacles) {
                    self.follow_network(member, &id);
                }
            }
        }
        if self.has_to_watch() {
            self.watch_routes();
        }
    }

    fn obstacles(&self, member: &Member) -> Vec<SubnetInUse> {
        let mut obstacles = self.networks.obstacles();
        obstacles.extend(networks::hosts(&member.world()));
        obstacles
    }

    fn has_to_watch(&self) -> bool {
        self.networks.keeps_out() || self.networks.can_be_overlapped()
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

    /// As long as routes matter to some network of the cluster, they are watched.
    fn watch_routes(&self) {
        if self.watched.0.swap(true, Ordering::Relaxed) {
            return;
        }
        let follower = self.this.clone();
        let mut watch = match LinkWatch::with_routes() {
            Ok(watch) => watch,
            Err(error) => {
                self.watched.0.store(false, Ordering::Relaxed);
                return self.ground.warn(format!("{UNWATCHED}: {error}"));
            }
        };
        let look = move || {
            let mut has_changed = true;
            loop {
                let Some(follower) = follower.upgrade() else {
                    return;
                };
                let begin = Instant::now();
                // Name servers change in silence.
                follower.look_again();
                if has_changed {
                    follower.mind_overlaps();
                }
                if !follower.has_to_watch() {
                    follower.watched.0.store(false, Ordering::Relaxed);
                    // One may have come since.
                    if follower.has_to_watch() {
                        follower.watch_routes();
                    }
                    return;
                }
                drop(follower);
                // A busy router has many routes, and changes them all the time.
                std::thread::sleep(begin.elapsed() * REST);
                let change = watch.wait(Some(LOOK_AGAIN));
                has_changed = change.map_or_else(
                    |error| {
                        tracing::warn!(%error, "the watch over routes ended");
                        std::thread::sleep(LOOK_AGAIN);
                        true
                    },
                    |change| !change.is_none(),
                );
            }
        };
        let started = std::thread::Builder::new()
            .name("routes".to_owned())
            .spawn(|| essential(look));
        if let Err(error) = started {
            self.watched.0.store(false, Ordering::Relaxed);
            self.ground.warn(format!("{UNWATCHED}: {error}"));
        }
    }

    fn mind_overlaps(&self) {
        if let Some(member) = self.sharing.member() {
            self.networks.mind_overlaps(&self.obstacles(&member));
        }
    }
}

const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Looking takes a fiftieth of the time at most.
const REST: u32 = 50;
const UNWATCHED: &str = "networks of the cluster are not looked at when this host's routes change";
