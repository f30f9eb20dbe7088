//! The frames of a network as they pass.
//!
//! # Theory of operation
//!
//! Workers call [`Watcher::see`], which puts what the filter wants into one of two short queues, drops apart, and waits for
//! nobody. A task empties both every [`PAUSE`], drops first. So a busy network is sampled, by so many frames a pause; those
//! beyond are counted, and the next line says how many. The task ends with its reader, or with the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_api::{ApiError, TraceLine, TraceResult, TraceSight, TraceVerdict};
use agent_core::trace::{self, Who};
use switch_core::{Filter, Verdict};
use switch_io::{Observer, Observing, Sight};
use tokio::sync::mpsc;
use tokio::time::{interval, sleep};

use super::super::Networks;
use super::{Ports, TraceFrames};

/// Which frames somebody follows.
pub(crate) struct Wish<'a> {
    /// By its name, or its id.
    pub(crate) network: &'a str,
    /// As a person wrote it.
    pub(crate) filter: &'a str,
    pub(crate) drops_only: bool,
}

/// A sight, and when.
#[derive(Clone, Copy)]
struct Seen {
    at_ms: u64,
    sight: Sight,
}

struct Watcher {
    filter: Filter,
    drops_only: bool,
    drops: mpsc::Sender<Seen>,
    others: mpsc::Sender<Seen>,
    missed: Arc<AtomicU64>,
}

impl Observer for Watcher {
    fn see(&self, sight: &Sight) {
        let is_drop = matches!(sight.verdict, Verdict::Drop(_));
        let is_wanted = match &sight.summary {
            Some(summary) => self.filter.matches(summary),
            None => self.filter == Filter::default(),
        };
        if !is_wanted || (self.drops_only && !is_drop) {
            return;
        }
        let queue = if is_drop { &self.drops } else { &self.others };
        let at_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
        let seen = Seen {
            at_ms,
            sight: *sight,
        };
        if queue.try_send(seen).is_err() {
            self.missed.fetch_add(sight.frames, Ordering::Relaxed);
        }
    }
}

/// What the task has in hand.
struct Live {
    networks: Arc<Networks>,
    network: String,
    ports: Ports,
    drops: mpsc::Receiver<Seen>,
    others: mpsc::Receiver<Seen>,
    missed: Arc<AtomicU64>,
    lines: mpsc::Sender<TraceLine>,
    _observing: Observing,
}

impl Networks {
    /// The frames that pass the network's switch from now on and that are wished for.
    pub(crate) fn trace_live(
        self: &Arc<Self>,
        wish: &Wish<'_>,
    ) -> Result<mpsc::Receiver<TraceLine>, ApiError> {
        let (lines, read) = mpsc::channel(QUEUE);
        self.follow_here(wish, lines)?;
        Ok(read)
    }

    /// The same into `lines`; the network's id.
    pub(super) fn follow_here(
        self: &Arc<Self>,
        wish: &Wish<'_>,
        lines: mpsc::Sender<TraceLine>,
    ) -> Result<String, ApiError> {
        let filter = wish.filter.parse().map_err(TraceFrames::Filter)?;
        let seen = self.see(wish.network)?;
        let Some(segment) = &seen.place.segment else {
            return Err(TraceFrames::NoSwitch(seen.place.record.name.clone()).into());
        };
        let ((drops_to, drops), (others_to, others)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        let missed = Arc::new(AtomicU64::new(0));
        let watcher = Watcher {
            filter,
            drops_only: wish.drops_only,
            drops: drops_to,
            others: others_to,
            missed: Arc::clone(&missed),
        };
        let switch = &self.ground.switch;
        let network = seen.place.record.id.clone();
        let live = Live {
            networks: Arc::clone(self),
            network: network.clone(),
            ports: self.ports_of(&seen, &segment.bridge),
            drops,
            others,
            missed,
            lines,
            _observing: switch.observe(&segment.bridge, Box::new(watcher)),
        };
        self.ground.runtime.spawn(live.run());
        Ok(network)
    }
}

impl Live {
    async fn run(mut self) {
        let mut look = interval(LOOK);
        loop {
            let first = tokio::select! {
                biased;
                () = self.lines.closed() => return,
                _ = look.tick() => match self.look_again() {
                    Some(()) => continue,
                    None => return,
                },
                Some(seen) = self.drops.recv() => seen,
                Some(seen) = self.others.recv() => seen,
            };
            if self.tell(first).await.is_none() {
                return;
            }
            while let Some(seen) = self.next() {
                if self.tell(seen).await.is_none() {
                    return;
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Drops first.
    fn next(&mut self) -> Option<Seen> {
        let drop = self.drops.try_recv();
        drop.or_else(|_| self.others.try_recv()).ok()
    }

    /// `None` where nobody reads any more.
    async fn tell(&mut self, seen: Seen) -> Option<()> {
        let line = TraceLine::Sight(self.line(&seen));
        self.lines.send(line).await.ok()
    }

    fn line(&mut self, Seen { at_ms, sight }: &Seen) -> TraceSight {
        let leaves = match (sight.verdict, sight.denied) {
            (Verdict::Unicast(egress), _) | (_, Some((egress, _))) => Some(egress),
            (Verdict::Reply, _) => Some(sight.ingress),
            _ => sight.egress,
        };
        let mut ids = leaves.iter().chain([&sight.ingress]);
        if !ids.all(|id| self.ports.ports.contains_key(id)) {
            self.look_again();
        }
        let denied = sight.denied;
        let detail = denied.map(|(egress, judged)| trace::judgement(judged, egress, &self.ports));
        let (result, reason) = match sight.verdict {
            Verdict::Unicast(_) => (TraceResult::Sent, None),
            Verdict::Flood => (TraceResult::Flooded, None),
            Verdict::Group(_) => (TraceResult::Multicast, None),
            Verdict::Taken => (TraceResult::Taken, None),
            Verdict::Reply => (TraceResult::Answered, None),
            Verdict::Probe => (TraceResult::Probe, None),
            Verdict::Drop(reason) => (TraceResult::Dropped, Some(reason.name().to_owned())),
        };
        TraceSight {
            host: None,
            at_ms: *at_ms,
            from: self.ports.port(sight.ingress),
            link: sight.summary.map(|summary| summary.link()),
            packet: sight.summary.and_then(|summary| summary.packet()),
            verdict: TraceVerdict {
                result,
                reason,
                ports: leaves.iter().map(|id| self.ports.port(*id)).collect(),
            },
            detail,
            frames: sight.frames,
            missed: self.missed.swap(0, Ordering::Relaxed),
        }
    }

    /// Which ports there are by now, and which rules. `None` where the network is gone.
    fn look_again(&mut self) -> Option<()> {
        let seen = self.networks.see(&self.network).ok()?;
        if let Some(segment) = &seen.place.segment {
            self.ports = self.networks.ports_of(&seen, &segment.bridge);
        }
        Some(())
    }
}

/// Frames that wait for the task, of each sort.
pub(super) const QUEUE: usize = 256;
const PAUSE: Duration = Duration::from_millis(10);
/// How often it is asked whether the network is still there, and what its rules are.
const LOOK: Duration = Duration::from_secs(1);
