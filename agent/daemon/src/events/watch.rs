//! What only counters show: storms, drops in numbers, stations that move.

use std::sync::{Arc, Weak};
use std::time::Duration;

use agent_core::events::{Counted, Limits};

use crate::ground::Ground;
use crate::networks::Networks;
use crate::panics::essential;
use crate::snapshot::since_boot;

/// Looks at the switch's counters until the networks are gone.
pub(crate) fn watch(ground: &Ground, networks: &Arc<Networks>) {
    let limits = Limits {
        drops_per_s: ground.config.drops_per_s,
    };
    let networks = Arc::downgrade(networks);
    let looking = std::thread::Builder::new()
        .name("events".to_owned())
        .spawn(move || essential(|| look(&networks, limits)));
    if let Err(error) = looking {
        ground.warn(format!("nobody tells of storms and drops: {error}"));
    }
}

fn look(networks: &Weak<Networks>, limits: Limits) {
    let mut counted = Counted::default();
    while let Some(networks) = networks.upgrade() {
        networks.tell_counted(&mut counted, (since_boot(), limits));
        drop(networks);
        std::thread::sleep(LOOK);
    }
}

/// A thousand ports cost a few milliseconds of a second.
const LOOK: Duration = Duration::from_secs(2);
