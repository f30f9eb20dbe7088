//! One capture, on a thread of its own: from the ports to its client.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_core::capture::{NamedPort, Scope, StartCapture};
use axum::body::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use switch_core::PortId;
use switch_io::Layer;
use switch_io::capture::{Capture, Records};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::buffers::Buffers;
use super::encoder::Encoder;
use crate::ground::Ground;
use crate::networks::Networks;

pub(super) struct Stream {
    pub(super) ground: Arc<Ground>,
    pub(super) networks: Arc<Networks>,
    pub(super) scope: Scope,
    /// What is captured, as people call it.
    pub(super) of: String,
    pub(super) capture: Capture,
    pub(super) encoder: Encoder,
    pub(super) out: mpsc::Sender<Bytes>,
    pub(super) buffers: Buffers,
    /// How long frames are let gather.
    pub(super) gather: Duration,
    /// The agent ends.
    pub(super) closes: Arc<AtomicBool>,
    pub(super) dressed: BTreeSet<PortId>,
    /// Whether that of which no port is left is gone.
    pub(super) is_gone: Box<dyn Fn() -> bool + Send>,
    pub(super) _place: OwnedSemaphorePermit,
}

/// Also where the thread ends otherwise.
impl Drop for Stream {
    fn drop(&mut self) {
        self.end();
    }
}

impl Stream {
    /// Dresses the ports that are there, and tells of them. `whole` are those among which there may be a choice.
    pub(super) fn begin(&mut self, whole: Vec<(String, NamedPort)>) -> Result<(), StartCapture> {
        let switch = &self.ground.switch;
        match &self.scope {
            Scope::Network { id, port: None } => {
                let place = self.networks.place(id);
                let Some(segment) = place.and_then(|place| place.segment) else {
                    return Err(StartCapture::NoPorts(self.of.clone()));
                };
                switch.capture_network(&segment.bridge, &self.capture.recorder());
            }
            scope => {
                let mut ports = whole;
                ports.retain(|(id, port)| scope.has(id, port));
                if let Some(why) = self.dress(ports).filter(|_| self.dressed.is_empty()) {
                    return Err(StartCapture::Host(why));
                }
            }
        }
        self.describe();
        tracing::info!(
            of = self.of,
            interfaces = self.encoder.described(),
            "capture began"
        );
        Ok(())
    }

    /// Sends what is recorded until the client hangs up, what is captured is gone, or the agent ends.
    pub(super) fn run(mut self) {
        let mut records = Records::default();
        let (mut looked, mut counted) = (Instant::now(), Instant::now());
        let why = loop {
            if self.send().is_err() {
                break None;
            }
            if self.closes.load(Ordering::Relaxed) {
                break Some("the agent stops".to_owned());
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                if !self.look() {
                    break Some(format!("{} is gone", self.of));
                }
            }
            if counted.elapsed() >= COUNT_EVERY {
                counted = Instant::now();
                self.encoder.statistics(&self.capture, None);
            }
            if self.wait() && self.read(&mut records).is_err() {
                break None;
            }
        };
        self.end();
        if let Some(why) = why {
            let _ = self.read(&mut records);
            self.encoder.statistics(&self.capture, Some(&why));
            let _ = self.send();
        }
        tracing::info!(of = self.of, "capture ended");
    }

    /// The ports are as they were when this returns.
    fn end(&self) {
        self.ground.switch.end_capture(self.capture.id());
    }

    /// Whether there is something to read. Some more is let gather first: to be woken for each frame would cost the workers time.
    fn wait(&self) -> bool {
        let fd = self.capture.as_fd();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let is_ready = matches!(poll(&mut fds, Some(&TICK)), Ok(1..));
        if is_ready {
            std::thread::sleep(self.gather);
        }
        is_ready
    }

