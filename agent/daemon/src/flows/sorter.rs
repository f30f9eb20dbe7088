//! Takes samples off the workers, for whoever wants them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_core::flows::{FlowKey, Sighting};
use switch_core::{PortId, Verdict};
use switch_io::{FlowSample, FlowSamples};

use super::export::Export;
use super::{Flows, Look, Owner, State};
use crate::locks::lock;

/// The thread's own.
pub(super) struct Sorter {
    flows: Owner,
    samples: FlowSamples,
    /// The network of each port.
    places: HashMap<PortId, String>,
    /// When these were last looked up.
    looked: Option<Instant>,
    /// When samples were last taken.
    taken: Instant,
    forgot: Instant,
    export: Export,
}

impl Sorter {
    pub(super) fn new(flows: Owner) -> Self {
        let now = Instant::now();
        Self {
            flows,
            samples: FlowSamples::default(),
            places: HashMap::new(),
            looked: None,
            taken: now,
            forgot: now,
            export: Export::default(),
        }
    }

    /// Until nobody wants samples any more, or the agent is gone.
    pub(super) fn run(mut self) {
        let mut pause = BUSY;
        loop {
            std::thread::sleep(pause);
            let Some(flows) = self.flows.upgrade() else {
                return;
            };
            let count = self.round(&flows);
            pause = if count > 0 { BUSY } else { QUIET };
            let mut state = lock(&flows.state);
            flows.set_rate(&mut state);
            if state.idle.is_some_and(|since| since.elapsed() > LINGER) {
                flows.set_every(&mut state, None);
                state.pace = Default::default();
                state.is_sorted = false;
                return;
            }
            if !state.looks.is_empty() {
                pause = BUSY;
            }
        }
    }

    /// Takes what there is and passes it on; how many samples it was.
    fn round(&mut self, flows: &Arc<Flows>) -> usize {
        flows.ground.switch.take_samples(&mut self.samples);
        let span = self.taken.elapsed();
        self.taken = Instant::now();
        let count = self.samples.iter().count();
        Flows::count(&flows.counts.samples, u64::try_from(count).unwrap_or(0));
        Flows::count(&flows.counts.lost, self.samples.lost);
        self.find_places(flows);
        self.export.pass_on(flows, &self.samples);
        let mut state = lock(&flows.state);
        self.sort(flows, &mut state);
        let passed = self.samples.iter().map(FlowSample::stands_for).sum();
        state.pace = state.pace.after(passed, span);
        let State {
            looks, standing, ..
        } = &mut *state;
        for look in looks.values_mut().chain(standing.values_mut()) {
            look.lost += self.samples.lost;
        }
        if self.forgot.elapsed() > FORGET_EVERY {
            self.forgot = Instant::now();
            forget(flows, &mut state);
        }
        count
    }

    /// Looks ports up where one is new, but not for each of those that are gone.
    fn find_places(&mut self, flows: &Flows) {
        let mut samples = self.samples.iter();
        let is_new = samples.any(|sample| !self.places.contains_key(&sample.ingress));
        let may_look = self
            .looked
            .is_none_or(|looked| looked.elapsed() > LOOK_EVERY);
        if is_new && may_look {
            self.looked = Some(Instant::now());
            let ports = flows.networks.named_ports().into_iter();
            self.places = ports.map(|(network, port)| (port.port, network)).collect();
        }
    }

    fn sort(&self, flows: &Flows, state: &mut State) {
        let now = flows.ground.switch.now();
        let stands = flows.ground.config.flows.sample.is_some();
        for sample in self.samples.iter() {
            let Some(network) = self.places.get(&sample.ingress) else {
                continue;
            };
            let Some(sighting) = sighting(sample) else {
                continue;
            };
            let key = FlowKey::new(sample.ingress, &sample.summary);
            let looks = state.looks.values_mut();
            for look in looks.filter(|look| look.network == *network) {
                look.table.add(now, &key, &sighting);
            }
            if stands {
                if !state.standing.contains_key(network) {
                    let look = Look::new(&flows.networks, network, None);
                    state.standing.insert(network.clone(), look);
                }
                let look = state.standing.get_mut(network);
                look.into_iter()
                    .for_each(|look| look.table.add(now, &key, &sighting));
            }
        }
    }
}

/// What a sample says of its flow: a frame that was dropped is told for itself, others stand for more.
fn sighting(sample: &FlowSample) -> Option<Sighting> {
    let frames = u64::from(sample.frames).max(1);
    let verdict = sample.verdict;
    if matches!(verdict, Verdict::Drop(_)) {
        return Some(Sighting {
            verdict,
            frames,
            bytes: sample.bytes,
        });
    }
    let stands_for = sample.stands_for();
    let bytes = u128::from(sample.bytes) * u128::from(stands_for) / u128::from(frames);
    (stands_for > 0).then(|| Sighting {
        verdict,
        frames: stands_for,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
    })
}

fn forget(flows: &Flows, state: &mut State) {
    state
        .standing
        .retain(|id, _| flows.networks.place(id).is_some());
    let now = flows.ground.switch.now();
    let then = now.as_millis().saturating_sub(FORGOTTEN_AFTER_MS);
    for look in state.standing.values_mut() {
        look.table
            .forget_before(switch_core::Time::from_millis(then));
    }
}

/// Between two looks at what was sampled, while something is, and while nothing is and nobody waits for it.
const BUSY: Duration = Duration::from_millis(100);
const QUIET: Duration = Duration::from_millis(500);
/// Who looks again within that time finds the rate as it was.
const LINGER: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const FORGET_EVERY: Duration = Duration::from_secs(10);
const FORGOTTEN_AFTER_MS: u64 = 300_000;
