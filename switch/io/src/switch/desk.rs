//! Who reads which port: additions, removals and moves, one at a time, and workers that take another's place.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use switch_core::{Block, Bridge, PortId, PortKind, Time, lock};

use super::NewPort;
use super::registry::Registry;
use crate::capture::Recorder;
use crate::error::{AddPort, StartSwitch};
use crate::events::{Events, SwitchEvent};
use crate::lookout::Lookout;
use crate::port::Port;
use crate::strikes::Strikes;
use crate::vigil::End;
use crate::worker::WorkerHandle;

/// The workers and the ports they have been given.
#[derive(Debug)]
pub(super) struct Desk {
    /// Held by who changes anything.
    workers: Mutex<Vec<WorkerHandle>>,
    pub(super) registry: Registry,
    pub(super) events: Events,
    /// Captures of whole networks.
    pub(super) standing: Mutex<Vec<(Weak<Bridge>, Recorder)>>,
    restarts: AtomicU64,
    strikes: Strikes,
    lookout: Lookout,
}

impl Desk {
    pub(super) fn new(
        workers: Vec<WorkerHandle>,
        registry: Registry,
        events: Events,
        lookout: Lookout,
    ) -> Self {
        Self {
            workers: Mutex::new(workers),
            registry,
            events,
            standing: Mutex::default(),
            restarts: AtomicU64::new(0),
            strikes: Strikes::default(),
            lookout,
        }
    }

    /// Every worker can write to the ports when this returns; nobody reads them before [`Desk::listen`]. The workers are told of
    /// all before any of them is waited for.
    pub(super) fn attach(&self, new: Vec<NewPort>) -> Vec<Result<PortId, AddPort>> {
        let mut workers = self.turn();
        let count = workers.len();
        let made = new.into_iter().map(|new| self.make(new, count));
        let made: Vec<_> = made.collect();
        let ports = || made.iter().flatten().map(|(port, _)| port);
        let told = workers.iter().map(|worker| {
            let told = ports().map(|port| worker.start_attach(Arc::clone(port)).ok());
            told.collect::<Vec<_>>()
        });
        let told: Vec<_> = told.collect();
        let mut stopped = BTreeSet::new();
        for (worker, told) in told.into_iter().enumerate() {
            let told = told.into_iter().flatten();
            let confirmed = told.filter(|told| told.recv().is_ok()).count();
            if confirmed == ports().count() {
                continue;
            }
            // It has ended, and what takes its place knows none of them.
            for port in ports() {
                let again = |worker: &WorkerHandle| worker.attach(Arc::clone(port));
                if self.ask(&mut workers, worker, again).is_err() {
                    stopped.insert(port.id);
                }
            }
        }
        let attached = made.into_iter().map(|made| {
            let (port, reader) = made?;
            let id = port.id;
            if stopped.contains(&id) {
                return Err(AddPort::WorkerStopped);
            }
            port.bridge.add_port(id, port.config.clone());
            let bridge = Arc::clone(&port.bridge);
            self.registry.insert(port, reader);
            self.hear_calls(&bridge);
            Ok(id)
        });
        attached.collect()
    }

    /// The same where that was called for and not heard.
    pub(super) fn remind(&self, bridge: &Arc<Bridge>, now: Time) {
        if bridge.queries_due().is_some_and(|due| due <= now) {
            self.lookout.call(bridge);
        }
    }

    /// Lets hosts be asked, where the bridge has something to ask.
    pub(super) fn hear_calls(&self, bridge: &Arc<Bridge>) {
        if bridge.take_call() {
            self.lookout.call(bridge);
        }
    }

    fn make(&self, new: NewPort, workers: usize) -> Result<(Arc<Port>, usize), AddPort> {
        let NewPort {
            bridge,
            device,
            config,
        } = new;
        let (id, reader) = self.registry.next().ok_or(AddPort::Exhausted)?;
        device.attached(id);
        let port = Port::new(id, device, bridge, config, workers);
        Ok((Arc::new(self.dress_newcomer(port)), reader))
    }

