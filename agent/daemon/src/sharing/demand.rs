//! Connections to other hosts where they serve.
//!
//! # Theory of operation
//!
//! Which hosts are needed follows from records ([`overlay_core::Demand`]), and is looked at whenever one comes or goes: of an
//! endpoint here, or of another host's. So the connection is there mostly before the first frame is.

use std::collections::BTreeSet;
use std::time::Duration;

use agent_cluster::Member;
use overlay_core::{Demand, HostId, NetworkId, Reason};

use super::Sharing;
use super::tunnels::Tunnels;
use crate::locks::lock;

impl Sharing {
    /// Needs the hosts with endpoints in `networks`, which this host has endpoints in, and no others.
    pub(crate) fn follow_needs(&self, networks: impl FnOnce() -> Vec<NetworkId>) {
        self.tunnels.need(|demand| {
            let networks = networks();
            let directory = lock(&self.directory);
            let hosts = directory
                .as_ref()
                .map_or_else(BTreeSet::new, |directory| directory.hosts_of(networks));
            demand.set(Reason::Networks, hosts);
        });
    }

    /// As a manager that is elsewhere now: members find it by its connection to them, whatever they share.
    pub(crate) fn be_found(&self, member: &Member) {
        if member.way().is_some() {
            return;
        }
        let hosts = member.hosts().into_iter();
        let others = hosts.filter(|host| host.alive.is_some() && host.id != member.host());
        let others = others.filter_map(|host| HostId::new(&host.id).ok());
        let (others, end) = (others.collect(), self.ground.switch.now() + FOUND_WITHIN);
        self.tunnels
            .need(|demand| demand.set_until(Reason::Moved, others, end));
    }
}

impl Tunnels {
    /// What is needed is looked at and changed at once, so that the last look counts.
    pub(super) fn need(&self, change: impl FnOnce(&mut Demand)) {
        let mut demand = lock(&self.demand);
        change(&mut demand);
        if let Some(tunnel) = self.quic() {
            tunnel.need(demand.hosts());
        }
    }

    /// What was needed for a while only.
    pub(super) fn forget_needs(&self) {
        let mut demand = lock(&self.demand);
        if demand.handle_timeout(self.ground.switch.now())
            && let Some(tunnel) = self.quic()
        {
            tunnel.need(demand.hosts());
        }
    }
}

/// A member that lost its manager looks for it again after pauses of seconds.
const FOUND_WITHIN: Duration = Duration::from_secs(60);
