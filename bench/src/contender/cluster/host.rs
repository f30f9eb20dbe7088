//! One host of a cluster.

use std::net::Ipv4Addr;

use agent_api::{
    ClusterManager, ClusterRevoke, Driver, EndpointCreate, EndpointDetail, EndpointUpdate,
    HostState, Info, NetworkCreate,
};
use ipnet::IpNet;

use super::wire::{UNDERLAY, Wire};
use crate::contender::agent::{Agent, Settings};
use crate::counters::{Sent, sent};
use crate::netns::Netns;
use crate::trouble::Trouble;

// Fields drop in order: the agent before its namespace.
pub(crate) struct ClusterHost {
    agent: Agent,
    netns: Netns,
    address: Ipv4Addr,
    name: String,
}

impl ClusterHost {
    pub(super) fn start(wire: &Wire, number: usize) -> Result<Self, Trouble> {
        let (netns, address) = wire.plug(number)?;
        let name = format!("host-{number}");
        let settings = Settings {
            tables: &format!("[cluster]\nname = \"{name}\""),
            ..Settings::default()
        };
        let agent = Agent::start(&netns, &settings)?;
        Ok(Self {
            agent,
            netns,
            address,
            name,
        })
    }

    pub(super) fn info(&self) -> Result<Info, Trouble> {
        self.agent.info()
    }

    pub(super) fn netns(&self) -> &Netns {
        &self.netns
    }

    pub(super) fn found(&self) -> Result<(), Trouble> {
        self.agent.found_cluster(self.address)
    }

    pub(super) fn join(&self, founder: &Self) -> Result<(), Trouble> {
        self.agent
            .join_cluster(founder.agent.invite()?, self.address)
    }

    pub(super) fn hosts_up(&self) -> Result<usize, Trouble> {
        self.agent.hosts_up()
    }

    /// Its guardian and its agent.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.agent.processes()
    }

    /// What it has sent to the other hosts so far.
    pub(crate) fn sent(&self) -> Result<Sent, Trouble> {
        sent(&self.netns, UNDERLAY)
    }

    /// Makes a network of all hosts.
    pub(crate) fn create_network(&self, name: &str, subnet: IpNet) -> Result<(), Trouble> {
        let network = NetworkCreate {
            name: name.to_owned(),
            driver: Driver::Overlay,
            subnets: vec![subnet],
            ..NetworkCreate::default()
        };
        let request = self.agent.client.create_network(&network);
        self.agent.ask(request).map(drop)
    }

    pub(crate) fn remove_network(&self, name: &str) -> Result<(), Trouble> {
        self.agent.ask(self.agent.client.remove_network(name))
    }

    pub(crate) fn knows_network(&self, name: &str) -> Result<bool, Trouble> {
        self.agent.knows_network(name)
    }

    /// Gives a namespace a link on a network.
    pub(crate) fn attach(
        &self,
        network: &str,
        name: &str,
        (netns, link): (&Netns, &str),
    ) -> Result<EndpointDetail, Trouble> {
        let endpoint = EndpointCreate {
            network: network.to_owned(),
            name: name.to_owned(),
            sandbox: Some(netns.path()),
            link: Some(link.to_owned()),
            ..EndpointCreate::default()
        };
        self.agent.ask(self.agent.client.create_endpoint(&endpoint))
    }

    pub(crate) fn detach(&self, id: &str) -> Result<(), Trouble> {
        self.agent.ask(self.agent.client.remove_endpoint(id))
    }

    /// Gives an endpoint another alias in place of those that it has.
    pub(crate) fn rename(&self, id: &str, alias: String) -> Result<(), Trouble> {
        let update = EndpointUpdate {
            aliases: Some(vec![alias]),
            ..EndpointUpdate::default()
        };
        let request = self.agent.client.update_endpoint(id, &update);
        self.agent.ask(request).map(drop)
    }

    /// Makes another host a manager, as one.
    pub(super) fn promote(&self, other: &Self) -> Result<(), Trouble> {
        let host = ClusterManager {
            host: other.name.clone(),
        };
        let request = self.agent.client.promote_host(&host);
        self.agent.ask(request).map(drop)
    }

    /// Whether another host keeps its lease, as far as this one knows.
    pub(crate) fn sees(&self, other: &Self) -> Result<bool, Trouble> {
        let cluster = self.agent.ask(self.agent.client.cluster())?;
        let mut hosts = cluster.hosts.iter();
        Ok(hosts.any(|host| host.name == other.name && host.state == HostState::Up))
    }

    /// Shuts another host out, as a manager.
    pub(crate) fn revoke(&self, other: &Self) -> Result<(), Trouble> {
        let revoke = ClusterRevoke {
            host: other.name.clone(),
        };
        self.agent.ask(self.agent.client.revoke_host(&revoke))
    }
}
