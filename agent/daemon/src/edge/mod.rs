//! The edge of a network as the agent holds it: started, told of endpoints, asked what it did.

mod asked;
mod company;
mod counts;
mod forwards;
mod host_names;
mod names;
mod port;
mod query_log;
mod task;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use agent_api::{DhcpReport, DnsServer, Forwarder, QueryLogEntry};
use dns_core::{EndpointNames, InsertNames, Zone};
use dns_io::Upstream;
use switch_core::edge::{Edge, EdgeConfig, HostRecord};
use switch_core::{Mac, PortId};
use switch_io::{Capabilities, FramePort, channel};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

pub(crate) use company::{Company, Member};
pub(crate) use counts::EdgeCounts;
pub(crate) use host_names::{HostNames, Told};
pub(crate) use names::NamesSettings;

use counts::Counts;
use names::Names;
use port::EdgePort;
use task::EdgeTask;

/// What an edge needs to know of its network.
pub(crate) struct EdgeSettings {
    pub(crate) edge: EdgeConfig,
    pub(crate) names: NamesSettings,
    pub(crate) leases: Leases,
}

/// Told of an endpoint, by its key, that was given its address by DHCP.
pub(crate) type Leases = Box<dyn Fn(&str, Mac, Ipv4Addr) + Send>;

/// An endpoint as its edge sees it.
pub(crate) struct EdgeHost {
    /// Its port, whose questions are its own; absent where it is on another host, and asks there.
    pub(crate) port: Option<PortId>,
    pub(crate) mac: Mac,
    /// Absent where there is no IPv4 address to lease, or the network leases none.
    pub(crate) dhcp: Option<HostRecord>,
    pub(crate) names: EndpointNames,
    /// Its own name servers, which go before the network's.
    pub(crate) dns: Vec<DnsServer>,
}

/// The names of a network. Only its own edge changes them; the edges of other networks read them for endpoints whose
/// container is here too.
pub(crate) type SharedZone = Arc<RwLock<Zone>>;

/// An endpoint that the edge's task is about to know.
#[must_use]
pub(crate) struct Registration(Option<oneshot::Receiver<()>>);

impl Registration {
    pub(crate) fn wait(self) {
        if let Some(registered) = self.0 {
            // A task that is gone leases nothing.
            let _ = registered.blocking_recv();
        }
    }
}

/// The agent's hold on a running edge; dropping it ends the task.
pub(crate) struct EdgeHandle {
    commands: mpsc::Sender<Command>,
    names: Arc<Names>,
    counts: Arc<Counts>,
}

enum Command {
    Insert {
        key: String,
        mac: Mac,
        record: Box<HostRecord>,
        done: oneshot::Sender<()>,
    },
    Remove {
        key: String,
    },
    Report(oneshot::Sender<Forwarder>),
    Dhcp(oneshot::Sender<DhcpReport>),
    Log(mpsc::Sender<QueryLogEntry>),
    #[cfg(test)]
    Panic,
}

impl EdgeHandle {
    /// Starts the task on `runtime`; the port is for the network's bridge.
    pub(crate) fn start(
        runtime: &tokio::runtime::Handle,
        settings: EdgeSettings,
    ) -> std::io::Result<(Self, Box<dyn FramePort>)> {
        let (port, end) = channel(QUEUE_FRAMES, Capabilities::NONE)?;
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let _inside = runtime.enter();
        #[allow(
            deprecated,
            reason = "an OwnedFd stays open as long as it lives, which is all that `register` asks for"
        )]
        let ready = AsyncFd::new(end.as_fd().try_clone_to_owned()?)?;
        let names = Arc::new(Names::new(settings.names));
        let (end, counts) = (Arc::new(end), Arc::new(Counts::default()));
        let port = EdgePort {
            port,
            end: Arc::clone(&end),
            config: settings.edge.clone(),
            names: Arc::clone(&names),
            counts: Arc::clone(&counts),
        };
        let edge = Edge::new(settings.edge);
        let known = (Arc::clone(&names), Arc::clone(&counts));
        let task = EdgeTask::new(edge, known, settings.leases);
        runtime.spawn(task.run(end, ready, commands));
        let handle = Self {
            commands: sender,
            names,
            counts,
        };
        Ok((handle, Box::new(port)))
    }

    /// Registers the endpoint `key`; blocks while the task has many commands waiting.
    pub(crate) fn insert(&self, key: &str, host: EdgeHost) -> Result<(), InsertNames> {
        self.begin_insert(key, host).map(Registration::wait)
    }

    /// The same, for many: an address is leased to none before it was waited for.
    pub(crate) fn begin_insert(
        &self,
        key: &str,
        host: EdgeHost,
    ) -> Result<Registration, InsertNames> {
        self.names.insert(key, host.port, host.names, &host.dns)?;
        let leased = host.dhcp.map(|record| {
            let (done, registered) = oneshot::channel();
            self.tell(Command::Insert {
                key: key.to_owned(),
                mac: host.mac,
                record: Box::new(record),
                done,
            });
            registered
        });
        Ok(Registration(leased))
    }

    /// Calls the network otherwise, as long as nobody is on it.
    pub(crate) fn rename(&self, network: &str) {
        self.names.rename(network);
    }

    /// Forgets the endpoint `key`.
    pub(crate) fn remove(&self, key: &str) {
        self.names.remove(key);
        self.tell(Command::Remove {
            key: key.to_owned(),
        });
    }

    pub(crate) fn zone(&self) -> SharedZone {
        self.names.zone()
    }

    pub(crate) fn upstream(&self) -> Arc<Upstream> {
        self.names.upstream()
    }

    /// The addresses that whoever is behind the port would be told of a name, as far as this host's networks have it. Nobody's
    /// turn is taken.
    pub(crate) fn peek(&self, ingress: PortId, name: &str) -> Vec<IpAddr> {
        self.names.peek(ingress, name)
    }

    /// Says what else the sandbox of endpoint `key` is on, from now on: it may know those networks' names, and may ask the world
    /// if one of them may.
    pub(crate) fn accompany(&self, key: &str, company: Arc<Company>) {
        self.names.accompany(key, company);
    }

    /// What was done so far. Nobody is asked.
    pub(crate) fn counts(&self) -> EdgeCounts {
        self.counts.seen(&self.names)
    }

    /// What the forwarder did so far; `None` when there is none any more.
    pub(crate) fn report(&self) -> Option<Forwarder> {
        let (done, report) = oneshot::channel();
        self.tell(Command::Report(done));
        report.blocking_recv().ok()
    }

    /// What the DHCP server did so far; `None` when there is none any more.
    pub(crate) fn dhcp(&self) -> Option<DhcpReport> {
        let (done, report) = oneshot::channel();
        self.tell(Command::Dhcp(done));
        report.blocking_recv().ok()
    }

    /// The queries from now on, until the network goes or too many others read them too.
    pub(crate) fn log(&self) -> mpsc::Receiver<QueryLogEntry> {
        let (sender, entries) = mpsc::channel(LOG_QUEUED_MAX);
        self.tell(Command::Log(sender));
        entries
    }

    fn tell(&self, command: Command) {
        // A task that is gone has forgotten everything.
        let _ = self.commands.blocking_send(command);
    }
}

