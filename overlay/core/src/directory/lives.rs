//! Which hosts there are, and in which of their lives.

use std::collections::BTreeMap;
use std::time::Duration;

use switch_core::Time;

use crate::{Epoch, HostId};

/// The latest life known of each other host. There is a bound, beyond which no new host is taken note of.
#[derive(Debug)]
pub(super) struct Lives {
    hosts: BTreeMap<HostId, Life>,
    hosts_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Life {
    epoch: Epoch,
    gone_since: Option<Time>,
}

/// What a record's epoch says of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Of the life that is known.
    Current,
    /// Of a later life, or of a host that was not known.
    New,
    /// Of a life that is over.
    Over,
    /// Of a host too many.
    TooMany,
}

impl Lives {
    pub(super) const fn new(hosts_max: usize) -> Self {
        Self {
            hosts: BTreeMap::new(),
            hosts_max,
        }
    }

    pub(super) fn standing(&self, host: &HostId, epoch: Epoch) -> Standing {
        match self.hosts.get(host) {
            None if self.hosts.len() >= self.hosts_max => Standing::TooMany,
            None => Standing::New,
            Some(life) if !life.accepts(epoch) => Standing::Over,
            Some(life) if life.epoch == epoch => Standing::Current,
            Some(_) => Standing::New,
        }
    }

    pub(super) fn epoch_of(&self, host: &HostId) -> Option<Epoch> {
        self.hosts.get(host).map(|life| life.epoch)
    }

    pub(super) fn begin(&mut self, host: &HostId, epoch: Epoch) {
        let life = Life {
            epoch,
            gone_since: None,
        };
        self.hosts.insert(host.clone(), life);
    }

    /// The life is over since `now`; `false` when a later one is known, or the host is one too many.
    pub(super) fn end(&mut self, now: Time, host: &HostId, epoch: Epoch) -> bool {
        match self.hosts.get(host) {
            Some(known) if known.epoch > epoch => return false,
            None if self.hosts.len() >= self.hosts_max => return false,
            _ => {}
        }
        let life = Life {
            epoch,
            gone_since: Some(now),
        };
        self.hosts.insert(host.clone(), life);
        true
    }

    pub(super) fn forget(&mut self) {
        self.hosts.clear();
    }

    /// Forgets a host's life where that has a higher number than `epoch`.
    pub(super) fn forget_after(&mut self, host: &HostId, epoch: Epoch) {
        if self.epoch_of(host).is_some_and(|known| known > epoch) {
            self.hosts.remove(host);
        }
    }

    /// Forgets lives that are over for `limit`.
    pub(super) fn age(&mut self, now: Time, limit: Duration) {
        self.hosts
            .retain(|_, life| life.gone_since.is_none_or(|since| now < since + limit));
    }

    /// When [`Self::age`] has something to forget.
    pub(super) fn next_timeout(&self, limit: Duration) -> Option<Time> {
        let gone = self.hosts.values().filter_map(|life| life.gone_since);
        gone.min().map(|since| since + limit)
    }
}

impl Life {
    fn accepts(&self, epoch: Epoch) -> bool {
        epoch > self.epoch || epoch == self.epoch && self.gone_since.is_none()
    }
}
