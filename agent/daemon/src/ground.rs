//! What all owners stand on: the configuration, the switch, the journal, the runtime, and the list of what the host does not allow.

use std::sync::{Arc, Mutex};

use agent_core::events::Notice;
use switch_io::Switch;
use tokio::runtime::Handle;

use crate::config::Config;
use crate::events::Events;
use crate::guardian::Held;
use crate::journal::Journal;
use crate::locks::lock;

/// Shared by all owners; it changes nothing of theirs.
pub(crate) struct Ground {
    pub(crate) config: Config,
    pub(crate) held: Held,
    pub(crate) switch: Switch,
    pub(crate) journal: Journal,
    pub(crate) events: Arc<Events>,
    /// Runs edges, proxies and watches.
    pub(crate) runtime: Handle,
    warnings: Mutex<Vec<String>>,
}

impl Ground {
    pub(crate) fn new(
        (config, held): (Config, Held),
        switch: Switch,
        journal: Journal,
        runtime: Handle,
    ) -> Self {
        Self {
            config,
            held,
            switch,
            journal,
            events: Arc::default(),
            runtime,
            warnings: Mutex::default(),
        }
    }

    /// Something the host does not let the agent do, for `doctor`.
    pub(crate) fn warn(&self, warning: String) {
        tracing::warn!("{warning}");
        self.events
            .tell(Notice::daemon("warning").with("why", &warning));
        let mut warnings = lock(&self.warnings);
        if !warnings.contains(&warning) && warnings.len() < WARNINGS_MAX {
            warnings.push(warning);
        }
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        lock(&self.warnings).clone()
    }
}

pub(crate) const WARNINGS_MAX: usize = 32;