    /// Hands on what was recorded, in pieces that are still in a processor's cache when they are sent.
    fn read(&mut self, records: &mut Records) -> Result<(), ()> {
        if self.capture.read_into(records) == 0 {
            return Ok(());
        }
        self.describe();
        self.encoder.note_lost(&self.capture);
        for record in records.iter() {
            self.encoder.record(&record);
            if self.encoder.out.len() >= CHUNK_LEN {
                self.send()?;
            }
        }
        self.gather = match records.bytes() >= MUCH {
            true => GATHER_LITTLE,
            false => GATHER,
        };
        Ok(())
    }

    /// Tells of the ports that came. Who attaches a sandbox names its link a moment after its port.
    fn describe(&mut self) {
        let patience = Instant::now() + NAMED_WITHIN;
        let interfaces = self.capture.interfaces();
        let interfaces = &interfaces[self.encoder.described()..];
        if interfaces.is_empty() {
            return;
        }
        loop {
            let ports = super::ports_of(&self.networks, &self.scope.whole());
            let named = interfaces.iter().map(|interface| {
                let mut ports = ports.iter().map(|(_, port)| port);
                ports.find(|port| port.port == interface.port)
            });
            let named: Vec<_> = named.collect();
            let is_named = |port: &Option<&NamedPort>| {
                port.is_some_and(|port| port.link.is_some() || port.sandbox.is_none())
            };
            if named.iter().all(is_named) || Instant::now() >= patience {
                let names = named.iter().zip(interfaces).map(|(port, interface)| {
                    port.map_or_else(|| interface.name.clone(), NamedPort::shown)
                });
                return self.encoder.describe(names.collect());
            }
            std::thread::sleep(GATHER);
        }
    }

    /// Waits for a client that is slow: meanwhile the capture fills, and loses what finds no room.
    fn send(&mut self) -> Result<(), ()> {
        if self.encoder.out.is_empty() {
            return match self.out.is_closed() {
                true => Err(()),
                false => Ok(()),
            };
        }
        let full = std::mem::replace(&mut self.encoder.out, self.buffers.take());
        let chunk = self.buffers.lend(full);
        self.out.blocking_send(chunk).map_err(|_| ())
    }

    /// Looks for ports that came and went. Whether there is still something to capture, or may be again.
    fn look(&mut self) -> bool {
        if matches!(self.scope, Scope::Network { port: None, .. }) {
            // The switch dresses those that come.
            return !(self.is_gone)();
        }
        let ports = super::ports_of(&self.networks, &self.scope);
        // A container that restarts has none for a moment.
        if ports.is_empty() && (self.is_gone)() {
            return false;
        }
        let _ = self.dress(ports);
        true
    }

    /// Has the frames of these ports recorded, where they are still there. Why that is not so of one of them.
    fn dress(&mut self, ports: Vec<(String, NamedPort)>) -> Option<String> {
        let mut why = None;
        let mut dressed = BTreeSet::new();
        for (_, port) in ports {
            let is_new = !self.dressed.contains(&port.port);
            let layer = || Layer::Capture(self.capture.recorder(), port.shown());
            match is_new.then(|| self.ground.switch.dress(port.port, layer())) {
                Some(Err(error)) => why = Some(format!("{}: {error}", port.shown())),
                Some(Ok(())) | None => {
                    dressed.insert(port.port);
                }
            }
        }
        self.dressed = dressed;
        why
    }
}

/// How soon it is noticed that a client has gone.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};
const LOOK_EVERY: Duration = Duration::from_millis(200);
const COUNT_EVERY: Duration = Duration::from_secs(1);
pub(super) const GATHER: Duration = Duration::from_millis(5);
/// While so many bytes come between two reads, less is let gather: what stays in a processor's cache is copied several times as fast.
const MUCH: usize = 1 << 20;
const GATHER_LITTLE: Duration = Duration::from_millis(1);
const NAMED_WITHIN: Duration = Duration::from_millis(300);
const CHUNK_LEN: usize = 256 << 10;
