//! Flows: who talks to whom, for those who look and for a collector.
//!
//! # Theory of operation
//!
//! Workers sample while somebody wants samples ([`switch_io::FlowSample`]): as long as somebody looks, or for good where the
//! configuration says so. A thread takes them off the workers some times a second, finds each one's network by its port, and adds it to
//! the table of everybody who looks at that ([`agent_core::flows`]); a collector gets them as they are ([`export`]). The thread comes with
//! the first who looks and goes some seconds after the last, so that who looks time and again finds it there.
//!
//! All share one rate: the densest that anybody wants. A sample says at which rate it was taken, so that an estimate is right for all of
//! them. Who names no rate is content with what makes some thousand samples a second ([`agent_core::flows::Pace`]).

mod export;
mod look;
mod sorter;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use agent_core::flows::{FlowTable, Pace};
use tokio::sync::watch;

use self::sorter::Sorter;
use crate::ground::Ground;
use crate::locks::lock;
use crate::networks::Networks;

/// See the module's theory of operation.
pub(crate) struct Flows {
    ground: Arc<Ground>,
    networks: Arc<Networks>,
    state: Mutex<State>,
    closes: watch::Sender<bool>,
    pub(crate) counts: Counts,
}

/// What was counted since the agent's start.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) samples: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) datagrams: AtomicU64,
    pub(crate) unsent: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Those who look, by the order in which they came.
    looks: BTreeMap<u64, Look>,
    next: u64,
    /// Flows by the ids of their networks, where sampling is on for good.
    standing: BTreeMap<String, Look>,
    pace: Pace,
    /// One frame in so many is sampled.
    every: Option<NonZeroU32>,
    /// Since when nobody wants samples.
    idle: Option<Instant>,
    /// There is a thread.
    is_sorted: bool,
}

/// What somebody looks at.
struct Look {
    network: String,
    sample: Option<NonZeroU32>,
    table: FlowTable,
    began: Instant,
    lost: u64,
    /// What the network's ports had dropped before.
    dropped: BTreeMap<String, u64>,
}

impl Flows {
    pub(crate) fn new(ground: Arc<Ground>, networks: Arc<Networks>) -> Arc<Self> {
        Arc::new(Self {
            ground,
            networks,
            state: Mutex::default(),
            closes: watch::Sender::new(false),
            counts: Counts::default(),
        })
    }

    /// Samples from now on, where the configuration wants that for good.
    pub(crate) fn begin(self: &Arc<Self>) {
        if self.ground.config.flows.sample.is_some() {
            self.wake(&mut lock(&self.state));
        }
    }

    /// Ends all looks, which tell what they have.
    pub(crate) fn close(&self) {
        self.closes.send_replace(true);
    }

    /// Lets looks take their time again.
    pub(crate) fn open(&self) {
        self.closes.send_replace(false);
    }

    /// Sets the rate, and has a thread take what is sampled.
    fn wake(self: &Arc<Self>, state: &mut State) {
        self.set_rate(state);
        if state.is_sorted {
            return;
        }
        let sorter = Sorter::new(Arc::downgrade(self));
        let thread = std::thread::Builder::new().name("flows".to_owned());
        match thread.spawn(move || sorter.run()) {
            Ok(_) => state.is_sorted = true,
            Err(error) => self.ground.warn(format!(
                "flows are not told: no thread could be started: {error}"
            )),
        }
    }

    /// The densest that anybody wants.
    fn set_rate(&self, state: &mut State) {
        let wished = state.looks.values().map(|look| look.sample);
        let standing = self.ground.config.flows.sample;
        let (mut every, mut paces) = (standing, false);
        for sample in wished {
            match sample {
                Some(sample) => every = every.map_or(Some(sample), |every| Some(every.min(sample))),
                None => paces = true,
            }
        }
        let is_idle = state.looks.is_empty() && standing.is_none();
        if (paces || is_idle) && standing.is_none() {
            let pace = state.pace.every();
            every = every.map_or(Some(pace), |every| Some(every.min(pace)));
        }
        state.idle = match is_idle {
            true => state.idle.or_else(|| Some(Instant::now())),
            false => None,
        };
        self.set_every(state, every);
    }

    fn set_every(&self, state: &mut State, every: Option<NonZeroU32>) {
        if state.every != every {
            state.every = every;
            self.ground.switch.sample(every);
        }
    }

    fn count(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

impl Look {
    fn new(networks: &Networks, network: &str, sample: Option<NonZeroU32>) -> Self {
        Self {
            network: network.to_owned(),
            sample,
            table: FlowTable::new(FLOWS_MAX),
            began: Instant::now(),
            lost: 0,
            dropped: networks.dropped(network),
        }
    }
}

type Owner = Weak<Flows>;

/// Of one look.
const FLOWS_MAX: usize = 4096;
