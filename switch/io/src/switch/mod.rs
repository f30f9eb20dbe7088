//! The switch: workers, and the ports they move frames between.
//!
//! # Theory of operation
//!
//! A few workers each run to completion: read a batch, let the ingress port's bridge decide about each frame, write.
//! Every port is read by one worker and written by all. Each worker keeps its own table of ports, so the fast path takes
//! no lock; the tables change by commands, which a worker confirms. Who reads a port changes with the load.
//!
//! Adding: every worker learns of the port, then the bridge, then the reader starts. Removing is the reverse: the bridge
//! forgets the port, then every worker, after its last operation on the descriptor; then the caller closes it. Both are
//! serialized, and block for as long as the workers take to get to their commands, some tens of microseconds.
//!
//! What a port wears around its device (captures, impairments, mirrors) changes while frames flow ([`dressing`]).
//!
//! Loops are found by a thread of its own ([`loops`]), which blocks the port that closes one.
//!
//! Ageing is a thread of its own that wakes every ten seconds, so that a large FDB never stalls a worker.
//!
//! A worker that ends although nobody stopped it is replaced within milliseconds ([`keeper`]); the others go on meanwhile. What
//! it had read and not sent is lost. A sandbox's port at which this happens time and again is cut off; where nothing else
//! helps, the owner is told that the switch is broken (docs/adr has why).

mod ager;
mod balancer;
mod config;
mod desk;
mod dressing;
mod keeper;
mod loops;
mod losses;
mod quarantine;
mod registry;
mod rounds;
mod share;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use switch_core::{Block, Bridge, BridgeConfig, PortConfig, PortCounts, PortId, PortKind, Time};

use self::ager::Ager;
use self::balancer::Balancer;
use self::config::Placement;
pub use self::config::{AUTO_WORKERS_MAX, SwitchConfig};
use self::desk::Desk;
use self::keeper::Keeper;
use self::loops::Loops;
use self::registry::Registry;
use crate::engine::{EngineChoice, EngineKind, EngineReport};
use crate::error::{AddPort, StartSwitch};
use crate::events::{Events, SwitchEvent};
use crate::frame_port::FramePort;
use crate::lookout::Sightings;
use crate::observers::{Observer, Observers, Observing};
use crate::overload::Requests;
use crate::port::Port;
use crate::sampling::{FlowSamples, Sampling};
use crate::vigil::Vigil;
use crate::worker::{Busy, Moved, Setup, Tally, Worked, WorkerHandle};

/// What one worker has done since the switch started.
#[derive(Clone, Copy, Debug)]
pub struct WorkerReport {
    /// CPU time, some tens of milliseconds late.
    pub worked: Duration,
    pub moved: Moved,
    /// Ports that it reads now.
    pub ports: usize,
}

/// A port that no worker touches any more. Its descriptor closes when this is dropped, and with a TAP the link goes, for
/// which the kernel takes tens of milliseconds: let go of locks first.
pub struct RemovedPort {
    port: Option<Arc<Port>>,
}

impl RemovedPort {
    /// What was counted in the port's life.
    pub fn counters(&self) -> PortCounts {
        let Some(port) = &self.port else {
            return PortCounts::default();
        };
        losses::survey(std::slice::from_ref(port));
        port.counts()
    }
}

/// A port that is to be attached.
pub struct NewPort {
    pub bridge: Arc<Bridge>,
    pub device: Box<dyn FramePort>,
    pub config: PortConfig,
}

/// A running switch. Dropping it stops the workers and closes every port.
#[derive(Debug)]
pub struct Switch {
    report: EngineReport,
    events: Events,
    observers: Observers,
    sampling: Sampling,
    start: Instant,
    /// What each worker tells of its work.
    told: Vec<(Worked, Tally)>,
    // Fields drop in order: the workers stop with the last hold on the desk.
    _keeper: Keeper,
    _loops: Loops,
    _balancer: Option<Balancer>,
    _ager: Ager,
    desk: Arc<Desk>,
}

