//! What agents do to be a cluster.

use std::net::{IpAddr, Ipv4Addr};

use agent_api::{ClusterInit, ClusterJoin, HostState, Token, TokenCreate};

use super::agent::Agent;
use crate::trouble::Trouble;

impl Agent {
    /// Makes a cluster of its host, which the others reach at `address`.
    pub(super) fn found_cluster(&self, address: Ipv4Addr) -> Result<(), Trouble> {
        let init = ClusterInit {
            address: Some(IpAddr::V4(address)),
            ..ClusterInit::default()
        };
        self.ask(self.client.init_cluster(&init)).map(drop)
    }

    /// With what another host may join, and where.
    pub(super) fn invite(&self) -> Result<Token, Trouble> {
        self.ask(self.client.create_token(&TokenCreate::default()))
    }

    /// Joins with its host, which the others reach at `address`.
    pub(super) fn join_cluster(&self, invited: Token, address: Ipv4Addr) -> Result<(), Trouble> {
        let join = ClusterJoin {
            token: invited.token,
            address: invited.address,
            advertise: Some(IpAddr::V4(address)),
            udp_port: None,
        };
        self.ask(self.client.join_cluster(&join)).map(drop)
    }

    /// How many of the cluster's hosts are up as this one sees it.
    pub(super) fn hosts_up(&self) -> Result<usize, Trouble> {
        let cluster = self.ask(self.client.cluster())?;
        let up = cluster.hosts.iter();
        Ok(up.filter(|host| host.state == HostState::Up).count())
    }

    pub(super) fn knows_network(&self, name: &str) -> Result<bool, Trouble> {
        let networks = self.ask(self.client.networks())?;
        Ok(networks.iter().any(|network| network.name == name))
    }
}
