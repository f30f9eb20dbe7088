//! The switch: workers, and the ports they move frames between.
//!
//! # Theory of operation
//!
//! A few workers each run to completion: read a batch, let the ingress port's bridge decide about each frame, write.
//! Every port is read by one worker, the one with the fewest ports when it came, and written by all. Each worker keeps
//! its own table of ports, so the fast path takes no lock; the tables change by commands, which a worker confirms.
//!
//! Adding: every worker learns of the port, then the bridge, then the reader starts. Removing is the reverse: the bridge
//! forgets the port, then every worker, after its last operation on the descriptor; then the descriptor closes. Both are
//! serialized, and block for as long as the workers take to get to their commands, some tens of microseconds.
//!
//! Ageing is a thread of its own that wakes every ten seconds, so that a large FDB never stalls a worker.

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use switch_core::{Bridge, PortConfig, PortCounts, PortId, Time};

use crate::events::{Events, SwitchEvent};
use crate::frame_port::FramePort;
use crate::port::Port;
use crate::worker::{Engine, Setup, WorkerHandle};

/// How a switch is to run.
#[derive(Clone, Debug, Default)]
pub struct SwitchConfig {
    pub engine: EngineChoice,
    /// Threads; 0: one for every four cores, at least one, at most [`AUTO_WORKERS_MAX`]. Each takes its core from the
    /// stations it serves: on two cores one worker carries 0.92 of a kernel bridge's TCP, two carry 0.81.
    pub workers: usize,
    /// Cores the workers are bound to, in turn; `None`: the scheduler places them. A bound worker is up to a tenth faster
    /// on a quiet machine (1.05 of a kernel bridge against 0.92) and a quarter slower where others want its core.
    pub pin: Option<Vec<usize>>,
    /// Join single frames of one flow that come together into a superframe. Delivers about a tenth more small UDP
    /// datagrams where the worker is the bottleneck; off, because a sandbox that forwards what it gets into a VXLAN device
    /// of its own loses superframes of UDP before Linux 6.8.5.
    pub join: bool,
}

/// Which interface to the kernel moves the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// io_uring where it is allowed, epoll otherwise.
    #[default]
    Auto,
    Uring,
    Epoll,
}

/// What runs, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineReport {
    pub engine: EngineKind,
    /// Why it is not io_uring, if that was wished for.
    pub fallback: Option<String>,
    pub workers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    Uring,
    Epoll,
}