    /// The ports are read from now on; those that cannot be are gone, and given back with the reason. Nothing happens to one that
    /// is read, or not there.
    pub(super) fn listen(&self, ids: &[PortId]) -> Vec<(PortId, AddPort)> {
        let mut workers = self.turn();
        let begun = ids.iter().filter_map(|id| {
            let reader = self.registry.begin(*id)?;
            Some((*id, reader, workers[reader].start_listen(*id).ok()))
        });
        let begun: Vec<_> = begun.collect();
        let mut failed = Vec::new();
        for (id, reader, told) in begun {
            let outcome = told
                .and_then(|told| told.recv().ok())
                .unwrap_or_else(|| self.ask(&mut workers, reader, |worker| worker.listen(id)));
            if let Err(error) = outcome {
                drop(self.detach(&workers, id));
                failed.push((id, AddPort::Watch(error)));
            }
        }
        failed
    }

    /// The last hold on the port, if there was one.
    pub(super) fn remove(&self, id: PortId) -> Option<Arc<Port>> {
        let mut workers = self.turn();
        let gone = self.detach(&workers, id)?;
        self.end_mirrors_to(&mut workers, id);
        Some(gone)
    }

    pub(super) fn move_port(&self, id: PortId, worker: usize) {
        let mut workers = self.turn();
        if let Some(reader) = self.registry.reader(id)
            && reader != worker
            && worker < workers.len()
        {
            self.give(&mut workers, id, reader, worker);
        }
    }

    /// Hands some of what `worker` reads to the one that reads least. Whether there was something to hand.
    pub(super) fn relieve(&self, worker: usize) -> bool {
        let mut workers = self.turn();
        let Some((helper, ports)) = self.registry.relief(worker) else {
            return false;
        };
        for id in &ports {
            self.give(&mut workers, *id, worker, helper);
        }
        !ports.is_empty()
    }

    /// The CPU time that all workers have used.
    pub(super) fn worked(&self) -> Duration {
        self.turn().iter().map(WorkerHandle::worked).sum()
    }

    /// Hands everything back to the first worker.
    pub(super) fn gather(&self) {
        let mut workers = self.turn();
        for (id, reader) in self.registry.strays() {
            self.give(&mut workers, id, reader, 0);
        }
    }

    /// Nobody reads a port any more, but that one.
    pub(super) fn stop_reading(&self, but: Option<PortId>) {
        let mut workers = self.turn();
        for (port, _) in self.registry.open() {
            if Some(port.id) != but
                && let Some(reader) = self.registry.stop(port.id)
            {
                port.device.settle_all();
                // A worker that has ended reads nothing.
                let _ = self.ask(&mut workers, reader, |worker| worker.release(port.id));
            }
        }
    }

    /// Every port is read.
    pub(super) fn read_again(&self) {
        let mut ids = Vec::new();
        for (port, _) in self.registry.open() {
            if !self.registry.is_read(port.id) {
                port.device.unsettle();
                ids.push(port.id);
            }
        }
        for (port, error) in self.listen(&ids) {
            tracing::error!(port = port.0, %error, "a port cannot be read again");
            self.events.emit(SwitchEvent::PortGone(port));
        }
    }

    /// Another worker takes the place of one that has ended, unless one did.
    pub(super) fn replace(&self, end: End) {
        let mut workers = self.turn();
        if workers[end.worker].life() == end.life
            && let Err(error) = self.revive(&mut workers, end.worker)
        {
            tracing::error!(worker = end.worker, %error, "nothing takes a worker's place");
        }
    }

    /// Workers that have been replaced.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// The port is read by `to` instead of `from`; one that cannot be is as good as gone.
    fn give(&self, workers: &mut [WorkerHandle], id: PortId, from: usize, to: usize) {
        if !self.registry.is_read(id) {
            return self.registry.moved(id, to);
        }
        let released = self.ask(workers, from, |worker| worker.release(id));
        self.registry.moved(id, to);
        let listening = released.and_then(|()| self.ask(workers, to, |worker| worker.listen(id)));
        if let Err(error) = listening {
            tracing::error!(port = id.0, %error, "a port cannot be read by another worker");
            self.events.emit(SwitchEvent::PortGone(id));
        }
    }

