//! The task that runs a network's edge: frames from the bridge in, answers out.
//!
//! # Theory of operation
//!
//! One task owns the [`Edge`], the [`Zone`] and the choice of upstream of one network. Commands from the agent go before
//! frames: whatever a command says holds for every frame that a container sends after the call that queued it returned.
//! Names of the network are answered at once; anything else is asked of the upstream by a task of its own, bounded in
//! number, and comes back through a channel. The edge keeps a query open for as long as that may take.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dns_core::{Answer, EndpointNames, InsertNames, Policy, Zone, ZoneConfig, answer, servfail};
use dns_io::Upstream;
use switch_core::edge::{Edge, EdgeConfig, EdgeEvent, HostRecord, QueryId, Transport};
use switch_core::{Mac, Time};
use switch_io::ChannelEnd;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::warn;

/// What an edge needs to know of its network.
pub(crate) struct EdgeSettings {
    pub(crate) edge: EdgeConfig,
    pub(crate) zone: ZoneConfig,
    pub(crate) policy: Policy,
    /// The network's own name servers; the host's where empty.
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) resolv_conf: PathBuf,
}

/// An endpoint as its edge sees it.
pub(crate) struct EdgeHost {
    pub(crate) mac: Mac,
    /// Absent where there is no IPv4 address to lease, or the endpoint is another host's.
    pub(crate) dhcp: Option<HostRecord>,
    pub(crate) names: EndpointNames,
    /// Its own name servers, which go before the network's.
    pub(crate) dns: Vec<IpAddr>,
}

/// The agent's hold on a running edge; dropping it ends the task.
pub(crate) struct EdgeHandle {
    commands: mpsc::Sender<Command>,
}

impl EdgeHandle {
    /// Starts the task on `runtime`; it talks to the bridge through `end`.
    pub(crate) fn start(
        runtime: &tokio::runtime::Handle,
        end: ChannelEnd,
        settings: EdgeSettings,
    ) -> std::io::Result<Self> {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let _inside = runtime.enter();
        #[allow(
            deprecated,
            reason = "an OwnedFd stays open as long as it lives, which is all that `register` asks for"
        )]
        let ready = AsyncFd::new(end.as_fd().try_clone_to_owned()?)?;
        runtime.spawn(EdgeTask::new(settings).run(end, ready, commands));
        Ok(Self { commands: sender })
    }

    /// Registers the endpoint `key`; blocks while the task has many commands waiting.
    pub(crate) fn insert(&self, key: &str, host: EdgeHost) -> Result<(), InsertNames> {
        let (done, result) = oneshot::channel();
        if self
            .commands
            .blocking_send(Command::Insert {
                key: key.to_owned(),
                host: Box::new(host),
                done,
            })
            .is_err()
        {
            return Ok(());
        }
        result.blocking_recv().unwrap_or(Ok(()))
    }

    /// Forgets the endpoint `key`.
    pub(crate) fn remove(&self, key: &str) {
        // A task that is gone has forgotten everything.
        let _ = self.commands.blocking_send(Command::Remove {
            key: key.to_owned(),
        });
    }
}

enum Command {
    Insert {
        key: String,
        host: Box<EdgeHost>,
        done: oneshot::Sender<Result<(), InsertNames>>,
    },
    Remove {
        key: String,
    },
}

struct EdgeTask {
    edge: Edge,
    zone: Zone,
    policy: Policy,
    upstream: Arc<Upstream>,
    hosts: HashMap<String, Registered>,
    /// Upstreams of the endpoints that have their own, by address.
    own_upstreams: HashMap<IpAddr, Arc<Upstream>>,
    forwards: Arc<Semaphore>,
    replies: (mpsc::Sender<Forwarded>, mpsc::Receiver<Forwarded>),
    start: Instant,
}

struct Registered {
    /// That a DHCP lease is for.
    mac: Option<Mac>,
    addresses: Vec<IpAddr>,
}

struct Forwarded {
    query: QueryId,
    message: Vec<u8>,
}

impl EdgeTask {
    fn new(settings: EdgeSettings) -> Self {
        let upstream = match settings.dns.as_slice() {
            [] => Upstream::from_resolv_conf(settings.resolv_conf),
            servers => Upstream::new(&sockets(servers)),
        };
        Self {
            edge: Edge::new(settings.edge),
            zone: Zone::new(settings.zone),
            policy: settings.policy,
            upstream: Arc::new(upstream),
            hosts: HashMap::new(),
            own_upstreams: HashMap::new(),
            forwards: Arc::new(Semaphore::new(FORWARDS_MAX)),
            replies: mpsc::channel(FORWARDS_MAX),
            start: Instant::now(),
        }
    }

