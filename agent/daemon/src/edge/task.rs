//! The task that runs a network's edge: frames from the bridge in, answers out.
//!
//! # Theory of operation
//!
//! One task owns the [`Edge`] of one network. It sees the frames that the port did not answer on the spot. What the
//! [`Names`] know is answered at once; anything else waits for an upstream among the [`Forwards`]. The edge keeps a query
//! open for as long as that may take. A frame that makes the edge panic takes along what was waiting in it, and no more: the
//! task goes on with a new one that knows the same endpoints. Commands from the agent go before frames: whatever a command says holds for every
//! frame that a container sends after the call that queued it returned.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use agent_api::{DhcpReport, Forwarder, ForwarderError, QueryOutcome};
use dns_core::{Carrier, Policy, Request};
use dns_io::{ServerAddress, Upstream};
use switch_core::edge::{self, Edge, EdgeCounters, EdgeEvent, HostRecord, Transmit};
use switch_core::{Mac, Time};
use switch_io::ChannelEnd;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::asked::Asked;
use super::counts::Counts;
use super::forwards::Forwards;
use super::names::{Decision, Names};
use super::query_log::QueryLog;
use super::{Command, Leases};
use crate::panics::contained_in;

pub(super) struct EdgeTask {
    edge: Edge,
    names: Arc<Names>,
    counts: Arc<Counts>,
    /// What the edge had counted when that was last noted.
    noted: EdgeCounters,
    /// Who has a DHCP lease, by endpoint.
    leased: HashMap<String, (Mac, HostRecord)>,
    leases: Leases,
    forwards: Forwards,
    log: QueryLog,
    start: Instant,
}

impl EdgeTask {
    pub(super) fn new(
        edge: Edge,
        (names, counts): (Arc<Names>, Arc<Counts>),
        leases: Leases,
    ) -> Self {
        Self {
            edge,
            names,
            counts,
            noted: EdgeCounters::default(),
            leased: HashMap::new(),
            leases,
            forwards: Forwards::default(),
            log: QueryLog::default(),
            start: Instant::now(),
        }
    }

    pub(super) async fn run(
        mut self,
        end: Arc<ChannelEnd>,
        readable: AsyncFd<OwnedFd>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        while contained_in(self.serve(&end, &readable, &mut commands))
            .await
            .is_none()
        {
            self.begin_anew();
        }
    }