/// Nothing that panics runs under these locks, so a poisoned one is as good as any.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Frames that wait for the edge, half of which one port may take; DNS clients retry what is dropped beyond.
const QUEUE_FRAMES: usize = 1024;
const COMMANDS_MAX: usize = 64;
/// Entries that wait for one reader of the log; those beyond are counted instead.
const LOG_QUEUED_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use dns_core::{Policy, ZoneConfig};
    use switch_io::FrameBuffer;

    use super::*;

    const PORT: PortId = PortId(3);
    const WEB: Mac = Mac::new([2, 0, 0, 0, 0, 3]);

    fn settings() -> EdgeSettings {
        EdgeSettings {
            edge: EdgeConfig {
                gateway_mac: Mac::new([2, 0, 0, 0, 0, 1]),
                v4: Some(([10, 0, 0, 1].into(), 24)),
                v6: None,
                mtu: 1500,
                dns_servers: Vec::new(),
                domain: None,
                lease_s: 60,
                routed: true,
                seed: 7,
            },
            names: NamesSettings {
                zone: ZoneConfig {
                    network: "lab".to_owned(),
                    subnets: Vec::new(),
                    records: Vec::new(),
                },
                policy: Policy::Internal,
                dns: Vec::new(),
                resolv_conf: "/nonexistent".into(),
                blocks_private: false,
                host: Arc::default(),
            },
            leases: Box::new(|_, _, _| ()),
        }
    }

    /// A DHCPDISCOVER of the station in an envelope, without a UDP checksum.
    fn discover() -> Vec<u8> {
        let mut message = vec![1, 1, 6, 0, 0, 0, 0, 7];
        message.resize(28, 0);
        message.extend(WEB.octets());
        message.resize(236, 0);
        message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255]);
        let length = |more: usize| u16::try_from(message.len() + more).unwrap().to_be_bytes();
        let mut packet = vec![0x45, 0];
        packet.extend(length(28));
        packet.extend([0, 1, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
        let sum: u32 = packet
            .chunks(2)
            .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
            .sum();
        let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        packet[10..12].copy_from_slice(&(!sum).to_be_bytes());
        packet.extend([0, 68, 0, 67]);
        packet.extend(length(8));
        packet.extend([0, 0]);
        packet.extend(message);
        let ethernet = [&[255; 6][..], &WEB.octets(), &[8, 0]].concat();
        [&[0; 10][..], &ethernet, &packet].concat()
    }

    /// Whether the edge offers the station an address.
    fn is_offered(port: &dyn FramePort) -> bool {
        port.write_from(PORT, &[&discover()]);
        let mut buffers = vec![FrameBuffer::new()];
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if port.read(&mut buffers).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    #[test]
    fn an_edge_that_panicked_goes_on_with_the_same_endpoints() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (edge, port) = EdgeHandle::start(runtime.handle(), settings()).unwrap();
        let (over, is_over) = oneshot::channel::<()>();
        let driver = std::thread::spawn(move || runtime.block_on(is_over));
        let host = EdgeHost {
            port: Some(PORT),
            mac: WEB,
            dhcp: Some(HostRecord {
                ipv4: [10, 0, 0, 3].into(),
                hostname: None,
                dns_servers: Vec::new(),
            }),
            names: EndpointNames {
                name: "web".to_owned(),
                ..EndpointNames::default()
            },
            dns: Vec::new(),
        };
        edge.insert("web", host).unwrap();
        assert!(is_offered(&*port));
        for _ in 0..3 {
            edge.tell(Command::Panic);
            assert!(is_offered(&*port));
        }
        edge.remove("web");
        assert_eq!(edge.dhcp().unwrap().replies, 1, "it is a new one");
        over.send(()).unwrap();
        driver.join().unwrap().unwrap();
    }
}
