//! What is told of networks and their ports.

use std::sync::{Arc, Weak};
use std::time::Duration;

use agent_core::events::{Counted, Limits, Notice, PortCounted};
use switch_core::PortId;

use super::Networks;
use super::view::Seen;
use crate::locks::lock;
use crate::panics::essential;
use crate::snapshot::since_boot;

impl Networks {
    pub(super) fn tell(&self, notice: Notice) {
        self.ground.events.tell(notice);
    }

    /// Tells from now on what only counters show.
    pub(crate) fn watch_counters(self: &Arc<Self>) {
        let limits = Limits {
            drops_per_s: self.ground.config.drops_per_s,
        };
        let networks = Arc::downgrade(self);
        let looking = std::thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || essential(|| look(&networks, limits)));
        if let Err(error) = looking {
            let why = format!("nobody tells of storms and drops: {error}");
            self.ground.warn(why);
        }
    }

    /// Tells of storms, drops and stations that moved since the last look.
    fn tell_counted(&self, counted: &mut Counted, (now, limits): (Duration, Limits)) {
        let seen: Vec<_> = {
            let table = lock(&self.table);
            table.present().map(Seen::of).collect()
        };
        let mut ports: Vec<_> = Vec::new();
        for network in &seen {
            let name = network.place.record.name.as_str();
            let owners = network.owners().into_iter();
            ports.extend(owners.map(|(port, owner)| (port, name, owner)));
            self.tell_moves(network);
        }
        ports.sort_unstable_by_key(|(port, ..)| *port);
        let ids: Vec<PortId> = ports.iter().map(|(port, ..)| *port).collect();
        let counts = self.ground.switch.counted_of(&ids);
        let looks = ports.iter().filter_map(|(port, network, owner)| {
            Some(PortCounted {
                port: port.0,
                network,
                owner,
                drops: counts.get(port)?.drop_reasons().collect(),
            })
        });
        for notice in counted.look(now, limits, looks) {
            self.tell(notice);
        }
    }

    fn tell_moves(&self, network: &Seen) {
        let Some(segment) = &network.place.segment else {
            return;
        };
        let moves = segment.bridge.fdb().take_moves();
        if moves.first.is_empty() {
            return;
        }
        let (name, owners) = (&network.place.record.name, network.owners());
        let owner = |port: PortId| owners.get(&port).map_or("", String::as_str);
        for moved in moves.first {
            let notice = Notice::port("move", moved.to.0, (name, owner(moved.to)))
                .with("mac", moved.mac)
                .with("from", owner(moved.from))
                .with("from-port", moved.from.0);
            self.tell(notice);
        }
        if moves.others > 0 {
            let notice = Notice::network(&network.place.record, "moves");
            self.tell(notice.with("others", moves.others));
        }
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