impl Switch {
    pub fn start(config: SwitchConfig) -> Result<Self, StartSwitch> {
        let (engine, fallback) = choose(config.engine)?;
        let count = config.worker_count();
        let events = Events::default();
        let now = Instant::now();
        let start = now.checked_sub(HEAD_START).unwrap_or(now);
        let requests = Requests::new();
        let vigil = Vigil::new();
        let sightings = Sightings::new();
        let observers = Observers::default();
        let sampling = Sampling::default();
        let told: Vec<(Worked, Tally)> = std::iter::repeat_with(Default::default)
            .take(count)
            .collect();
        let workers = told
            .iter()
            .cloned()
            .enumerate()
            .map(|(index, (worked, tally))| {
                WorkerHandle::start(Setup {
                    index,
                    engine,
                    core: config.core(index),
                    join: config.join,
                    start,
                    events: events.clone(),
                    overload: requests.overload(),
                    lookout: sightings.lookout(),
                    observers: observers.clone(),
                    sampling: sampling.clone(),
                    worked,
                    tally,
                    busy: Busy::default(),
                    ends: vigil.ends(),
                    life: 0,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let placement = config.placement();
        let registry = Registry::new(count, placement);
        let desk = Arc::new(Desk::new(
            workers,
            registry,
            events.clone(),
            sightings.lookout(),
        ));
        let keeper = Keeper::start(vigil, Arc::clone(&desk)).map_err(StartSwitch::Worker)?;
        let loops =
            Loops::start(sightings, Arc::clone(&desk), start).map_err(StartSwitch::Worker)?;
        let ager = Ager::start(Arc::clone(&desk), start).map_err(StartSwitch::Worker)?;
        let balancer = (placement == Placement::ByNeed && count > 1)
            .then(|| Balancer::start(requests, Arc::clone(&desk)))
            .transpose()
            .map_err(StartSwitch::Worker)?;
        let report = EngineReport {
            engine,
            fallback,
            workers: count,
        };
        tracing::info!(
            engine = report.engine.name(),
            fallback = report.fallback,
            workers = count,
            "switch started"
        );
        Ok(Self {
            report,
            events,
            observers,
            sampling,
            start,
            told,
            _keeper: keeper,
            _loops: loops,
            _balancer: balancer,
            _ager: ager,
            desk,
        })
    }

    /// Attaches `port` to `bridge`. Its frames flow when this returns.
    pub fn add_port(
        &self,
        bridge: &Arc<Bridge>,
        port: Box<dyn FramePort>,
        config: PortConfig,
    ) -> Result<PortId, AddPort> {
        let id = self.attach_port(bridge, port, config)?;
        self.listen(id)?;
        Ok(id)
    }

    /// Attaches `port` to `bridge`, which sends frames there from now on. What comes from there waits until [`Switch::listen`]:
    /// so that of many ports that come back together, each finds all others.
    pub fn attach_port(
        &self,
        bridge: &Arc<Bridge>,
        port: Box<dyn FramePort>,
        config: PortConfig,
    ) -> Result<PortId, AddPort> {
        let new = NewPort {
            bridge: Arc::clone(bridge),
            device: port,
            config,
        };
        let mut attached = self.attach_ports(vec![new]);
        attached.pop().unwrap_or(Err(AddPort::Exhausted))
    }

    /// The same for many, which costs little more than for one: each in its place.
    pub fn attach_ports(&self, new: Vec<NewPort>) -> Vec<Result<PortId, AddPort>> {
        self.desk.attach(new)
    }

    /// Reads an attached port from now on; one that cannot be read is detached.
    pub fn listen(&self, id: PortId) -> Result<(), AddPort> {
        let mut failed = self.listen_all(&[id]);
        failed.pop().map_or(Ok(()), |(_, why)| Err(why))
    }

    /// The same for many, which costs little more than for one. Gives those that cannot be read.
    pub fn listen_all(&self, ids: &[PortId]) -> Vec<(PortId, AddPort)> {
        self.desk.listen(ids)
    }

    /// Attaches a device that reads for many ports (see [`FramePort`]). What it reads for none of them is dropped and
    /// counted here.
    pub fn add_trunk(&self, trunk: Box<dyn FramePort>) -> Result<PortId, AddPort> {
        let id = self.attach_trunk(trunk)?;
        self.listen(id)?;
        Ok(id)
    }

    /// The same, but it is read from [`Switch::listen`] on.
    pub fn attach_trunk(&self, trunk: Box<dyn FramePort>) -> Result<PortId, AddPort> {
        let nowhere = Arc::new(Bridge::new(BridgeConfig::default()));
        self.attach_port(&nowhere, trunk, PortConfig::new(PortKind::Tunnel, u32::MAX))
    }

    /// Detaches a port. When this returns no worker touches it, and its descriptor is closed once what is returned is
    /// dropped. Does nothing when there is no such port.
    pub fn remove_port(&self, id: PortId) -> RemovedPort {
        RemovedPort {
            port: self.desk.remove(id),
        }
    }

    /// Opens a port of the bridge that is blocked because it sent a BPDU.
    pub fn reopen_port(&self, bridge: &Bridge, id: PortId) {
        if bridge.unblock(id, Block::Bpdu) {
            let event = SwitchEvent::PortUnblocked(id, Block::Bpdu);
            self.events.emit(event);
        }
    }

    /// Reads no port any more; what was read before has been sent when this returns. For another process that is about to read them.
    pub fn stop_reading(&self) {
        self.stop_reading_all_but(None);
    }

    /// The same, but goes on reading one.
    pub fn stop_reading_all_but(&self, id: Option<PortId>) {
        self.desk.stop_reading(id);
    }

    /// Reads every port again that is not read, after [`Switch::stop_reading`]. One that cannot be read is gone ([`SwitchEvent::PortGone`]).
    pub fn read_again(&self) {
        self.desk.read_again();
    }

    /// Lets `worker` read the port, in order: what was read before has been sent. Where the load decides who reads
    /// (`workers: 0`) that may change again soon. Does nothing when there is no such port or worker.
    pub fn move_port(&self, id: PortId, worker: usize) {
        self.desk.move_port(id, worker);
    }

    /// The port's counters, summed over the workers.
    pub fn counters(&self, id: PortId) -> Option<PortCounts> {
        self.counters_of(&[id]).remove(&id)
    }

    /// The counters of those of `ids` that are attached. Cheaper than one by one: what the links count is read by a thread
    /// of its own.
    pub fn counters_of(&self, ids: &[PortId]) -> HashMap<PortId, PortCounts> {
        let ports = self.desk.registry.ports(ids);
        losses::survey(&ports);
        ports.iter().map(|port| (port.id, port.counts())).collect()
    }

    /// The same without a look at what the links count: that is as it was last read.
    pub fn counted_of(&self, ids: &[PortId]) -> HashMap<PortId, PortCounts> {
        let ports = self.desk.registry.ports(ids);
        ports.iter().map(|port| (port.id, port.counts())).collect()
    }

    /// The port goes on counting from what was counted before at what it stands for. Once.
    pub fn resume_counters(&self, id: PortId, before: PortCounts) {
        self.desk.registry.resume(id, before);
    }

    /// How many ports each worker reads.
    pub fn loads(&self) -> Vec<usize> {
        self.desk.registry.loads()
    }

    /// What each worker has done. No worker is asked.
    pub fn workers(&self) -> Vec<WorkerReport> {
        let told = self.told.iter().zip(self.loads());
        let reports = told.map(|((worked, tally), ports)| WorkerReport {
            worked: worked.get(),
            moved: tally.moved(),
            ports,
        });
        reports.collect()
    }

    /// Workers that have been replaced because they ended.
    pub fn restarts(&self) -> u64 {
        self.desk.restarts()
    }

    /// What runs, and why.
    pub fn engine(&self) -> &EngineReport {
        &self.report
    }

    /// Milliseconds since [`HEAD_START`] before the switch started: the clock its bridges are asked by.
    pub fn now(&self) -> Time {
        Time::at(self.start, Instant::now())
    }

    /// Tells `observer` of each frame of the bridge's network, until what is returned is dropped.
    pub fn observe(&self, bridge: &Arc<Bridge>, observer: Box<dyn Observer>) -> Observing {
        self.observers.watch(bridge, observer)
    }

    /// Takes one in `every` frames of all networks from now on, or none.
    pub fn sample(&self, every: Option<NonZeroU32>) {
        self.sampling.set(every);
    }

    /// The frames that were taken since the last time, in place of what `samples` held.
    pub fn take_samples(&self, samples: &mut FlowSamples) {
        self.sampling.take(samples);
    }

    /// Events from now on; each receiver gets all of them.
    pub fn events(&self) -> Receiver<SwitchEvent> {
        self.events.subscribe()
    }
}

/// What was learned before the switch started may be as old.
const HEAD_START: Duration = Duration::from_secs(86_400);

fn choose(choice: EngineChoice) -> Result<(EngineKind, Option<String>), StartSwitch> {
    if choice == EngineChoice::Epoll {
        return Ok((EngineKind::Epoll, None));
    }
    match crate::sys::ring::probe() {
        Ok(()) => Ok((EngineKind::Uring, None)),
        Err(error) if choice == EngineChoice::Uring => Err(StartSwitch::Uring(error)),
        Err(error) => Ok((EngineKind::Epoll, Some(error.to_string()))),
    }
}
