//! Entries of the store, for the copies of it.

use agent_core::shared::Entry;

/// As the world has it.
pub(crate) fn known(entry: agent_store::Entry) -> Entry {
    Entry {
        key: entry.key,
        value: entry.value,
        revision: entry.revision,
    }
}
