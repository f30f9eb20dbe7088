//! IPv4 addresses that the DHCP server of a LAN leases to endpoints (`--ip dhcp`).
//!
//! # Theory of operation
//!
//! The address is leased before the endpoint is planned, with the MAC that the endpoint will have; so the container has it from its
//! first instruction on, and needs no client. A task per endpoint keeps the lease ([`DhcpClient`]) while the endpoint is there,
//! and gives it back when it goes. It outlives the agent: the next one asks for the address on record at once. An address that the
//! server takes back stays with the container, which cannot be told; the log says so, and it is asked for again.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use agent_core::endpoint::Attach;
use agent_core::record::EndpointRecord;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use switch_core::{DhcpClient, LeaseEvent, Mac, Time};
use switch_io::LeaseWire;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::locks::lock;
use crate::networks::{Networks, Place};
use crate::random::random_seed;

/// The leases that are kept.
#[derive(Default)]
pub(super) struct Leases {
    /// By endpoint. What is sent here ends the task, which gives the address back.
    keepers: Mutex<BTreeMap<String, oneshot::Sender<()>>>,
}

/// A client that has an address, and what it talks through.
pub(super) struct Leased {
    client: DhcpClient,
    wire: LeaseWire,
    pub(super) address: Ipv4Addr,
}

/// Leases an address for an endpoint that is about to be made.
pub(super) fn obtain(
    networks: &Networks,
    place: &Place,
    name: &str,
    mac: Mac,
) -> Result<Leased, Attach> {
    let network = &place.record.name;
    let failed = |why: String| Attach::Lease {
        name: name.to_owned(),
        network: network.clone(),
        why,
    };
    let wire = networks.lease_wire(&place.record.id);
    let mut wire = wire.map_err(|error| failed(error.to_string()))?;
    let transaction = u32::try_from(random_seed() >> 32).unwrap_or(0);
    let mut client = DhcpClient::new(mac, Some(name.to_owned()), transaction, None, now());
    let deadline = Instant::now() + PATIENCE;
    loop {
        client.handle_timeout(now());
        send(&mut client, &wire);
        if let Some(LeaseEvent::Bound(lease)) = client.poll_event() {
            return Ok(Leased {
                client,
                wire,
                address: lease.address,
            });
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failed(format!(
                "no DHCP server on the LAN leased one within {} s",
                PATIENCE.as_secs()
            )));
        }
        let wait = client.poll_timeout().since(now()).min(left);
        let wait = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(0),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let mut ready = [PollFd::new(&wire, PollFlags::IN)];
        // Whatever it says, what is there is read.
        let _ = poll(&mut ready, Some(&wait));
        while let Ok(Some(frame)) = wire.receive() {
            client.handle_input(now(), frame);
        }
    }
}

impl Leased {
    /// What was leased is not used after all.
    pub(super) fn give_back(self) {
        if let Some(frame) = self.client.release() {
            self.wire.send(&frame);
        }
    }
}

impl Leases {
    /// Keeps an endpoint's address: as it was just leased, or as it is on record.
    pub(super) fn keep(
        &self,
        runtime: &tokio::runtime::Handle,
        networks: &Arc<Networks>,
        record: &EndpointRecord,
        leased: Option<Leased>,
    ) {
        let (stop, stopped) = oneshot::channel();
        lock(&self.keepers).insert(record.id.clone(), stop);
        let keeper = Keeper {
            networks: Arc::downgrade(networks),
            network: record.network.clone(),
            endpoint: record.name.clone(),
        };
        let (client, wire) = match leased {
            Some(leased) => (leased.client, Some(leased.wire)),
            None => {
                let transaction = u32::try_from(random_seed() >> 32).unwrap_or(0);
                let mac = Mac::new(record.mac);
                let name = Some(record.name.clone());
                let client = DhcpClient::new(mac, name, transaction, record.ipv4, now());
                (client, None)
            }
        };
        runtime.spawn(keeper.run(client, wire, stopped));
    }

    /// The same of an endpoint that is there again, where nobody does.
    pub(super) fn resume(
        &self,
        runtime: &tokio::runtime::Handle,
        networks: &Arc<Networks>,
        record: &EndpointRecord,
    ) {
        if record.is_leased && !lock(&self.keepers).contains_key(&record.id) {
            self.keep(runtime, networks, record, None);
        }
    }

    /// The endpoint is going: its address is given back.
    pub(super) fn end(&self, endpoint: &str) {
        if let Some(stop) = lock(&self.keepers).remove(endpoint) {
            // A task that is gone keeps nothing.
            let _ = stop.send(());
        }
    }
}

struct Keeper {
    networks: Weak<Networks>,
    network: String,
    endpoint: String,
}

impl Keeper {
    async fn run(
        self,
        mut client: DhcpClient,
        wire: Option<LeaseWire>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let mut wire = wire.and_then(watched);
        loop {
            if wire.is_none() {
                let Some(networks) = self.networks.upgrade() else {
                    return;
                };
                wire = networks.lease_wire(&self.network).ok().and_then(watched);
            }
            client.handle_timeout(now());
            if let Some(wire) = &wire {
                send(&mut client, wire.get_ref());
            }
            self.tell(&mut client);
            let due = client.poll_timeout().since(now()).max(PAUSE);
            let due = match wire {
                Some(_) => due,
                None => due.min(LOOK_AGAIN),
            };
            tokio::select! {
                ended = &mut stopped => {
                    // Dropped with the agent: the endpoint stays.
                    if let (Ok(()), Some(wire), Some(frame)) = (ended, &wire, client.release()) {
                        wire.get_ref().send(&frame);
                    }
                    return;
                }
                () = tokio::time::sleep(due) => {}
                is_well = heard(wire.as_mut(), &mut client) => if !is_well {
                    wire = None;
                }
            }
        }
    }

    fn tell(&self, client: &mut DhcpClient) {
        let endpoint = &self.endpoint;
        match client.poll_event() {
            Some(LeaseEvent::Bound(lease)) => {
                tracing::debug!(endpoint, address = %lease.address, "address leased");
            }
            Some(LeaseEvent::Lost) => tracing::warn!(
                endpoint,
                "the LAN's DHCP server gives its address to somebody else; detach it and attach it again"
            ),
            None => {}
        }
    }
}

/// Reads what is there; `false` where the wire is dead. For ever without one.
async fn heard(wire: Option<&mut AsyncFd<LeaseWire>>, client: &mut DhcpClient) -> bool {
    let Some(wire) = wire else {
        return std::future::pending().await;
    };
    let Ok(mut ready) = wire.readable_mut().await else {
        return false;
    };
    loop {
        match ready.get_inner_mut().receive() {
            Ok(Some(frame)) => client.handle_input(now(), frame),
            Ok(None) => {
                ready.clear_ready();
                return true;
            }
            Err(_) => return false,
        }
    }
}

#[allow(
    deprecated,
    reason = "a wire's descriptor stays open as long as the wire lives, which is all that `register` asks for"
)]
fn watched(wire: LeaseWire) -> Option<AsyncFd<LeaseWire>> {
    AsyncFd::with_interest(wire, Interest::READABLE).ok()
}

fn send(client: &mut DhcpClient, wire: &LeaseWire) {
    if let Some(frame) = client.poll_transmit() {
        wire.send(&frame);
    }
}

fn now() -> Time {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    Time::at(start, Instant::now())
}

const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);
/// For the NIC, while it is away.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
