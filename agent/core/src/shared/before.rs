//! What a transaction expects of a key that it writes.

use serde_json::Value;

use super::Entry;

/// What must be so for a key to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    Absent,
    /// By which transaction it was written last, and what: in a store that was set back, a number alone may name another write.
    Written {
        revision: u64,
        value: Value,
    },
}

impl Before {
    pub fn of(entry: &Entry) -> Self {
        Self::Written {
            revision: entry.revision,
            value: entry.value.clone(),
        }
    }

    /// Whether that is so of a key which is now this.
    pub fn is_so(&self, present: Option<&Entry>) -> bool {
        match (self, present) {
            (Self::Absent, None) => true,
            (Self::Written { revision, value }, Some(present)) => {
                *revision == present.revision && *value == present.value
            }
            _ => false,
        }
    }
}
