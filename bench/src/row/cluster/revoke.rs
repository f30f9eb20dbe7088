//! Hosts that are shut out, one after the other, while traffic goes on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use super::{Container, HOSTS, Network, cluster};
use crate::contender::ClusterHost;
use crate::interrupt::{eventually, pause};
use crate::lab::{Lab, Topology};
use crate::row::{Effort, Metric, Row};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Revoke;

impl Row for Revoke {
    fn name(&self) -> String {
        "cluster-revoke".to_owned()
    }

    fn what(&self) -> String {
        format!(
            "{REVOKED} of {HOSTS} hosts shut out in a row, each while it sends a datagram every {} ms to every host that \
             stays: from the request to the last that arrived anywhere, and until every manager has it as gone, the longest of \
             the {REVOKED}; and the longest pause meanwhile of a TCP stream between two others, of 64 KiB every {} ms",
            EVERY.as_millis(),
            STREAM_EVERY.as_millis()
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::lower("gone", "ms"),
                Metric::lower("managers", "ms"),
                Metric::lower("stall", "ms"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::cluster(HOSTS).fresh(0)
    }

    fn rounds_max(&self) -> usize {
        2
    }

    fn run(&self, lab: &mut Lab, _: &Effort) -> Result<Vec<f64>, Trouble> {
        let cluster = cluster(lab)?;
        let network = Network::create(cluster, cluster.founder(), 1)?;
        let containers = network.populate()?;
        let (staying, leaving) = containers.split_at(HOSTS - REVOKED);
        let over = AtomicBool::new(false);
        let (gone, stall) = thread::scope(|scope| {
            let stream = stream(scope, [&staying[1], &staying[2]], &over)?;
            let gone: Result<Vec<Gone>, Trouble> = leaving
                .iter()
                .map(|leaver| shut_out(cluster.managers(), leaver, staying))
                .collect();
            over.store(true, Ordering::Relaxed);
            let stall = stream.join();
            let stall = stall.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, Trouble>((gone?, stall?))
        })?;
        let longest = |of: fn(&Gone) -> f64| gone.iter().map(of).fold(0.0, f64::max);
        Ok(vec![
            longest(|gone| gone.frames_ms),
            longest(|gone| gone.managers_ms),
            stall,
        ])
    }
}

/// Milliseconds from the request to shut a host out.
struct Gone {
    /// Until nothing of it arrives at those that stay.
    frames_ms: f64,
    /// Until it is no host that is up, as any manager says.
    managers_ms: f64,
}

fn shut_out(
    managers: &[ClusterHost],
    leaver: &Container<'_>,
    staying: &[Container<'_>],
) -> Result<Gone, Trouble> {
    let sinks = staying
        .iter()
        .map(Sink::new)
        .collect::<Result<Vec<_>, _>>()?;
    let targets = sinks
        .iter()
        .map(|sink| sink.socket.local_addr())
        .collect::<Result<Vec<_>, _>>()
        .map_err(Trouble::io("a socket has no address"))?;
    let sender = socket(leaver)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| send(&sender, &targets, &over));
        for sink in &sinks {
            scope.spawn(|| sink.listen(&over));
        }
        let outcome = revoke(managers, leaver, &sinks);
        over.store(true, Ordering::Relaxed);
        outcome
    })
}

fn revoke(
    managers: &[ClusterHost],
    leaver: &Container<'_>,
    sinks: &[Sink],
) -> Result<Gone, Trouble> {
    let begun = Instant::now();
    eventually(
        PATIENCE,
        "the host that is to go reaches all others",
        || {
            let all = sinks.iter().all(|sink| sink.last() > Some(begun));
            Ok(all.then_some(()))
        },
    )?;
    let start = Instant::now();
    let since = |then: Instant| then.saturating_duration_since(start).as_secs_f64() * 1e3;
    let known = thread::scope(|scope| {
        let looking: Vec<_> = managers
            .iter()
            .map(|manager| scope.spawn(|| miss(manager, leaver.host)))
            .collect();
        managers[0].revoke(leaver.host)?;
        looking
            .into_iter()
            .map(|looking| {
                let missed = looking.join();
                missed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .try_fold(start, |last, missed| Ok::<_, Trouble>(last.max(missed?)))
    })?;
    let last = eventually(PATIENCE, "nothing arrives of the host that went", || {
        let last = sinks.iter().filter_map(Sink::last).max();
        Ok(last.filter(|last| last.elapsed() > SILENCE))
    })?;
    Ok(Gone {
        frames_ms: since(last),
        managers_ms: since(known),
    })
}

/// When a manager has another host as gone. Each look costs the machine something, too.
fn miss(manager: &ClusterHost, gone: &ClusterHost) -> Result<Instant, Trouble> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if !manager.sees(gone)? {
            return Ok(Instant::now());
        }
        pause(LOOK_EVERY / 4)?;
    }
    Err(Trouble::Late {
        what: "a manager knows that a host was shut out".to_owned(),
        limit: PATIENCE,
    })
}

