//! Host ports: how networks get out of the switch and into the host's own routing.
//!
//! # Theory of operation
//!
//! What the packet filter does not know, nothing stops: so rules come first, then the kernel's settings that let the host
//! forward, then the link. Everything goes in the other order. Where the rules cannot be made there is no host port: the
//! network works inside, says why it has no way out, and gets one as soon as the rules are there.
//!
//! Containers outlive the agent, and a host port does not. Rules and settings stay at its end where there is something left
//! that they are for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use switch_core::PortKind;

use super::segment::{on_link, open_tap};
use super::state::{HostPort, Network, Segment, State, UnderlayRules};
use super::{Agent, settings};
use crate::firewall::{Disturbance, Firewall, FirewallError};
use crate::netlink::{HostLink, Netlink, configure_host_link};
use crate::record::NetworkRecord;
use agent_core::network::DRIVER_OFFLOAD;

impl Agent {
    /// Opens the host ports that are not open, all of them or, where the rules cannot be made, none.
    pub(super) fn open_host_ports(&self, state: &mut State) {
        if !state.networks.values().any(Network::is_closed) {
            return;
        }
        let ready = self.make_ready(state);
        let mut left = false;
        for network in state
            .networks
            .values_mut()
            .filter(|network| network.is_closed())
        {
            let Some(segment) = &mut network.segment else {
                continue;
            };
            let opened = ready
                .clone()
                .and_then(|()| self.raise_host_port(&network.record, segment));
            match opened {
                Ok(host) => {
                    segment.host = Some(host);
                    network.closed = None;
                }
                Err(why) => {
                    left = true;
                    if network.closed.as_ref() != Some(&why) {
                        tracing::warn!(network = network.record.name, why, "no host port");
                    }
                    network.closed = Some(why);
                }
            }
        }
        self.lead_loopback(state);
        if left {
            self.closed.notify_one();
        }
    }

    /// Rules and settings, as the networks on record need them.
    fn make_ready(&self, state: &mut State) -> Result<(), String> {
        let before = state.settings.clone();
        let changes = settings::plan(state);
        if let Err(why) = self.apply_firewall(state) {
            state.settings = before;
            return Err(why);
        }
        self.make_settings(state, &changes)
    }

    /// Takes every host port away, because there are no rules any more.
    fn close_host_ports(&self, state: &mut State, why: &str) {
        for network in state.networks.values_mut() {
            if let Some(segment) = &mut network.segment
                && let Some(host) = segment.host.take()
            {
                segment.gone += &self.switch.remove_port(host.port).counters();
                network.closed = Some(why.to_owned());
            }
        }
        self.closed.notify_one();
    }

    fn raise_host_port(
        &self,
        record: &NetworkRecord,
        segment: &Segment,
    ) -> Result<HostPort, String> {
        let link = record.host_link();
        let mut netlink = Netlink::open().map_err(|error| error.to_string())?;
        // One may be left of an agent that was killed a moment ago: its io_uring lets go of descriptors after its end.
        netlink
            .delete_link(&link)
            .map_err(|error| error.to_string())?;
        // The host's end takes offloads whatever the driver of the network's other TAPs.
        let tap = open_tap(DRIVER_OFFLOAD, &link).map_err(|error| error.to_string())?;
        let port = self
            .switch
            .add_port(
                &segment.bridge,
                tap.port,
                record.port_config(PortKind::Host),
            )
            .map_err(|error| format!("no host port: {error}"))?;
        if let Err(error) = configure_host_link(&mut netlink, &host_link(record)) {
            self.switch.remove_port(port);
            return Err(error.to_string());
        }
        Ok(HostPort { link, port })
    }

    /// Puts back what no network needs, and makes the rules fit those there are.
    pub(super) fn settle_host(&self, state: &mut State) -> Result<(), String> {
        self.restore_settings(state);
        self.apply_firewall(state)
    }

    /// The end of the agent. Nothing of it stays on the host, unless something is attached that goes on without it.
    pub(super) fn leave_host(&self, state: &mut State) {
        state.has_left = true;
        let attached: usize = state
            .networks
            .values()
            .map(|network| network.endpoints.len())
            .sum();
        if attached > 0 {
            tracing::info!(
                attached,
                "rules stay in the packet filter, for what is attached"
            );
            return self.close_published(state);
        }
        for (_, network) in std::mem::take(&mut state.networks) {
            if let Some(segment) = network.segment {
                self.lower_segment(&mut state.tunnels, segment);
            }
        }
        state.underlay = UnderlayRules::default();
        if let Err(why) = self.settle_host(state) {
            tracing::warn!(why, "rules stay in the packet filter");
        }
    }

    /// The packet filter, looked for again as long as it is not there.
    pub(super) fn firewall(&self) -> Result<&Firewall, FirewallError> {
        match self.firewall.get() {
            Some(firewall) => Ok(firewall),
            None => {
                let found = Firewall::find()?;
                Ok(self.firewall.get_or_init(|| found))
            }
        }
    }

    /// Opens host ports that are closed as soon as that can be.
    pub(super) fn keep_opening(self: &Arc<Self>) {
        let (closed, agent) = (Arc::clone(&self.closed), Arc::downgrade(self));
        self.runtime.spawn(async move {
            loop {
                closed.notified().await;
                tokio::time::sleep(OPEN_AGAIN).await;
                let Some(agent) = agent.upgrade() else { return };
                let tried = tokio::task::spawn_blocking(move || {
                    agent.watch_firewall();
                    agent.open_host_ports(&mut agent.state());
                });
                // It only fails when the agent is shutting down.
                let _ = tried.await;
            }
        });
    }

    /// Puts our rules back whenever somebody flushes them, or Docker's chain appears.
    pub(super) fn watch_firewall(self: &Arc<Self>) {
        let Ok(firewall) = self.firewall() else {
            return;
        };
        if self.watches_firewall.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut watch = match firewall.watch() {
            Ok(watch) => watch,
            Err(error) => return self.warn(error.to_string()),
        };
        let agent = Arc::downgrade(self);
        self.runtime.spawn(async move {
            while let Some(disturbance) = watch.next().await {
                let Some(agent) = agent.upgrade() else { return };
                tracing::info!(
                    ?disturbance,
                    "the packet filter was changed by somebody else"
                );
                let repaired =
                    tokio::task::spawn_blocking(move || agent.repair_firewall(disturbance));
                // It only fails when the agent is shutting down.
                let _ = repaired.await;
            }
        });
    }

    fn repair_firewall(&self, disturbance: Disturbance) {
        let mut state = self.state();
        let Err(why) = self.apply_firewall(&state) else {
            return;
        };
        match disturbance {
            Disturbance::OurTable | Disturbance::Overrun => self.close_host_ports(&mut state, &why),
            // Our own table still stands.
            Disturbance::DockerUser | Disturbance::Firewalld => self.warn(why),
        }
    }
}

/// The host's end of a network.
pub(super) fn host_link(record: &NetworkRecord) -> HostLink {
    HostLink {
        name: record.host_link(),
        mac: record.gateway_mac().octets(),
        mtu: u32::from(record.mtu),
        addresses: record
            .subnets
            .iter()
            .map(|subnet| on_link(subnet.gateway, subnet.net))
            .collect(),
    }
}

const OPEN_AGAIN: Duration = Duration::from_secs(1);
