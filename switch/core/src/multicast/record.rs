//! What the hosts behind one port want of one group.
//!
//! # Theory of operation
//!
//! The router's state machine of RFC 3376 §6.4 and RFC 3810 §7.4, which are the same. A record *includes* sources, each for its
//! time, or *excludes* some and takes all others, until its own time is over:
//!
//! | state        | report   | becomes            | times                      | asked        |
//! |--------------|----------|--------------------|----------------------------|--------------|
//! | INCLUDE(A)   | IS_IN(B) | INCLUDE(A+B)       | B = GMI                    |              |
//! | INCLUDE(A)   | IS_EX(B) | EXCLUDE(A*B, B-A)  | group = GMI                |              |
//! | INCLUDE(A)   | ALLOW(B) | INCLUDE(A+B)       | B = GMI                    |              |
//! | INCLUDE(A)   | BLOCK(B) | INCLUDE(A)         |                            | A*B          |
//! | INCLUDE(A)   | TO_EX(B) | EXCLUDE(A*B, B-A)  | group = GMI                | A*B          |
//! | INCLUDE(A)   | TO_IN(B) | INCLUDE(A+B)       | B = GMI                    | A-B          |
//! | EXCLUDE(X,Y) | IS_IN(A) | EXCLUDE(X+A, Y-A)  | A = GMI                    |              |
//! | EXCLUDE(X,Y) | IS_EX(A) | EXCLUDE(A-Y, Y*A)  | A-X-Y = GMI, group = GMI   |              |
//! | EXCLUDE(X,Y) | ALLOW(A) | EXCLUDE(X+A, Y-A)  | A = GMI                    |              |
//! | EXCLUDE(X,Y) | BLOCK(A) | EXCLUDE(X+(A-Y),Y) | A-X-Y = group              | A-Y          |
//! | EXCLUDE(X,Y) | TO_EX(A) | EXCLUDE(A-Y, Y*A)  | A-X-Y = group, group = GMI | A-Y          |
//! | EXCLUDE(X,Y) | TO_IN(A) | EXCLUDE(X+A, Y-A)  | A = GMI                    | X-A, G       |
//!
//! What is asked has so much time left as the answer may take, unless it is reported again. A source whose time is over is not
//! included any more, or is blocked; a record that excludes and whose time is over includes what is left. One that includes nobody is
//! gone.
//!
//! Bound: [`SOURCES_MAX`] sources. A record that would have more takes all.

use std::collections::BTreeMap;
use std::time::Duration;

use super::address::Address;
use super::message::Change;
use crate::Time;

/// The wishes behind one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    mode: FilterMode,
    /// Of one that excludes: until when.
    expires: Time,
    /// Until when each is wanted; `None` is blocked, and only there where the record excludes.
    sources: BTreeMap<Address, Option<Time>>,
}

/// What a record's sources are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterMode {
    /// All that are wanted.
    Include,
    /// Those that are not, and some that are on their way to be neither.
    Exclude,
}

/// What has to be asked before less is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doubt {
    pub(crate) group: bool,
    pub(crate) sources: Vec<Address>,
}

impl Doubt {
    pub(crate) const fn is_none(&self) -> bool {
        !self.group && self.sources.is_empty()
    }
}

impl Record {
    /// Nobody has said anything: it includes nobody.
    pub(crate) const fn new() -> Self {
        Self {
            mode: FilterMode::Include,
            expires: Time::from_millis(0),
            sources: BTreeMap::new(),
        }
    }

    /// A host behind the port has reported.
    pub(crate) fn hear(&mut self, now: Time, change: Change, list: &[Address]) -> Doubt {
        let until = now + MEMBERSHIP;
        match change {
            Change::IsInclude | Change::Allow => {
                self.want(list, until);
                Doubt::default()
            }
            Change::ToInclude => {
                let doubt = Doubt {
                    group: self.mode == FilterMode::Exclude,
                    sources: self
                        .wanted()
                        .filter(|known| !list.contains(known))
                        .collect(),
                };
                self.want(list, until);
                doubt
            }
            Change::IsExclude => {
                self.exclude(list, until, until);
                Doubt::default()
            }
            Change::ToExclude => {
                let anew = match self.mode {
                    FilterMode::Include => until,
                    FilterMode::Exclude => self.expires,
                };
                self.exclude(list, anew, until);
                self.doubt_of_wanted(list)
            }
            Change::Block => {
                if self.mode == FilterMode::Exclude {
                    for source in list {
                        self.sources.entry(*source).or_insert(Some(self.expires));
                    }
                }
                self.doubt_of_wanted(list)
            }
        }
    }

    fn want(&mut self, list: &[Address], until: Time) {
        self.sources
            .extend(list.iter().map(|source| (*source, Some(until))));
    }