impl EngineKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Why a switch did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartSwitch {
    #[error("io_uring was asked for and is not usable: {0}")]
    Uring(#[source] io::Error),
    #[error("a worker cannot start: {0}")]
    Worker(#[source] io::Error),
    #[error("a worker cannot be bound to core {core}: {error}")]
    Pin {
        core: usize,
        #[source]
        error: io::Error,
    },
}

/// Why a port was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddPort {
    #[error("a worker of the switch has stopped")]
    WorkerStopped,
    #[error("all port numbers have been used")]
    Exhausted,
    #[error("the port cannot be watched: {0}")]
    Watch(#[source] io::Error),
}

/// A running switch. Dropping it stops the workers and closes every port.
#[derive(Debug)]
pub struct Switch {
    workers: Vec<WorkerHandle>,
    report: EngineReport,
    registry: Arc<Registry>,
    /// Serializes additions and removals.
    control: Mutex<()>,
    events: Events,
    start: Instant,
    ager: Option<Ager>,
}

impl Switch {
    pub fn start(config: SwitchConfig) -> Result<Self, StartSwitch> {
        let (engine, fallback) = choose(config.engine)?;
        let count = match config.workers {
            0 => auto_workers(),
            count => count,
        };
        let events = Events::default();
        let start = Instant::now();
        let workers = (0..count)
            .map(|index| {
                let pin = config.pin.as_deref().filter(|cores| !cores.is_empty());
                let core = pin.map(|cores| cores[index % cores.len()]);
                WorkerHandle::start(Setup {
                    index,
                    engine,
                    core,
                    join: config.join,
                    start,
                    events: events.clone(),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let registry = Arc::new(Registry::new(count));
        let ager = Ager::start(Arc::clone(&registry), start).map_err(StartSwitch::Worker)?;
        let report = EngineReport {
            engine: engine.kind(),
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
            workers,
            report,
            registry,
            control: Mutex::new(()),
            events,
            start,
            ager: Some(ager),
        })
    }

    /// Attaches `port` to `bridge`. Its frames flow when this returns.
    pub fn add_port(
        &self,
        bridge: &Arc<Bridge>,
        port: Box<dyn FramePort>,
        config: PortConfig,
    ) -> Result<PortId, AddPort> {
        let _turn = lock(&self.control);
        let (id, reader) = self.registry.next().ok_or(AddPort::Exhausted)?;
        let port = Arc::new(Port::new(
            id,
            port,
            Arc::clone(bridge),
            config,
            self.workers.len(),
        ));
        for worker in &self.workers {
            worker
                .attach(Arc::clone(&port))
                .map_err(|_| AddPort::WorkerStopped)?;
        }
        bridge.add_port(id, config);
        self.registry.insert(Arc::clone(&port), reader);
        let listening = self.workers[reader].listen(id);
        if let Some(error) = listening.unwrap_or_else(Some) {
            self.detach(id);
            return Err(AddPort::Watch(error));
        }
        Ok(id)
    }

    /// Detaches a port. When this returns no worker touches it and its descriptor is closed. Does nothing when there is
    /// no such port.
    pub fn remove_port(&self, id: PortId) {
        let _turn = lock(&self.control);
        self.detach(id);
    }

    /// The port's counters, summed over the workers.
    pub fn counters(&self, id: PortId) -> Option<PortCounts> {
        self.registry.counts(id)
    }

    /// What runs, and why.
    pub fn engine(&self) -> &EngineReport {
        &self.report
    }

    /// Milliseconds since the switch started: the clock its bridges are asked by.
    pub fn now(&self) -> Time {
        time_since(self.start)
    }

    /// Events from now on; each receiver gets all of them.
    pub fn events(&self) -> Receiver<SwitchEvent> {
        self.events.subscribe()
    }

    fn detach(&self, id: PortId) {
        let Some(port) = self.registry.remove(id) else {
            return;
        };
        port.bridge.remove_port(id);
        let pending: Vec<_> = self
            .workers
            .iter()
            .filter_map(|worker| worker.detach(id))
            .collect();
        for confirmation in pending {
            // A worker that stopped has dropped its ports.
            let _ = confirmation.recv();
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.ager.take());
        for worker in &mut self.workers {
            worker.stop();
        }
    }
}

/// What is attached; the workers have copies of their own.
#[derive(Debug)]
struct Registry(Mutex<Ports>);

#[derive(Debug)]
struct Ports {
    ports: HashMap<PortId, Record>,
    /// Ports that each worker reads.
    loads: Vec<usize>,
    next: u32,
}

struct Record {
    port: Arc<Port>,
    reader: usize,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.port.id)
            .field("reader", &self.reader)
            .finish()
    }
}

impl Registry {
    fn new(workers: usize) -> Self {
        Self(Mutex::new(Ports {
            ports: HashMap::new(),
            loads: vec![0; workers],
            next: 1,
        }))
    }

    /// A port number never used before, and the worker that should read the port.
    fn next(&self) -> Option<(PortId, usize)> {
        let mut ports = lock(&self.0);
        let id = PortId(ports.next);
        ports.next = ports.next.checked_add(1)?;
        let reader = (0..ports.loads.len()).min_by_key(|worker| ports.loads[*worker])?;
        Some((id, reader))
    }

    fn insert(&self, port: Arc<Port>, reader: usize) {
        let mut ports = lock(&self.0);
        ports.loads[reader] += 1;
        ports.ports.insert(port.id, Record { port, reader });
    }

    fn remove(&self, id: PortId) -> Option<Arc<Port>> {
        let mut ports = lock(&self.0);
        let record = ports.ports.remove(&id)?;
        ports.loads[record.reader] -= 1;
        Some(record.port)
    }

    fn counts(&self, id: PortId) -> Option<PortCounts> {
        lock(&self.0)
            .ports
            .get(&id)
            .map(|record| record.port.counts())
    }

    /// Every bridge that has a port, once.
    fn bridges(&self) -> Vec<Arc<Bridge>> {
        let ports = lock(&self.0);
        let mut bridges: Vec<_> = ports
            .ports
            .values()
            .map(|record| Arc::clone(&record.port.bridge))
            .collect();
        bridges.sort_by_key(Arc::as_ptr);
        bridges.dedup_by(|a, b| Arc::ptr_eq(a, b));
        bridges
    }
}

/// The ageing thread; stops when its sender is dropped.
#[derive(Debug)]
struct Ager {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ager {
    fn start(registry: Arc<Registry>, start: Instant) -> io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new()
            .name("switch-ager".into())
            .spawn(move || {
                while stopped.recv_timeout(AGEING_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    for bridge in registry.bridges() {
                        bridge.age(time_since(start));
                    }
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Ager {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn choose(choice: EngineChoice) -> Result<(Engine, Option<String>), StartSwitch> {
    if choice == EngineChoice::Epoll {
        return Ok((Engine::Epoll, None));
    }
    match crate::sys::ring::probe() {
        Ok(()) => Ok((Engine::Uring, None)),
        Err(error) if choice == EngineChoice::Uring => Err(StartSwitch::Uring(error)),
        Err(error) => Ok((Engine::Epoll, Some(error.to_string()))),
    }
}

fn auto_workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / CORES_PER_WORKER).clamp(1, AUTO_WORKERS_MAX)
}

pub(crate) fn time_since(start: Instant) -> Time {
    Time::from_millis(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most workers that are started without being asked for.
pub const AUTO_WORKERS_MAX: usize = 4;
const CORES_PER_WORKER: usize = 4;
const AGEING_INTERVAL: Duration = Duration::from_secs(10);
