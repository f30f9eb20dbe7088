//! Finds loops, and blocks the port that closes one, or that sends what only switches send.
//!
//! # Theory of operation
//!
//! Workers tell what bridges suspect and which probes came back; a [`LoopFinder`] for each bridge that ever suspected something
//! decides; this thread sends the probes, blocks, and tells the owner. Where nothing is suspected it waits, without a timer.
//!
//! A sandbox may send back its probes as fast as it can. What waits is bounded, and after each that came back there is a pause,
//! so that looking at them costs next to nothing.

use std::io;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use switch_core::vlan::Vid;
use switch_core::{Block, Bridge, LoopAct, LoopFinder, PortId, Probe, Time, VnetHeader};

use super::desk::Desk;
use super::quarantine::Quarantine;
use super::rounds::Rounds;
use crate::contained::contained;
use crate::events::SwitchEvent;
use crate::lookout::{Lookout, Sighting, Sightings};

/// The thread that looks for loops; stops when this is dropped.
#[derive(Debug)]
pub(super) struct Loops {
    lookout: Lookout,
    thread: Option<JoinHandle<()>>,
}

impl Loops {
    pub(super) fn start(sightings: Sightings, desk: Arc<Desk>, start: Instant) -> io::Result<Self> {
        let lookout = sightings.lookout();
        let mut watch = Watch {
            desk,
            start,
            bridges: Vec::new(),
            rounds: Rounds::default(),
            quarantine: Quarantine::default(),
        };
        let thread = std::thread::Builder::new()
            .name("switch-loops".into())
            .spawn(move || watch.run(&sightings))?;
        Ok(Self {
            lookout,
            thread: Some(thread),
        })
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        self.lookout.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Watch {
    desk: Arc<Desk>,
    start: Instant,
    /// Those that ever suspected something.
    bridges: Vec<(Weak<Bridge>, LoopFinder)>,
    /// Questions to hosts about their groups, which wait for their time as well.
    rounds: Rounds,
    /// Ports that sent a BPDU.
    quarantine: Quarantine,
}

impl Watch {
    fn run(&mut self, sightings: &Sightings) {
        loop {
            let sighting = sightings.next_before(self.due());
            match sighting {
                Ok(Sighting::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(sighting) => {
                    let came_back = matches!(sighting, Sighting::Probe(..));
                    contained("looking at a loop", || self.take(sighting));
                    if came_back {
                        std::thread::sleep(PAUSE);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            contained("looking for loops", || self.go_on());
        }
    }

    fn due(&self) -> Option<Instant> {
        let due = self
            .bridges
            .iter()
            .filter_map(|(_, finder)| finder.poll_timeout());
        let due = due
            .chain(self.rounds.due())
            .chain(self.quarantine.poll_timeout());
        let due = due.min()?;
        let due = Duration::from_millis(due.as_millis());
        Some(self.start + due)
    }

    fn take(&mut self, sighting: Sighting) {
        let now = self.now();
        match sighting {
            Sighting::Call(bridge) => self.rounds.begin(&bridge),
            Sighting::Suspicion(bridge, vlan) => self.finder(&bridge).suspect(now, vlan),
            Sighting::Probe(bridge, probe, by) => {
                let kind_of = |id| {
                    let config = bridge.port_config(id);
                    config
                        .filter(LoopFinder::is_probed)
                        .map(|config| config.kind)
                };
                if self.are_apart(&bridge, probe.port, by) {
                    return;
                }
                let port = self.finder(&bridge).came_back(now, probe, by, kind_of);
                if let Some(port) = port {
                    self.block(&bridge, port, (probe, by));
                }
            }
            Sighting::Bpdu(bridge, port) => {
                if self.quarantine.take_in(now, &bridge, port) {
                    let event = SwitchEvent::PortBlocked(port, Block::Bpdu);
                    self.desk.events.emit(event);
                }
            }
            Sighting::Stop => {}
        }
    }

    /// Whether no frame goes from one of the ports to the other: then nothing goes round.
    fn are_apart(&self, bridge: &Bridge, one: PortId, other: PortId) -> bool {
        let group = |id| bridge.port_config(id).map(|config| config.group);
        let groups = group(one).zip(group(other));
        one != other && groups.is_some_and(|(one, other)| one.separates(other))
    }

    fn block(&self, bridge: &Bridge, port: PortId, (probe, by): (Probe, PortId)) {
        let why = Block::Loop(probe.vlan);
        if !bridge.block(port, why) {
            return;
        }
        // Whoever lives in the loop may have been learned at either of its ends.
        for end in [probe.port, by] {
            bridge.fdb().flush_learned(end);
        }
        tracing::warn!(
            port = port.0,
            left_by = probe.port.0,
            came_by = by.0,
            vlan = probe.vlan.map(Vid::get),
            "a port is blocked: a frame came back by it"
        );
        self.desk.events.emit(SwitchEvent::PortBlocked(port, why));
    }

    /// Does what is due.
    fn go_on(&mut self) {
        let now = self.now();
        self.rounds.ask(&self.desk, now);
        for port in self.quarantine.let_go(now) {
            let event = SwitchEvent::PortUnblocked(port, Block::Bpdu);
            self.desk.events.emit(event);
        }
        self.bridges.retain_mut(|(bridge, finder)| {
            let Some(bridge) = bridge.upgrade() else {
                return false;
            };
            for act in finder.handle_timeout(now) {
                match act {
                    LoopAct::Probe { round, vlan } => {
                        send(&self.desk, &bridge, (round, vlan));
                    }
                    LoopAct::Unblock(port, vlan) => {
                        open(&self.desk, &bridge, (port, Block::Loop(vlan)));
                    }
                }
            }
            true
        });
    }

    fn finder(&mut self, bridge: &Arc<Bridge>) -> &mut LoopFinder {
        let is_it = |known: &Weak<Bridge>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(bridge));
        let known = self.bridges.iter().position(|(known, _)| is_it(known));
        let at = known.unwrap_or_else(|| {
            self.bridges
                .push((Arc::downgrade(bridge), bridge.loop_finder()));
            self.bridges.len() - 1
        });
        &mut self.bridges[at].1
    }

    fn now(&self) -> Time {
        Time::at(self.start, Instant::now())
    }
}

/// One that is not taken is lost: there is a next round.
fn send(desk: &Desk, bridge: &Bridge, (round, vlan): (u64, Option<Vid>)) {
    let is_probed = |id: &PortId| {
        let config = bridge.port_config(*id);
        config.is_some_and(|config| LoopFinder::is_probed(&config))
    };
    let ids: Vec<_> = bridge.ports().into_iter().filter(is_probed).collect();
    for port in desk.registry.ports(&ids) {
        let probe = Probe {
            port: port.id,
            round,
            vlan,
        };
        let Some(written) = bridge.write_probe(probe) else {
            continue;
        };
        let envelope = [&VnetHeader::NONE.to_bytes()[..], &written].concat();
        if !port.is_down() {
            port.device.write(&[&envelope]);
        }
    }
}

fn open(desk: &Desk, bridge: &Bridge, (port, why): (PortId, Block)) {
    if bridge.unblock(port, why) {
        tracing::info!(port = port.0, "a port is open again: no frame comes back");
        desk.events.emit(SwitchEvent::PortUnblocked(port, why));
    }
}

/// After a probe that came back.
const PAUSE: Duration = Duration::from_micros(500);
