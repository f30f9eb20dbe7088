//! Host ports: how networks get out of the switch and into the host's own routing.
//!
//! # Theory of operation
//!
//! Rules come first, then the link ([`crate::publishing`] says how). Where the rules cannot be made there is no host port: the
//! network works inside, says why it has no way out, and gets one as soon as the rules are there.
//!
//! Containers outlive the agent, and so do rules, settings and host links ([`super::host_link`]) where there is something left
//! that they are for.

use std::sync::Arc;
use std::time::Duration;

use agent_core::events::Notice;
use agent_core::record::NetworkRecord;
use agent_host::firewall::Disturbance;
use agent_host::netlink::NetlinkError;
use switch_io::{AddPort, OpenTap};

use super::{HostPort, Network, Networks};
use crate::locks::lock;
use crate::publishing::Unsettled;

/// Why a network has no way out.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenHostPort {
    #[error(transparent)]
    Rules(#[from] Unsettled),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Tap(#[from] OpenTap),
    #[error("no host port: {0}")]
    Port(#[from] AddPort),
    #[error("no host port: {0}")]
    Link(#[from] std::io::Error),
    #[error("the packet filter was changed by somebody else meanwhile")]
    Disturbed,
}

impl Networks {
    /// Opens the host port of a network that is just being made, in its turn.
    pub(super) fn open_own_host_port(
        &self,
        record: &Arc<NetworkRecord>,
    ) -> Result<(), OpenHostPort> {
        if !record.has_host_link() {
            return Ok(());
        }
        self.filter.want_network(record);
        let ready = self.filter.open();
        self.open_one(record, ready)
    }

    /// Opens the host ports that are not open, all of them or, where the rules cannot be made, none.
    pub(crate) fn open_host_ports(&self) {
        let closed = self.closed_networks();
        if closed.is_empty() {
            return;
        }
        for record in &closed {
            self.filter.want_network(record);
        }
        let ready = self.filter.open();
        for record in closed {
            let _turn = self.turns.take(record.id.clone());
            // It may have opened, or gone, before the turn came.
            let is_closed = lock(&self.table)
                .networks
                .get(&record.id)
                .map(Network::is_closed);
            match is_closed {
                // What went wrong is kept with the network.
                Some(true) => drop(self.open_one(&record, ready.clone())),
                Some(false) => {}
                None => self.unwant(&record),
            }
        }
    }

    /// Goes on with the host ports that an agent before had, while its rules stand.
    pub(crate) fn adopt_host_ports(&self) {
        let held = self.closed_networks().into_iter();
        let held: Vec<_> = held.filter(|record| self.is_held(record)).collect();
        if held.is_empty() || !self.filter.take_over() {
            return;
        }
        for record in held {
            // What went wrong is kept with the network, and tried again with the others.
            let _ = self.open_one(&record, Ok(()));
        }
    }

    /// At the end of the start, when everything is known that the rules are about.
    pub(crate) fn open_first_host_ports(&self) {
        let open = self.open_networks();
        self.open_host_ports();
        if open.is_empty() {
            return;
        }
        if let Err(why) = self.filter.open() {
            return self.close_host_ports(&why.to_string());
        }
        // They may have lost something while no agent ran.
        if let Err(error) = self.mend_host_links() {
            self.ground.warn(error.to_string());
        }
    }

    /// A network went while its rules were asked for.
    fn unwant(&self, record: &NetworkRecord) {
        if self.filter.drop_network(&record.id)
            && let Err(why) = self.filter.settle()
        {
            self.ground.warn(why.to_string());
        }
    }

    fn open_networks(&self) -> Vec<Arc<NetworkRecord>> {
        let table = lock(&self.table);
        let open = table
            .present()
            .filter(|network| network.ways.host.is_some());
        open.map(|network| Arc::clone(&network.record)).collect()
    }

    fn closed_networks(&self) -> Vec<Arc<NetworkRecord>> {
        let table = lock(&self.table);
        let closed = table.present().filter(|network| network.is_closed());
        closed.map(|network| Arc::clone(&network.record)).collect()
    }

    pub(super) fn open_one(
        &self,
        record: &Arc<NetworkRecord>,
        ready: Result<(), Unsettled>,
    ) -> Result<(), OpenHostPort> {
        let segment = lock(&self.table)
            .networks
            .get(&record.id)
            .and_then(|network| network.segment.clone());
        let Some(segment) = segment else {
            return Ok(());
        };
        let opened = ready
            .map_err(OpenHostPort::from)
            .and_then(|()| self.raise_host_port(record, &segment));
        match opened {
            Ok(host) => self.commit(record, host),
            Err(error) => {
                self.note_closed(&record.id, &error.to_string());
                Err(error)
            }
        }
    }

    /// Unless the rules have fallen meanwhile.
    fn commit(&self, record: &NetworkRecord, host: HostPort) -> Result<(), OpenHostPort> {
        let is_kept = {
            let mut table = lock(&self.table);
            match table.networks.get_mut(&record.id) {
                Some(network) if self.filter.stands() => {
                    network.ways.host = Some(host.clone());
                    network.closed = None;
                    true
                }
                _ => false,
            }
        };
        if !is_kept {
            drop(self.drop_host_port(&record.id, &host));
            self.note_closed(&record.id, &OpenHostPort::Disturbed.to_string());
            return Err(OpenHostPort::Disturbed);
        }
        self.filter.lead_loopback(record);
        self.lead_to_lan(&record.id, true);
        Ok(())
    }

    fn note_closed(&self, id: &str, why: &str) {
        if let Some(network) = lock(&self.table).networks.get_mut(id) {
            if network.closed.as_deref() != Some(why) {
                tracing::warn!(network = network.record.name, why, "no host port");
            }
            network.closed = Some(why.to_owned());
        }
        self.closed.notify_one();
    }

    /// Takes every host port away, because there are no rules any more.
    fn close_host_ports(&self, why: &str) {
        let mut taken = Vec::new();
        for network in lock(&self.table).networks.values_mut() {
            if let Some(host) = network.ways.host.take() {
                network.closed = Some(why.to_owned());
                taken.push((network.record.id.clone(), host));
            }
        }
        for (id, host) in taken {
            let counts = self.drop_host_port(&id, &host).counters();
            self.add_gone(&id, &counts);
        }
        self.closed.notify_one();
    }

    /// Opens host ports that are closed as soon as that can be.
    pub(crate) fn keep_opening(self: &Arc<Self>) {
        let (closed, networks) = (Arc::clone(&self.closed), Arc::downgrade(self));
        self.ground.runtime.spawn(async move {
            loop {
                closed.notified().await;
                tokio::time::sleep(OPEN_AGAIN).await;
                let Some(networks) = networks.upgrade() else {
                    return;
                };
                let tried = tokio::task::spawn_blocking(move || {
                    networks.watch_filter();
                    networks.open_host_ports();
                });
                // It only fails when the agent is shutting down.
                let _ = tried.await;
            }
        });
    }

    /// Puts our rules back whenever somebody flushes them, or Docker's chain appears.
    pub(crate) fn watch_filter(self: &Arc<Self>) {
        let Some(mut watch) = self.filter.watch() else {
            return;
        };
        let networks = Arc::downgrade(self);
        self.ground.runtime.spawn(async move {
            while let Some(disturbance) = watch.next().await {
                let Some(networks) = networks.upgrade() else {
                    return;
                };
                tracing::info!(
                    ?disturbance,
                    "the packet filter was changed by somebody else"
                );
                let repaired = tokio::task::spawn_blocking(move || networks.repair(disturbance));
                // It only fails when the agent is shutting down.
                let _ = repaired.await;
            }
        });
    }

    fn repair(&self, disturbance: Disturbance) {
        let Err(why) = self.filter.settle() else {
            let what = match disturbance {
                Disturbance::OurTable => "rules",
                Disturbance::DockerUser => "docker-user",
                Disturbance::Firewalld => "firewalld",
                Disturbance::Overrun => "unknown",
            };
            return self.tell(Notice::daemon("repair").with("what", what));
        };
        match disturbance {
            Disturbance::OurTable | Disturbance::Overrun => self.close_host_ports(&why.to_string()),
            // Our own table still stands.
            Disturbance::DockerUser | Disturbance::Firewalld => self.ground.warn(why.to_string()),
        }
    }
}

const OPEN_AGAIN: Duration = Duration::from_secs(1);
