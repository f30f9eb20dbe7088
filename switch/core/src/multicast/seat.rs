//! What is known of a port, beside the groups that are wanted there.

use std::time::Duration;

use super::address::Family;
use super::query::Asker;
use crate::{PortConfig, PortKind, Time};

/// One port of a bridge that snoops.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) kind: PortKind,
    /// Somebody said that a router is there.
    pub(crate) is_router: bool,
    /// Until when one is, because it was heard.
    pub(crate) router_until: [Option<Time>; 2],
    /// Until when it gets everything.
    pub(crate) everything_until: Option<Time>,
    /// How often it was asked since it came.
    asked: u8,
    /// When it is asked again; as soon as possible where that is not said.
    ask_at: Option<Time>,
}

impl Seat {
    pub(crate) fn new(config: &PortConfig) -> Self {
        let is_asked = config.kind != PortKind::Edge;
        Self {
            kind: config.kind,
            is_router: config.multicast_router,
            router_until: [None; 2],
            // Until it has been asked.
            everything_until: is_asked.then_some(FOREVER),
            asked: if is_asked { 0 } else { FIRST_QUESTIONS },
            ask_at: None,
        }
    }

    /// Behind it are many stations, of which each leaves for itself.
    pub(crate) const fn is_shared(&self) -> bool {
        !matches!(self.kind, PortKind::Tap)
    }

    pub(crate) const fn is_tunnel(&self) -> bool {
        matches!(self.kind, PortKind::Tunnel)
    }

    /// Whether the bridge asks there again and again.
    pub(crate) const fn is_local(&self) -> bool {
        !matches!(self.kind, PortKind::Tunnel | PortKind::Edge)
    }

    pub(crate) const fn is_router(&self, family: Family) -> bool {
        self.is_router || self.router_until[family.index()].is_some()
    }

    /// As whom it is asked by a bridge that is `own`. The host would take the gateway's address for its own, and not listen; another
    /// host's bridge would take it for a lie.
    pub(crate) const fn asker(&self, own: Asker) -> Asker {
        match self.kind {
            PortKind::Host | PortKind::Tunnel => Asker::NOBODY,
            _ => own,
        }
    }

    /// When it has to be asked because it is new.
    pub(crate) fn ask_at(&self) -> Option<Time> {
        (self.asked < FIRST_QUESTIONS).then(|| self.ask_at.unwrap_or_default())
    }

    /// It is asked now.
    pub(crate) fn ask(&mut self, now: Time) {
        if self.asked == 0 && self.everything_until == Some(FOREVER) {
            self.everything_until = Some(now + SETTLING);
        }
        self.asked += 1;
        self.ask_at = Some(now + BETWEEN_FIRST_QUESTIONS);
    }

    /// Forgets what is over. Whether something was.
    pub(crate) fn age(&mut self, now: Time) -> bool {
        let until = self
            .router_until
            .iter_mut()
            .chain([&mut self.everything_until]);
        let mut is_over = false;
        for until in until {
            if until.is_some_and(|until| until <= now) {
                *until = None;
                is_over = true;
            }
        }
        is_over
    }

    /// When something is over or due next.
    pub(crate) fn due(&self) -> Option<Time> {
        let until = self.router_until.iter().chain([&self.everything_until]);
        let until = until.flatten().copied().filter(|until| *until != FOREVER);
        until.chain(self.ask_at()).min()
    }
}

const FOREVER: Time = Time::from_millis(u64::MAX);
/// A port that is new is asked so often (RFC 3376 §8.7), the second time in case that the first was lost.
const FIRST_QUESTIONS: u8 = 2;
const BETWEEN_FIRST_QUESTIONS: Duration = Duration::from_millis(1500);
/// What hosts have to answer the first questions.
pub(crate) const FIRST_RESPONSE: Duration = Duration::from_secs(1);
/// From the first question until every answer to the second is here.
const SETTLING: Duration = Duration::from_secs(3);