/// Notes when a datagram came last.
struct Sink {
    socket: UdpSocket,
    last: Mutex<Option<Instant>>,
}

impl Sink {
    fn new(container: &Container<'_>) -> Result<Self, Trouble> {
        let socket = socket(container)?;
        socket
            .set_read_timeout(Some(LOOK_EVERY))
            .map_err(Trouble::io("a socket takes no limit"))?;
        Ok(Self {
            socket,
            last: Mutex::default(),
        })
    }

    fn listen(&self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            if self.socket.recv(&mut [0; 64]).is_ok() {
                *self.lock() = Some(Instant::now());
            }
        }
    }

    fn last(&self) -> Option<Instant> {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn socket(container: &Container<'_>) -> Result<UdpSocket, Trouble> {
    let address = container.address()?;
    let bound = container.netns.enter(|| UdpSocket::bind((address, 0)))?;
    bound.map_err(Trouble::io("cannot bind a socket"))
}

fn send(sender: &UdpSocket, targets: &[SocketAddr], over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        for target in targets {
            // What does not leave does not arrive.
            let _ = sender.send_to(&[0; 32], target);
        }
        thread::sleep(EVERY);
    }
}

/// A TCP stream until it is over: the longest time without a byte, in milliseconds.
fn stream<'s, 'e>(
    scope: &'s Scope<'s, 'e>,
    [from, to]: [&Container<'_>; 2],
    over: &'e AtomicBool,
) -> Result<thread::ScopedJoinHandle<'s, Result<f64, Trouble>>, Trouble> {
    let (mut sender, receiver) = connect([from, to], to.address()?)?;
    scope.spawn(move || {
        let bytes = vec![0; 1 << 16];
        while !over.load(Ordering::Relaxed) && sender.write_all(&bytes).is_ok() {
            thread::sleep(STREAM_EVERY);
        }
    });
    Ok(scope.spawn(move || longest_pause(receiver)))
}

fn connect(
    [from, to]: [&Container<'_>; 2],
    address: Ipv4Addr,
) -> Result<(TcpStream, TcpStream), Trouble> {
    let failed = || Trouble::io("no stream between two containers");
    let listener = to.netns.enter(|| TcpListener::bind((address, 0)))?;
    let listener = listener.map_err(failed())?;
    let server = listener.local_addr().map_err(failed())?;
    let sender = eventually(PATIENCE, "two containers reach each other", || {
        let limit = Duration::from_secs(1);
        let connected = from
            .netns
            .enter(|| TcpStream::connect_timeout(&server, limit))?;
        Ok(connected.ok())
    })?;
    let (receiver, _) = listener.accept().map_err(failed())?;
    for end in [&sender, &receiver] {
        end.set_read_timeout(Some(PATIENCE)).map_err(failed())?;
        end.set_write_timeout(Some(PATIENCE)).map_err(failed())?;
    }
    // It has found its pace.
    pause(Duration::from_millis(100))?;
    Ok((sender, receiver))
}

/// Until the other end closes.
fn longest_pause(mut receiver: TcpStream) -> Result<f64, Trouble> {
    let mut bytes = vec![0; 1 << 16];
    let mut longest = Duration::ZERO;
    let mut since: Option<Instant> = None;
    loop {
        let read = receiver
            .read(&mut bytes)
            .map_err(Trouble::io("the stream that is to go on broke"))?;
        if read == 0 {
            return Ok(longest.as_secs_f64() * 1e3);
        }
        longest = longest.max(since.map_or(Duration::ZERO, |since| since.elapsed()));
        since = Some(Instant::now());
    }
}

const REVOKED: usize = 5;
/// Between two datagrams to one host.
const EVERY: Duration = Duration::from_millis(2);
const STREAM_EVERY: Duration = Duration::from_millis(2);
/// After so much of it nothing comes any more.
const SILENCE: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(10);