    /// Those of `list` alone are not taken from now on: of those that are wanted, not yet. What an excluding record has not heard
    /// of is wanted until `anew`.
    fn exclude(&mut self, list: &[Address], anew: Time, until: Time) {
        let before = std::mem::take(&mut self.sources);
        let unheard = match self.mode {
            FilterMode::Include => None,
            FilterMode::Exclude => Some(anew),
        };
        let after = list
            .iter()
            .map(|source| (*source, before.get(source).copied().unwrap_or(unheard)));
        self.sources = after.collect();
        self.mode = FilterMode::Exclude;
        self.expires = until;
    }

    fn doubt_of_wanted(&self, list: &[Address]) -> Doubt {
        let is_wanted = |source: &&Address| matches!(self.sources.get(source), Some(Some(_)));
        Doubt {
            group: false,
            sources: list.iter().filter(is_wanted).copied().collect(),
        }
    }

    fn wanted(&self) -> impl Iterator<Item = Address> {
        let wanted = self.sources.iter().filter(|(_, until)| until.is_some());
        wanted.map(|(source, _)| *source)
    }

    /// Whether there are more sources than are kept; then all are taken.
    pub(crate) fn widen(&mut self, now: Time) -> bool {
        let is_too_long = self.sources.len() > SOURCES_MAX;
        if is_too_long {
            self.take_all(now);
        }
        is_too_long
    }

    /// Every source from now on.
    pub(crate) fn take_all(&mut self, now: Time) {
        self.mode = FilterMode::Exclude;
        self.expires = now + MEMBERSHIP;
        self.sources.clear();
    }

    /// What is in doubt has until then, and not longer.
    pub(crate) fn shorten(&mut self, doubt: &Doubt, until: Time) {
        if doubt.group {
            self.expires = self.expires.min(until);
        }
        for source in &doubt.sources {
            if let Some(Some(wanted)) = self.sources.get_mut(source) {
                *wanted = (*wanted).min(until);
            }
        }
    }

    /// What of a doubt nobody has answered: it has no longer than until then.
    pub(crate) fn still_in(&self, doubt: &Doubt, until: Time) -> Doubt {
        let is_short = |source: &&Address| match self.sources.get(source) {
            Some(Some(wanted)) => *wanted <= until,
            _ => false,
        };
        let is_excluding = self.mode == FilterMode::Exclude;
        Doubt {
            group: doubt.group && is_excluding && self.expires <= until,
            sources: doubt.sources.iter().filter(is_short).copied().collect(),
        }
    }

    /// Forgets what is over. Whether something changed.
    pub(crate) fn age(&mut self, now: Time) -> bool {
        let before = (self.mode, self.sources.len());
        let mut is_blocked_anew = false;
        if self.mode == FilterMode::Exclude && self.expires <= now {
            self.mode = FilterMode::Include;
            self.sources.retain(|_, until| until.is_some());
        }
        match self.mode {
            FilterMode::Include => self
                .sources
                .retain(|_, until| until.is_some_and(|until| until > now)),
            FilterMode::Exclude => {
                for until in self.sources.values_mut() {
                    if until.is_some_and(|until| until <= now) {
                        *until = None;
                        is_blocked_anew = true;
                    }
                }
            }
        }
        is_blocked_anew || before != (self.mode, self.sources.len())
    }

    /// Nobody is left.
    pub(crate) fn is_gone(&self) -> bool {
        self.mode == FilterMode::Include && self.sources.is_empty()
    }

    /// When something of it is over next.
    pub(crate) fn due(&self) -> Option<Time> {
        let own = (self.mode == FilterMode::Exclude).then_some(self.expires);
        let of_sources = self.sources.values().flatten().copied();
        of_sources.chain(own).min()
    }

    /// Whether frames of that source are wanted.
    pub(crate) fn passes(&self, source: Address) -> bool {
        match (self.mode, self.sources.get(&source)) {
            (FilterMode::Include, known) => matches!(known, Some(Some(_))),
            (FilterMode::Exclude, known) => !matches!(known, Some(None)),
        }
    }

    pub(crate) const fn mode(&self) -> FilterMode {
        self.mode
    }

    /// Until when it excludes, if it does.
    pub(crate) fn expires(&self) -> Option<Time> {
        (self.mode == FilterMode::Exclude).then_some(self.expires)
    }

    pub(crate) const fn sources(&self) -> &BTreeMap<Address, Option<Time>> {
        &self.sources
    }
}

/// Group membership interval (RFC 3376 §8.4), multicast address listening interval (RFC 3810 §9.4): twice the query interval and
/// the response interval.
pub(crate) const MEMBERSHIP: Duration = Duration::from_secs(260);
/// As many as the kernel's bridge keeps.
pub(crate) const SOURCES_MAX: usize = 32;