    /// Until nobody holds the edge any more.
    async fn serve(
        &mut self,
        end: &ChannelEnd,
        readable: &AsyncFd<OwnedFd>,
        commands: &mut mpsc::Receiver<Command>,
    ) {
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some((asked, reply)) = self.forwards.next() => self.finish(asked, &reply),
                ready = readable.readable() => match ready {
                    Ok(mut ready) => if !self.take_frames(end) {
                        ready.clear_ready();
                    },
                    Err(error) => {
                        warn!(%error, "an edge lost its port");
                        return;
                    }
                },
                () = sleep_until(self.edge.poll_timeout(), self.start) => {
                    let now = self.now();
                    self.edge.handle_timeout(now);
                }
            }
            self.answer_events();
            self.tell_of_unserved();
            self.tell_of_leases();
            self.note_counts();
            while let Some(Transmit { egress, frame }) = self.edge.poll_transmit() {
                // A full queue towards the bridge drops the frame and counts it there.
                match egress {
                    Some(egress) => end.send_to(egress, &frame),
                    None => end.send(&frame),
                };
            }
        }
    }

    /// With the same endpoints, and nothing that waits.
    fn begin_anew(&mut self) {
        self.edge = Edge::new(self.edge.config().clone());
        self.noted = EdgeCounters::default();
        self.forwards = Forwards::default();
        for (mac, record) in self.leased.values() {
            self.edge.insert_host(*mac, record.clone());
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Insert {
                key,
                mac,
                record,
                done,
            } => {
                self.edge.insert_host(mac, (*record).clone());
                self.leased.insert(key, (mac, *record));
                // Nobody waits when the agent gave up on the request.
                let _ = done.send(());
            }
            Command::Remove { key } => {
                if let Some((mac, _)) = self.leased.remove(&key) {
                    self.edge.remove_host(mac);
                }
            }
            Command::Report(done) => self.report(done),
            Command::Dhcp(done) => {
                let edge = self.edge.counters();
                let _ = done.send(DhcpReport {
                    replies: edge.dhcp_replies,
                    unknown: edge.dhcp_unknown,
                    ignored: edge.dhcp_ignored,
                });
            }
            Command::Log(reader) => {
                self.log.add(reader);
                self.names.set_watched(true);
            }
            #[cfg(test)]
            Command::Panic => panic!("as if a frame had led to it"),
        }
    }

    /// Hands waiting frames to the edge, a bounded number at a time; says whether more may wait.
    fn take_frames(&mut self, end: &ChannelEnd) -> bool {
        let now = self.now();
        for _ in 0..FRAMES_BATCH {
            let Ok(received) = end.try_recv() else {
                return false;
            };
            // The port hands over nothing else.
            if let Some(ingress) = received.ingress() {
                self.edge.handle_input(now, ingress, received.frame());
            }
        }
        true
    }

    fn answer_events(&mut self) {
        while let Some(event) = self.edge.poll_event() {
            let EdgeEvent::Dns {
                query,
                ingress,
                source,
                carrier,
                message,
            } = event;
            let asked = Asked {
                query,
                ingress,
                source,
                carrier: match carrier {
                    edge::Carrier::Udp => Carrier::Udp,
                    edge::Carrier::Tcp => Carrier::Tcp,
                },
                arrived: Instant::now(),
                noted: self.log.note(&message),
            };
            let decision = self.names.decide(asked.ingress, asked.carrier, &message);
            match decision {
                Decision::Answer(outcome, reply) => self.reply(asked, outcome, &reply),
                Decision::Ask(upstream, request) => self.ask(asked, upstream, *request),
            }
        }
    }

    fn note_counts(&mut self) {
        let now = self.edge.counters();
        self.counts.note(&self.noted, &now);
        self.noted = now;
    }

    /// A container that waits for an address in vain looks like a broken network.
    fn tell_of_unserved(&mut self) {
        if let Some(client) = self.edge.poll_unserved() {
            let gateway = self.edge.config().v4.map(|(gateway, _)| gateway);
            warn!(
                %client,
                ?gateway,
                "a DHCP client that is no endpoint of the network gets no address; \
                 a server in a container could give it one (-o dhcp=container)"
            );
        }
    }

    fn tell_of_leases(&mut self) {
        while let Some((mac, address)) = self.edge.poll_lease() {
            let mut leased = self.leased.iter();
            let of = leased.find(|(_, (of, _))| *of == mac);
            if let Some((key, _)) = of {
                (self.leases)(key, mac, address);
            }
        }
    }

    fn ask(&mut self, asked: Asked, upstream: Arc<Upstream>, request: Request) {
        if self.forwards.has_room(asked.ingress) {
            self.forwards.start(asked, upstream, request);
        } else {
            self.counts.crowded_out.fetch_add(1, Ordering::Relaxed);
            let busy = request.failure(asked.carrier);
            self.reply(asked, QueryOutcome::Refused, &busy);
        }
    }

    fn finish(&mut self, asked: Asked, reply: &[u8]) {
        let has_failed = reply.get(3).is_none_or(|flags| flags & 0x0f == SERVFAIL);
        let failed = u64::from(has_failed);
        self.counts.failed.fetch_add(failed, Ordering::Relaxed);
        self.counts.forwarding.note(asked.arrived.elapsed());
        self.reply(asked, QueryOutcome::Forwarded, reply);
    }

    /// Sends the reply, counts it, and tells those who read the log. An empty one says that there will be none.
    fn reply(&mut self, asked: Asked, outcome: QueryOutcome, reply: &[u8]) {
        self.names.count(outcome);
        self.edge.answer(asked.query, reply);
        if let Some(noted) = asked.noted {
            let endpoint = self.names.name_of(asked.ingress);
            let entry = noted.into_entry(asked.source, endpoint, asked.carrier, outcome, reply);
            self.log.write(&entry);
            self.names.set_watched(self.log.is_read());
        }
    }

    /// Counts now; the servers may have to be read first, which nothing else waits for.
    fn report(&self, done: oneshot::Sender<Forwarder>) {
        let edge = self.edge.counters();
        let upstreams = self.names.upstreams();
        let errors = upstreams.iter().flat_map(|upstream| upstream.failures());
        let counted = |outcome| self.names.counted(outcome);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let answered = count(&self.counts.answered);
        let mut report = Forwarder {
            servers: Vec::new(),
            queries: answered + edge.queries + edge.queries_refused,
            local: counted(QueryOutcome::Local),
            cached: counted(QueryOutcome::Cached),
            forwarded: counted(QueryOutcome::Forwarded),
            forwarding_us: micros(self.counts.forwarding.total()),
            refused: counted(QueryOutcome::Refused),
            ignored: counted(QueryOutcome::Ignored),
            failed: count(&self.counts.failed),
            crowded_out: count(&self.counts.crowded_out) + edge.queries_refused,
            blocked: upstreams
                .iter()
                .map(|upstream| upstream.counters().blocked)
                .sum(),
            connections_reset: edge.connections_reset,
            errors: errors.map(error_view).collect(),
        };
        report.errors.sort_by_key(|error| error.at_s);
        let upstream = (self.names.policy() == Policy::Forward).then(|| self.names.upstream());
        tokio::spawn(async move {
            if let Some(upstream) = upstream {
                let servers = upstream.servers().await;
                report.servers = servers.iter().map(ServerAddress::to_string).collect();
            }
            // Nobody waits when the agent gave up on the request.
            let _ = done.send(report);
        });
    }

    fn now(&self) -> Time {
        Time::at(self.start, Instant::now())
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn error_view(failure: dns_io::Failure) -> ForwarderError {
    ForwarderError {
        at_s: failure
            .at
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        server: failure.server,
        error: failure.error,
        times: failure.times,
    }
}

async fn sleep_until(due: Option<Time>, start: Instant) {
    match due {
        Some(due) => {
            tokio::time::sleep_until((start + Duration::from_millis(due.as_millis())).into()).await
        }
        None => std::future::pending().await,
    }
}

/// Frames taken before answers are sent and commands looked at again.
const FRAMES_BATCH: usize = 64;
/// RFC 1035 §4.1.1.
const SERVFAIL: u8 = 2;
