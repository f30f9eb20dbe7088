//! Long TCP connections: bytes at a slow pace both ways, each of them checked.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::enter;

/// From where to where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route<'p> {
    pub(super) from: &'p Path,
    pub(super) to: &'p Path,
    /// Where it is listened in `to`.
    pub(super) listen: SocketAddr,
    /// Where it is connected to from `from`.
    pub(super) connect: SocketAddr,
}

/// What became of them.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) count: usize,
    /// Those on which every byte came, in order, both ways.
    pub(super) whole: usize,
    /// The longest time for which an end that was sent something got none of it.
    pub(super) longest_stall: Duration,
    /// Why the others are not whole.
    pub(super) broken: Vec<String>,
}

/// Flow until they are ended.
pub(super) struct Flows {
    end: Arc<AtomicBool>,
    pump: JoinHandle<Outcome>,
}

impl Flows {
    /// Opens `count` connections.
    pub(super) fn open(route: Route<'_>, count: usize) -> Self {
        let listener = enter(route.to, || TcpListener::bind(route.listen)).unwrap();
        let connect = || TcpStream::connect_timeout(&route.connect, CONNECT);
        let flows = (0..count).map(|number| {
            let near =
                enter(route.from, connect).unwrap_or_else(|error| panic!("{route:?}: {error}"));
            let (far, _) = listener.accept().unwrap();
            Flow::new([near, far], number)
        });
        let flows: Vec<_> = flows.collect();
        let end = Arc::<AtomicBool>::default();
        let over = Arc::clone(&end);
        let pump = std::thread::spawn(move || pump(flows, &over));
        Self { end, pump }
    }

    /// Sends no more, and waits for what was sent.
    pub(super) fn end(self) -> Outcome {
        self.end.store(true, Ordering::Relaxed);
        self.pump.join().unwrap()
    }
}

fn pump(mut flows: Vec<Flow>, over: &AtomicBool) -> Outcome {
    while !over.load(Ordering::Relaxed) {
        for flow in &mut flows {
            flow.exchange(true);
        }
        std::thread::sleep(PACE);
    }
    let deadline = Instant::now() + DRAIN;
    while Instant::now() < deadline && flows.iter().any(Flow::is_waited_for) {
        for flow in &mut flows {
            flow.exchange(false);
        }
        std::thread::sleep(PACE);
    }
    outcome(&flows)
}

fn outcome(flows: &[Flow]) -> Outcome {
    let stalls = flows.iter().flat_map(|flow| &flow.ends);
    let longest_stall = stalls
        .map(|end| end.longest_stall)
        .max()
        .unwrap_or_default();
    let broken: Vec<_> = flows.iter().filter_map(Flow::complaint).collect();
    Outcome {
        count: flows.len(),
        whole: flows.len() - broken.len(),
        longest_stall,
        broken,
    }
}

struct Flow {
    number: usize,
    ends: [End; 2],
    fault: Option<String>,
}

struct End {
    stream: TcpStream,
    sent: usize,
    received: usize,
    /// Since when it waits for what the other end has sent.
    waits_since: Option<Instant>,
    longest_stall: Duration,
}

impl Flow {
    fn new(streams: [TcpStream; 2], number: usize) -> Self {
        let ends = streams.map(|stream| {
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            End {
                stream,
                sent: 0,
                received: 0,
                waits_since: None,
                longest_stall: Duration::ZERO,
            }
        });
        Self {
            number,
            ends,
            fault: None,
        }
    }

    /// Reads at both ends what has come, and writes some more.
    fn exchange(&mut self, write: bool) {
        if self.fault.is_some() {
            return;
        }
        for (this, other) in [(0, 1), (1, 0)] {
            let expected = self.ends[other].sent;
            let seed = self.number * 2 + other;
            if let Err(fault) = self.ends[this].read(expected, seed) {
                self.fault = Some(format!("flow {} end {this}: {fault}", self.number));
                return;
            }
        }
        for this in [0, 1].into_iter().filter(|_| write) {
            let seed = self.number * 2 + this;
            if let Err(fault) = self.ends[this].write(seed) {
                self.fault = Some(format!("flow {} end {this}: {fault}", self.number));
                return;
            }
        }
    }

