//! The frames of a network as they pass on all its hosts: the side that follows.
//!
//! # Theory of operation
//!
//! Each host that has endpoints on the network is asked every [`ASK`], by letter ([`TraceLetter`]), and shows its frames for a while after
//! ([`super::shown`]). What it shows joins this host's own. A host that says nothing, or refuses, is told once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_api::{ApiError, TraceLine, TraceSight, TraceUnseen};
use agent_core::trace::{Correspondent, TraceLetter};
use overlay_core::HostId;
use tokio::sync::mpsc;
use tokio::time::interval;

use super::super::Networks;
use super::live::{QUEUE, Wish};
use crate::locks::lock;
use crate::random::random_seed;

/// The other hosts of those who follow, by their numbers.
#[derive(Default)]
pub(crate) struct Followers(BTreeMap<u64, Follower>);

struct Follower {
    letters: mpsc::Sender<(HostId, TraceLetter)>,
    hosts: BTreeSet<HostId>,
}

/// What the task has in hand.
struct Everywhere {
    networks: Arc<Networks>,
    /// By its id.
    network: String,
    filter: String,
    drops_only: bool,
    of: u64,
    hosts: BTreeMap<HostId, Correspondent>,
    lines: mpsc::Sender<TraceLine>,
    began: Instant,
}

impl Networks {
    /// As [`Networks::trace_live`], with what passes the switches of the network's other hosts.
    pub(crate) fn trace_everywhere(
        self: &Arc<Self>,
        wish: &Wish<'_>,
    ) -> Result<mpsc::Receiver<TraceLine>, ApiError> {
        let (lines, read) = mpsc::channel(QUEUE);
        let network = self.follow_here(wish, lines.clone())?;
        let (letters, came) = mpsc::channel(QUEUE);
        let of = random_seed();
        let follower = Follower {
            letters,
            hosts: BTreeSet::new(),
        };
        lock(&self.followers).0.insert(of, follower);
        let everywhere = Everywhere {
            networks: Arc::clone(self),
            network,
            filter: wish.filter.to_owned(),
            drops_only: wish.drops_only,
            of,
            hosts: BTreeMap::new(),
            lines,
            began: Instant::now(),
        };
        self.ground.runtime.spawn(everywhere.run(came));
        Ok(read)
    }

    /// A letter that answers one of this host.
    pub(super) fn hand_on(&self, host: &HostId, letter: TraceLetter) {
        let followers = lock(&self.followers);
        if let Some(follower) = followers.0.get(&letter.of()) {
            // Of sights that find no room, the next one tells.
            let _ = follower.letters.try_send((host.clone(), letter));
        }
    }
}

impl Everywhere {
    async fn run(mut self, mut came: mpsc::Receiver<(HostId, TraceLetter)>) {
        let mut ask = interval(ASK);
        loop {
            let line = tokio::select! {
                () = self.lines.closed() => return,
                _ = ask.tick() => match self.ask() {
                    Some(unseen) => unseen,
                    None => return,
                },
                Some((host, letter)) = came.recv() => Vec::from_iter(self.take(&host, letter)),
            };
            for line in line {
                if self.lines.send(line).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Asks all hosts that the network has now; which are to be told. `None` where it is gone.
    fn ask(&mut self) -> Option<Vec<TraceLine>> {
        let seen = self.networks.see(&self.network).ok()?;
        let hosts: BTreeSet<_> = seen.ways.hosts().into_iter().collect();
        let sharing = &self.networks.sharing;
        let wanted = {
            let mut followers = lock(&self.networks.followers);
            if let Some(follower) = followers.0.get_mut(&self.of) {
                follower.hosts.clone_from(&hosts);
            }
            let all = followers.0.values().flat_map(|follower| &follower.hosts);
            all.cloned().collect()
        };
        sharing.need_for_trace(wanted);
        let letter = TraceLetter::Follow {
            of: self.of,
            network: self.network.clone(),
            filter: self.filter.clone(),
            drops: self.drops_only,
        };
        let now = self.began.elapsed();
        self.hosts.retain(|host, _| hosts.contains(host));
        let mut silent = Vec::new();
        for host in hosts {
            sharing.write(&host, &letter);
            if self.hosts.entry(host.clone()).or_default().ask(now) {
                silent.push(self.unseen(&host, "it does not answer"));
            }
        }
        Some(silent)
    }

    fn take(&mut self, host: &HostId, letter: TraceLetter) -> Option<TraceLine> {
        let correspondent = self.hosts.get_mut(host)?;
        match letter {
            TraceLetter::Follow { .. } => None,
            TraceLetter::Following { .. } => {
                correspondent.answered();
                None
            }
            TraceLetter::Refused { why, .. } => {
                let is_news = correspondent.refused();
                is_news.then(|| self.unseen(host, &why))
            }
            TraceLetter::Sight { number, sight, .. } => {
                let lost = correspondent.came(number)?;
                Some(TraceLine::Sight(TraceSight {
                    host: Some(self.networks.sharing.name_of(host)),
                    missed: sight.missed.saturating_add(lost),
                    ..sight
                }))
            }
        }
    }

    fn unseen(&self, host: &HostId, why: &str) -> TraceLine {
        TraceLine::Unseen(TraceUnseen {
            host: self.networks.sharing.name_of(host),
            why: why.to_owned(),
        })
    }
}

impl Drop for Everywhere {
    fn drop(&mut self) {
        lock(&self.networks.followers).0.remove(&self.of);
    }
}

/// How often each host is asked.
const ASK: Duration = Duration::from_secs(1);
