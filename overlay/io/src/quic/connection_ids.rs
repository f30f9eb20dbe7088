//! Connection identifiers, which say which of two runs of a host gave them out.

use std::fmt;

use quinn_proto::{ConnectionId, ConnectionIdGenerator, HashedConnectionIdGenerator, InvalidCid};

/// What tells the identifiers of a run from those of the run before it: one bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    #[default]
    Even,
    Odd,
}

impl Mark {
    pub const ALL: [Self; 2] = [Self::Even, Self::Odd];

    /// That of the next run.
    #[must_use]
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Even => Self::Odd,
            Self::Odd => Self::Even,
        }
    }

    /// In a part of the identifier that is random.
    const fn of(byte: u8) -> Self {
        match byte & 1 {
            0 => Self::Even,
            _ => Self::Odd,
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Even => "even",
            Self::Odd => "odd",
        })
    }
}

/// Those of one run. Of the same key are all runs' of a host, so that each tells peers that the connections of an earlier one are
/// gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionIds {
    key: u64,
    pub(super) mark: Mark,
}

impl ConnectionIds {
    pub(super) const fn new(key: u64, mark: Mark) -> Self {
        Self { key, mark }
    }

    /// Of the run that gave `id` out; `None`: this host did not.
    pub(super) fn mark_of(&self, id: &[u8]) -> Option<Mark> {
        let first = *id.first()?;
        let is_ours = id.len() == LEN && self.validate(&ConnectionId::new(id)).is_ok();
        is_ours.then(|| Mark::of(first))
    }

    fn hashed(&self) -> HashedConnectionIdGenerator {
        HashedConnectionIdGenerator::from_key(self.key)
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut hashed = self.hashed();
        loop {
            // Every other one is right.
            let id = hashed.generate_cid();
            if Mark::of(id[0]) == self.mark {
                return id;
            }
        }
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        self.hashed().validate(id)
    }

    fn cid_len(&self) -> usize {
        LEN
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// As quinn makes them, in bytes.
pub(super) const LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_knows_its_own_and_the_others() {
        for mark in Mark::ALL {
            let mut ids = ConnectionIds::new(7, mark);
            let next = ConnectionIds::new(7, mark.other());
            for _ in 0..100 {
                let id = ids.generate_cid();
                assert_eq!(id.len(), LEN);
                assert_eq!(next.mark_of(&id), Some(mark));
                assert!(next.validate(&id).is_ok());
            }
        }
    }

    #[test]
    fn what_others_gave_out_has_no_mark() {
        let ids = ConnectionIds::new(7, Mark::Even);
        let strange = ConnectionIds::new(8, Mark::Even).generate_cid();
        for id in [&strange[..], &[], &[1; 20], &[0; 3]] {
            assert_eq!(ids.mark_of(id), None);
        }
    }
}