    fn is_waited_for(&self) -> bool {
        self.fault.is_none() && !self.is_whole()
    }

    fn is_whole(&self) -> bool {
        let [near, far] = &self.ends;
        near.sent == far.received && far.sent == near.received
    }

    fn complaint(&self) -> Option<String> {
        let [near, far] = &self.ends;
        let missing = || {
            format!(
                "flow {}: {} of {} bytes came there, {} of {} back",
                self.number, far.received, near.sent, near.received, far.sent
            )
        };
        self.fault
            .clone()
            .or_else(|| (!self.is_whole()).then(missing))
    }
}

impl End {
    fn read(&mut self, expected: usize, seed: usize) -> Result<(), String> {
        let mut bytes = [0; 4096];
        let before = self.received;
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err("closed".to_owned()),
                Ok(length) => {
                    for byte in &bytes[..length] {
                        if *byte != pattern(seed, self.received) {
                            return Err(format!("byte {} is another", self.received));
                        }
                        self.received += 1;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        let now = Instant::now();
        let waits = self.received < expected;
        if let Some(since) = self.waits_since {
            self.longest_stall = self.longest_stall.max(now - since);
        }
        if !waits || self.received > before {
            self.waits_since = waits.then_some(now);
        } else {
            self.waits_since.get_or_insert(now);
        }
        Ok(())
    }

    fn write(&mut self, seed: usize) -> Result<(), String> {
        let bytes: Vec<u8> = (self.sent..self.sent + CHUNK)
            .map(|position| pattern(seed, position))
            .collect();
        match self.stream.write(&bytes) {
            Ok(length) => self.sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }
}

/// The byte at a position of a direction; no two directions, and no two positions near each other, have the same run.
fn pattern(seed: usize, position: usize) -> u8 {
    let mixed = (position as u64)
        .wrapping_add((seed as u64) << 32)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_be_bytes()[0]
}

const CHUNK: usize = 64;
const PACE: Duration = Duration::from_millis(50);
const CONNECT: Duration = Duration::from_secs(5);
/// For what was sent last: TCP sends again after twice as long each time.
const DRAIN: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Flow::new([near, listener.accept().unwrap().0], 3)
    }

    fn settled(flow: &mut Flow) -> Outcome {
        let deadline = Instant::now() + DRAIN;
        while flow.is_waited_for() && Instant::now() < deadline {
            flow.exchange(false);
        }
        outcome(std::slice::from_ref(flow))
    }

    #[test]
    fn bytes_both_ways_make_a_whole_flow() {
        let mut flow = flow();
        (0..5).for_each(|_| flow.exchange(true));
        let outcome = settled(&mut flow);
        assert_eq!((outcome.whole, outcome.broken), (1, vec![]));
    }

    #[test]
    fn a_byte_that_is_another_breaks_a_flow() {
        let mut flow = flow();
        flow.exchange(true);
        assert_eq!(settled(&mut flow).whole, 1);
        let at = flow.ends[0].sent;
        let wrong = [!pattern(6, at)];
        flow.ends[0].stream.write_all(&wrong).unwrap();
        flow.ends[0].sent += 1;
        let outcome = settled(&mut flow);
        assert_eq!(outcome.whole, 0);
        assert!(outcome.broken[0].contains("is another"), "{outcome:?}");
    }

    #[test]
    fn a_closed_end_breaks_a_flow() {
        let mut flow = flow();
        flow.ends[1]
            .stream
            .shutdown(std::net::Shutdown::Both)
            .unwrap();
        flow.ends[0].sent += 1;
        let outcome = settled(&mut flow);
        assert_eq!((outcome.whole, outcome.broken.len()), (0, 1));
    }
}