    async fn run(
        mut self,
        end: ChannelEnd,
        readable: AsyncFd<OwnedFd>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(reply) = self.replies.1.recv() => self.edge.answer(reply.query, &reply.message),
                ready = readable.readable() => match ready {
                    Ok(mut ready) => if !self.take_frames(&end) {
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
            while let Some(frame) = self.edge.poll_transmit() {
                // A full queue towards the bridge drops the frame and counts it there.
                end.send(&frame);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Insert { key, host, done } => {
                let result = self.insert(key, *host);
                // Nobody waits when the agent gave up on the request.
                let _ = done.send(result);
            }
            Command::Remove { key } => self.remove(&key),
        }
    }

    fn insert(&mut self, key: String, host: EdgeHost) -> Result<(), InsertNames> {
        let addresses: Vec<IpAddr> = [host.names.v4.map(IpAddr::V4), host.names.v6.map(IpAddr::V6)]
            .into_iter()
            .flatten()
            .collect();
        self.zone.insert(&key, host.names)?;
        let mac = host.dhcp.is_some().then_some(host.mac);
        if let Some(dhcp) = host.dhcp {
            self.edge.insert_host(host.mac, dhcp);
        }
        if !host.dns.is_empty() {
            let own = Arc::new(Upstream::new(&sockets(&host.dns)));
            self.own_upstreams
                .extend(addresses.iter().map(|address| (*address, Arc::clone(&own))));
        }
        self.hosts.insert(key, Registered { mac, addresses });
        Ok(())
    }

    fn remove(&mut self, key: &str) {
        self.zone.remove(key);
        if let Some(host) = self.hosts.remove(key) {
            if let Some(mac) = host.mac {
                self.edge.remove_host(mac);
            }
            for address in host.addresses {
                self.own_upstreams.remove(&address);
            }
        }
    }

    /// Hands waiting frames to the edge, a bounded number at a time; says whether more may wait.
    fn take_frames(&mut self, end: &ChannelEnd) -> bool {
        let now = self.now();
        for _ in 0..FRAMES_BATCH {
            let Ok(received) = end.try_recv() else {
                return false;
            };
            self.edge.handle_input(now, received.frame());
        }
        true
    }

    fn answer_events(&mut self) {
        while let Some(event) = self.edge.poll_event() {
            let EdgeEvent::Dns {
                query,
                source,
                transport,
                message,
            } = event;
            let transport = carried_by(transport);
            match answer(&self.zone, &message, transport, self.policy) {
                Answer::Reply(reply) | Answer::Refuse(reply) => self.edge.answer(query, &reply),
                Answer::Forward => self.forward(query, source, transport, message),
                Answer::Ignore => {}
            }
        }
    }

    fn forward(
        &mut self,
        query: QueryId,
        source: IpAddr,
        transport: dns_core::Transport,
        message: Vec<u8>,
    ) {
        let Ok(permit) = Arc::clone(&self.forwards).try_acquire_owned() else {
            if let Some(refusal) = servfail(&message) {
                self.edge.answer(query, &refusal);
            }
            return;
        };
        let upstream = Arc::clone(self.own_upstreams.get(&source).unwrap_or(&self.upstream));
        let replies = self.replies.0.clone();
        tokio::spawn(async move {
            let message = upstream.exchange(&message, transport).await;
            // The edge that asked may be gone.
            let _ = replies.send(Forwarded { query, message }).await;
            drop(permit);
        });
    }

    fn now(&self) -> Time {
        Time::from_millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

fn carried_by(transport: Transport) -> dns_core::Transport {
    match transport {
        Transport::Udp => dns_core::Transport::Udp,
        Transport::Tcp => dns_core::Transport::Tcp,
    }
}

fn sockets(servers: &[IpAddr]) -> Vec<SocketAddr> {
    servers
        .iter()
        .map(|server| SocketAddr::new(*server, DNS_UDP_PORT))
        .collect()
}

async fn sleep_until(due: Option<Time>, start: Instant) {
    match due {
        Some(due) => {
            tokio::time::sleep_until((start + Duration::from_millis(due.as_millis())).into()).await
        }
        None => std::future::pending().await,
    }
}

const DNS_UDP_PORT: u16 = 53;
const COMMANDS_MAX: usize = 64;
/// Queries that wait for an upstream at a time; more are answered SERVFAIL at once.
const FORWARDS_MAX: usize = 512;
/// Frames taken before answers are sent and commands looked at again.
const FRAMES_BATCH: usize = 64;
