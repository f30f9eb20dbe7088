//! The edge of a network as the agent holds it: started, told of endpoints, asked what it did.

mod forwards;
mod query_log;
mod task;

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use agent_api::{DnsServer, Forwarder, QueryLogEntry};
use dns_core::{EndpointNames, InsertNames, Policy, PrivateNames, Zone, ZoneConfig};
use switch_core::Mac;
use switch_core::edge::{EdgeConfig, HostRecord};
use switch_io::ChannelEnd;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use task::EdgeTask;

/// What an edge needs to know of its network.
pub(crate) struct EdgeSettings {
    pub(crate) edge: EdgeConfig,
    pub(crate) zone: ZoneConfig,
    pub(crate) policy: Policy,
    /// The network's own name servers; the host's where empty.
    pub(crate) dns: Vec<DnsServer>,
    pub(crate) resolv_conf: PathBuf,
    /// Whether answers of servers may not point into private networks.
    pub(crate) blocks_private: bool,
}

/// An endpoint as its edge sees it.
pub(crate) struct EdgeHost {
    pub(crate) mac: Mac,
    /// Absent where there is no IPv4 address to lease.
    pub(crate) dhcp: Option<HostRecord>,
    pub(crate) names: EndpointNames,
    /// Its own name servers, which go before the network's.
    pub(crate) dns: Vec<DnsServer>,
}

/// The names of a network. Only its own edge changes them; the edges of other networks read them for endpoints whose
/// container is here too.
pub(crate) type SharedZone = Arc<RwLock<Zone>>;

/// The agent's hold on a running edge; dropping it ends the task.
pub(crate) struct EdgeHandle {
    commands: mpsc::Sender<Command>,
    zone: SharedZone,
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
    Announce {
        mac: Mac,
        address: Ipv4Addr,
    },
    SetPrivate(Arc<PrivateNames>),
    SetOthers {
        key: String,
        zones: Vec<SharedZone>,
    },
    Report(oneshot::Sender<Forwarder>),
    Log(mpsc::Sender<QueryLogEntry>),
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
        let zone = Arc::new(RwLock::new(Zone::new(settings.zone.clone())));
        let task = EdgeTask::new(settings, Arc::clone(&zone));
        runtime.spawn(task.run(end, ready, commands));
        Ok(Self {
            commands: sender,
            zone,
        })
    }

    /// Registers the endpoint `key`; blocks while the task has many commands waiting.
    pub(crate) fn insert(&self, key: &str, host: EdgeHost) -> Result<(), InsertNames> {
        let (done, result) = oneshot::channel();
        self.tell(Command::Insert {
            key: key.to_owned(),
            host: Box::new(host),
            done,
        });
        result.blocking_recv().unwrap_or(Ok(()))
    }

    /// Forgets the endpoint `key`.
    pub(crate) fn remove(&self, key: &str) {
        self.tell(Command::Remove {
            key: key.to_owned(),
        });
    }

    /// Tells everybody on the network, here and on other hosts, that `mac` has `address` now. More than once, because other
    /// hosts take nothing from this one before they know of its endpoint.
    pub(crate) fn announce(&self, runtime: &tokio::runtime::Handle, mac: Mac, address: Ipv4Addr) {
        let commands = self.commands.downgrade();
        runtime.spawn(async move {
            for pause in ANNOUNCE_PAUSES {
                tokio::time::sleep(pause).await;
                let announce = Command::Announce { mac, address };
                let Some(commands) = commands.upgrade() else {
                    return;
                };
                // A task that is gone has nobody to tell.
                let _ = commands.send(announce).await;
            }
        });
    }

    /// Says which names this host keeps to itself, from now on.
    pub(crate) fn set_private(&self, private: Arc<PrivateNames>) {
        self.tell(Command::SetPrivate(private));
    }

    pub(crate) fn zone(&self) -> SharedZone {
        Arc::clone(&self.zone)
    }

    /// Says which other networks the container of endpoint `key` is on: it may know their names.
    pub(crate) fn set_others(&self, key: &str, zones: Vec<SharedZone>) {
        self.tell(Command::SetOthers {
            key: key.to_owned(),
            zones,
        });
    }

    /// What the forwarder did so far; `None` when there is none any more.
    pub(crate) fn report(&self) -> Option<Forwarder> {
        let (done, report) = oneshot::channel();
        self.tell(Command::Report(done));
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

/// A second in all: longer than the news of an endpoint takes.
const ANNOUNCE_PAUSES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_millis(700),
];
const COMMANDS_MAX: usize = 64;
/// Entries that wait for one reader of the log; those beyond are counted instead.
const LOG_QUEUED_MAX: usize = 1024;
