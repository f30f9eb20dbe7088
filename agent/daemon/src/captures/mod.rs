//! Captures: who looks at the frames of which ports.
//!
//! # Theory of operation
//!
//! A capture is for one client, which gets it as pcapng. Ports wear its recorder ([`switch_io::Capture`]): all in its scope when it
//! begins. Those that come later to a network the switch dresses itself, before anything is read from them; those of a container are
//! found by a look now and then. A thread per capture encodes what was recorded and hands it on. It waits for a slow client, while the
//! recorder loses what finds no room; the traffic does not notice. When the client hangs up, the ports are undressed. A capture is not on
//! record: it ends with the agent.

mod buffers;
mod encoder;
mod stream;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_api::{ApiError, BpfProgram};
use agent_core::capture::{NamedPort, Scope, StartCapture, check_choice};
use agent_core::record::Owner;
use axum::body::Bytes;
use switch_core::bpf::Program;
use switch_io::capture::{Capture, CaptureSettings};
use tokio::sync::{Semaphore, mpsc};

use self::buffers::Buffers;
use self::encoder::Encoder;
use self::stream::{GATHER, Stream};
use crate::containers::Containers;
use crate::ground::Ground;
use crate::networks::Networks;

/// The captures that go on.
pub(crate) struct Captures {
    ground: Arc<Ground>,
    networks: Arc<Networks>,
    containers: Arc<Containers>,
    places: Arc<Semaphore>,
    closes: Arc<AtomicBool>,
}

/// What is asked of a capture besides its ports.
#[derive(Default)]
pub(crate) struct Wishes {
    pub(crate) snap_len: Option<u32>,
    /// The program's text.
    pub(crate) filter: String,
    pub(crate) program: BpfProgram,
}

impl Captures {
    pub(crate) fn new(
        ground: Arc<Ground>,
        networks: Arc<Networks>,
        containers: Arc<Containers>,
    ) -> Self {
        Self {
            ground,
            networks,
            containers,
            places: Arc::new(Semaphore::new(CAPTURES_MAX)),
            closes: Arc::default(),
        }
    }

    /// Captures a network's ports, or those that are called so.
    pub(crate) fn of_network(
        &self,
        called: &str,
        port: Option<String>,
        wishes: Wishes,
    ) -> Result<mpsc::Receiver<Bytes>, ApiError> {
        let record = self.networks.find(called)?.record;
        let of = format!("network {:?}", record.name);
        let id = record.id.clone();
        let networks = Arc::clone(&self.networks);
        let scope = Scope::Network { id, port };
        let id = record.id.clone();
        let is_gone = move || networks.place(&id).is_none();
        Ok(self.start(scope, (of, Box::new(is_gone)), wishes)?)
    }

    /// Captures a container's links, or one of them; also of one that another engine runs, by the name that it has on its network.
    pub(crate) fn of_container(
        &self,
        called: &str,
        link: Option<String>,
        wishes: Wishes,
    ) -> Result<mpsc::Receiver<Bytes>, ApiError> {
        let (scope, name) = match self.containers.inspect(called) {
            Ok(detail) => {
                let owner = Owner::Container(detail.summary.id);
                (Scope::Container { owner, link }, detail.summary.name)
            }
            Err(error) => {
                let name = called.to_owned();
                let scope = Scope::Endpoint { name, link };
                if ports_of(&self.networks, &scope.whole()).is_empty() {
                    return Err(error);
                }
                (scope, called.to_owned())
            }
        };
        let containers = Arc::clone(&self.containers);
        let own = match &scope {
            Scope::Container {
                owner: Owner::Container(id),
                ..
            } => Some(id.clone()),
            _ => None,
        };
        let is_gone = move || {
            own.as_ref()
                .is_none_or(|id| containers.inspect(id).is_err())
        };
        let of = format!("container {name:?}");
        Ok(self.start(scope, (of, Box::new(is_gone)), wishes)?)
    }

    fn start(
        &self,
        scope: Scope,
        (of, is_gone): (String, Box<dyn Fn() -> bool + Send>),
        wishes: Wishes,
    ) -> Result<mpsc::Receiver<Bytes>, StartCapture> {
        let snap_len = wishes.snap_len.unwrap_or(SNAP_LEN_MAX);
        if !(SNAP_LEN_MIN..=SNAP_LEN_MAX).contains(&snap_len) {
            return Err(StartCapture::SnapLen(snap_len));
        }
        let whole = ports_of(&self.networks, &scope.whole());
        let seen = whole.iter().map(|(id, port)| (id.as_str(), port.clone()));
        check_choice(&scope, &of, &seen.collect::<Vec<_>>())?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| StartCapture::Many(CAPTURES_MAX))?;
        let settings = CaptureSettings {
            snaplen: snap_len,
            capacity_bytes: CAPACITY_BYTES,
            filter: checked(wishes.program)?,
        };
        let host = |error: std::io::Error| StartCapture::Host(error.to_string());
        let capture = Capture::new(settings).map_err(host)?;
        let (out, chunks) = mpsc::channel(CHUNKS_BUFFERED);
        let mut stream = Stream {
            ground: Arc::clone(&self.ground),
            networks: Arc::clone(&self.networks),
            scope,
            of,
            capture,
            encoder: Encoder::new(wishes.filter, snap_len),
            out,
            buffers: Buffers::default(),
            gather: GATHER,
            closes: Arc::clone(&self.closes),
            dressed: BTreeSet::new(),
            is_gone,
            _place: place,
        };
        stream.begin(whole)?;
        let thread = std::thread::Builder::new().name("capture".to_owned());
        thread.spawn(move || stream.run()).map_err(host)?;
        Ok(chunks)
    }

    /// Ends all of them, and lets none begin; returns when each has said so, or its client is too slow to hear it.
    pub(crate) fn close(&self) {
        self.closes.store(true, Ordering::Relaxed);
        let until = Instant::now() + GOODBYE_WITHIN;
        while self.places.available_permits() < CAPTURES_MAX && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets captures begin again.
    pub(crate) fn open(&self) {
        self.closes.store(false, Ordering::Relaxed);
    }
}

/// The ports in scope, with their networks' ids.
fn ports_of(networks: &Networks, scope: &Scope) -> Vec<(String, NamedPort)> {
    let mut ports = match scope {
        Scope::Network { id, .. } => {
            let ports = networks.named_ports_of(id).into_iter();
            ports.map(|port| (id.clone(), port)).collect()
        }
        Scope::Container { .. } | Scope::Endpoint { .. } => networks.named_ports(),
    };
    ports.retain(|(id, port)| scope.has(id, port));
    ports
}

fn checked(program: BpfProgram) -> Result<Option<Program>, StartCapture> {
    if program.0.is_empty() {
        return Ok(None);
    }
    let program = Program::new(program.0);
    program
        .map(Some)
        .map_err(|error| StartCapture::Program(error.to_string()))
}

const CAPTURES_MAX: usize = 16;
const GOODBYE_WITHIN: Duration = Duration::from_millis(600);
const CHUNKS_BUFFERED: usize = 4;
/// As many again may be on their way to the client.
const CAPACITY_BYTES: usize = 16 << 20;
/// An Ethernet header.
const SNAP_LEN_MIN: u32 = 14;
const SNAP_LEN_MAX: u32 = 262_144;
