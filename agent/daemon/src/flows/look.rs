//! One look at a network's flows.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use agent_api::{ApiError, ErrorKind, FlowQuery, FlowReport};
use agent_core::flows::{self, FlowTable, Looked, Names};

use super::{Flows, Look};
use crate::locks::lock;

/// Ends when it is dropped.
pub(crate) struct Looking {
    flows: Arc<Flows>,
    network: String,
    /// Absent where what stands is told.
    id: Option<u64>,
    wait: Duration,
    top: usize,
    drops: bool,
}

/// Why nothing is looked at.
#[derive(Debug, thiserror::Error)]
enum LookAtFlows {
    #[error("network {0:?} has no switch: its driver leaves all to the host")]
    NoSwitch(String),
    #[error("{name} = {given} is out of range; take {least} to {most}")]
    Range {
        name: &'static str,
        given: u32,
        least: u32,
        most: u32,
    },
    #[error("{LOOKS_MAX} clients look at flows already; try again when one of them is done")]
    Many,
}

impl From<LookAtFlows> for ApiError {
    fn from(error: LookAtFlows) -> Self {
        let kind = match error {
            LookAtFlows::NoSwitch(_) => ErrorKind::Conflict,
            LookAtFlows::Range { .. } => ErrorKind::Invalid,
            LookAtFlows::Many => ErrorKind::Exhausted,
        };
        Self::new(kind, error.to_string())
    }
}

impl Flows {
    /// Looks at the network that is called so from now on.
    pub(crate) fn look(
        self: &Arc<Self>,
        called: &str,
        query: FlowQuery,
    ) -> Result<Looking, ApiError> {
        let top = within("top", query.top, 1..=FlowQuery::TOP_MAX)?.unwrap_or(TOP);
        let sample =
            within("sample", query.sample, 1..=FlowQuery::SAMPLE_MAX)?.and_then(NonZeroU32::new);
        let seconds = within("seconds", query.seconds, 1..=FlowQuery::SECONDS_MAX)?;
        let place = self.networks.find(called)?;
        if place.segment.is_none() {
            return Err(LookAtFlows::NoSwitch(place.record.name.clone()).into());
        }
        let network = place.record.id.clone();
        let stands = self.ground.config.flows.sample.is_some();
        let asks_for_what_stands = stands && seconds.is_none() && sample.is_none();
        let (id, wait) = match asks_for_what_stands {
            true => (None, Duration::ZERO),
            false => {
                let wait = Duration::from_secs(seconds.unwrap_or(SECONDS).into());
                (Some(self.add(&network, sample)?), wait)
            }
        };
        Ok(Looking {
            flows: Arc::clone(self),
            network,
            id,
            wait,
            top: usize::try_from(top).unwrap_or(usize::MAX),
            drops: query.drops,
        })
    }

    fn add(
        self: &Arc<Self>,
        network: &str,
        sample: Option<NonZeroU32>,
    ) -> Result<u64, LookAtFlows> {
        let look = Look::new(&self.networks, network, sample);
        let mut state = lock(&self.state);
        if state.looks.len() >= LOOKS_MAX {
            return Err(LookAtFlows::Many);
        }
        let id = state.next;
        state.next += 1;
        state.looks.insert(id, look);
        self.wake(&mut state);
        Ok(id)
    }
}

impl Looking {
    /// Waits for as long as is looked, or until the agent ends.
    pub(crate) async fn wait(&self) {
        let mut closes = self.flows.closes.subscribe();
        let closed = closes.wait_for(|closes| *closes);
        let _ = tokio::time::timeout(self.wait, closed).await;
    }

    /// What was seen.
    pub(crate) fn report(self) -> FlowReport {
        let flows = &self.flows;
        let (names, name) = flows.networks.names_for_flows(&self.network);
        let dropped = flows.networks.dropped(&self.network);
        let mut state = lock(&flows.state);
        let every = state.every.map_or(0, NonZeroU32::get);
        let taken = match self.id {
            Some(id) => state.looks.remove(&id),
            None => None,
        };
        let told = |look: &Look| self.told(look, &name, &names, (every, &dropped));
        let look = taken.as_ref().or_else(|| state.standing.get(&self.network));
        look.map_or_else(
            || {
                let looked = looked(&name, &EMPTY, every);
                flows::report(looked, &names, self.top, self.drops)
            },
            told,
        )
    }

    fn told(
        &self,
        look: &Look,
        name: &str,
        names: &Names,
        (every, dropped): (u32, &BTreeMap<String, u64>),
    ) -> FlowReport {
        let more = dropped.iter().map(|(reason, count)| {
            let before = look.dropped.get(reason).copied().unwrap_or(0);
            (reason.clone(), count.saturating_sub(before))
        });
        let looked = Looked {
            took: look.began.elapsed(),
            lost: look.lost,
            drops: more.filter(|(_, count)| *count > 0).collect(),
            ..looked(name, &look.table, every)
        };
        flows::report(looked, names, self.top, self.drops)
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        let mut state = lock(&self.flows.state);
        if let Some(id) = self.id {
            state.looks.remove(&id);
            self.flows.set_rate(&mut state);
        }
    }
}

fn looked<'t>(network: &'t str, table: &'t FlowTable, every: u32) -> Looked<'t> {
    Looked {
        network,
        table,
        took: Duration::ZERO,
        every,
        lost: 0,
        drops: BTreeMap::new(),
    }
}

fn within(
    name: &'static str,
    given: Option<u32>,
    range: RangeInclusive<u32>,
) -> Result<Option<u32>, LookAtFlows> {
    match given {
        Some(given) if !range.contains(&given) => Err(LookAtFlows::Range {
            name,
            given,
            least: *range.start(),
            most: *range.end(),
        }),
        given => Ok(given),
    }
}

static EMPTY: FlowTable = FlowTable::EMPTY;
const LOOKS_MAX: usize = 16;
const TOP: u32 = 20;
const SECONDS: u32 = 3;