    fn detach(&self, workers: &[WorkerHandle], id: PortId) -> Option<Arc<Port>> {
        let port = self.registry.remove(id)?;
        port.bridge.remove_port(id);
        take_away(workers, id);
        Some(port)
    }

    /// Asks a worker, or the one that takes its place if it has ended.
    pub(super) fn ask<T>(
        &self,
        workers: &mut [WorkerHandle],
        worker: usize,
        question: impl Fn(&WorkerHandle) -> io::Result<T>,
    ) -> io::Result<T> {
        for _ in 0..STRIKES_MAX {
            match question(&workers[worker]) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.revive(workers, worker).map_err(io::Error::other)?;
                }
                answer => return answer,
            }
        }
        question(&workers[worker])
    }

    /// Starts a worker in place of one that has ended, with the ports of that.
    fn revive(&self, workers: &mut [WorkerHandle], worker: usize) -> Result<(), StartSwitch> {
        let began = Instant::now();
        let restarted = workers[worker].restart();
        let busy = restarted.inspect_err(|_| self.events.emit(SwitchEvent::Broken))?;
        self.restarts.fetch_add(1, Ordering::Relaxed);
        if self.strikes.add(began) > RESTARTS_MAX {
            tracing::error!("workers end time and again");
            self.events.emit(SwitchEvent::Broken);
        }
        if let Some(port) = busy {
            self.blame(workers, port);
        }
        self.hand_over(&workers[worker], worker);
        tracing::warn!(
            worker,
            port = busy.map(|port| port.0),
            ms = began.elapsed().as_millis(),
            "another worker took the place of one that ended"
        );
        Ok(())
    }

    /// Gives the ports of the worker that was at this place to the one that is there now. Where that ends as well meanwhile, its
    /// own end is told.
    fn hand_over(&self, place: &WorkerHandle, worker: usize) {
        let ports = self.registry.open();
        let attached = ports
            .iter()
            .map_while(|(port, _)| place.start_attach(Arc::clone(port)).ok());
        for confirmation in attached.collect::<Vec<_>>() {
            let _ = confirmation.recv();
        }
        let is_own = |(port, reader): &&(Arc<Port>, usize)| {
            *reader == worker && self.registry.is_read(port.id)
        };
        let own = ports.iter().filter(is_own);
        let listening =
            own.map_while(|(port, _)| Some((port.id, place.start_listen(port.id).ok()?)));
        for (id, outcome) in listening.collect::<Vec<_>>() {
            if let Ok(Err(error)) = outcome.recv() {
                tracing::error!(port = id.0, %error, "a port cannot be read again");
                self.events.emit(SwitchEvent::PortGone(id));
            }
        }
    }

    /// A worker ended while it was busy with the port. A sandbox's that this happens to time and again is taken from the
    /// workers; of the other ports there is none that the host could do without.
    fn blame(&self, workers: &[WorkerHandle], id: PortId) {
        let open = self.registry.open();
        let Some((port, _)) = open.iter().find(|(port, _)| port.id == id) else {
            return;
        };
        if port.strikes().add(Instant::now()) < STRIKES_MAX {
            return;
        }
        if port.config.kind != PortKind::Tap {
            return self.events.emit(SwitchEvent::Broken);
        }
        self.registry.shut(id);
        port.bridge.block(id, Block::Fault);
        take_away(workers, id);
        tracing::error!(
            port = id.0,
            "a port is cut off: workers end while they are busy with it"
        );
        self.events.emit(SwitchEvent::PortBlocked(id, Block::Fault));
    }

    pub(super) fn turn(&self) -> MutexGuard<'_, Vec<WorkerHandle>> {
        lock(&self.workers)
    }
}

/// When this returns, no worker has the port.
fn take_away(workers: &[WorkerHandle], id: PortId) {
    let pending: Vec<_> = workers
        .iter()
        .filter_map(|worker| worker.detach(id))
        .collect();
    for confirmation in pending {
        // A worker that ended has dropped its ports.
        let _ = confirmation.recv();
    }
}

/// Workers that may end at one port, in a minute or so, before it is cut off.
const STRIKES_MAX: u32 = 8;
/// Workers that may end in all, likewise.
const RESTARTS_MAX: u32 = 256;
