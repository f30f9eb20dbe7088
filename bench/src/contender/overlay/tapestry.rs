//! Tapestry's overlay networks: an agent on each host, endpoints attached through the API.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_api::{Driver, NetworkCreate};

use super::super::agent::{Agent, NO_DOCKER, Settings};
use super::super::{Contender, Fabric, GATEWAY, Plan, Plug, SUBNET, parsed};
use super::underlay::{Host, Wire};
use super::{Overlay, Site};
use crate::interrupt::eventually;
use crate::trouble::Trouble;

/// One encapsulation.
#[derive(Debug)]
pub(crate) enum TapestryOverlay {
    /// Each host is told its peer by `remote=`; no cluster, no encryption.
    Vxlan,
    /// A cluster of the two hosts, whose etcd runs on the first; encrypted.
    Quic,
}

impl Contender for TapestryOverlay {
    fn name(&self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::Quic => "quic",
        }
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        let [first, second] = Host::pair(plan.underlay)?;
        let wire = plan.underlay.wire;
        let sites = [
            AgentSite::start(first, wire, NO_DOCKER)?,
            AgentSite::start(second, wire, NO_DOCKER)?,
        ];
        match self {
            Self::Vxlan => sites.iter().try_for_each(AgentSite::create_static)?,
            Self::Quic => share(&sites[0], &sites[1])?,
        }
        let info = sites[0].agent.info()?;
        let wire = match self {
            Self::Vxlan => "VXLAN, static remotes; plain",
            Self::Quic => "QUIC, a cluster with its own etcd; encrypted",
        };
        Ok(Box::new(Overlay::new(
            sites,
            format!("tapestry {}", info.version),
            format!("{}, {} worker(s), {wire}", info.engine, info.workers),
        )))
    }
}

// Fields drop in order: the agent before its namespace.
pub(in super::super) struct AgentSite {
    agent: Agent,
    host: Host,
}

impl AgentSite {
    /// With the lines `docker` in its configuration.
    pub(in super::super) fn start(host: Host, wire: Wire, docker: &str) -> Result<Self, Trouble> {
        let number = host.address.octets()[3];
        let name = format!("[cluster]\nname = \"host-{number}\"");
        let name = match wire {
            // A packet ring comes before the rule that loses packets.
            Wire::Lossy => format!("{name}\n[vxlan]\npacket_ring = false"),
            Wire::Offloaded | Wire::Segmented => name,
        };
        let settings = Settings {
            tables: &name,
            docker,
            ..Settings::default()
        };
        let agent = Agent::start(&host.netns, &settings)?;
        Ok(Self { agent, host })
    }

    fn create_static(&self) -> Result<(), Trouble> {
        let options = [
            ("encap", "vxlan".to_owned()),
            ("vni", "42".to_owned()),
            ("remote", self.host.remote.to_string()),
        ];
        self.create(BTreeMap::from(
            options.map(|(key, value)| (key.to_owned(), value)),
        ))
    }

    fn create(&self, options: BTreeMap<String, String>) -> Result<(), Trouble> {
        let network = NetworkCreate {
            name: NETWORK.to_owned(),
            driver: Driver::Overlay,
            subnets: vec![parsed(SUBNET)?],
            gateways: vec![GATEWAY.into()],
            options,
            ..NetworkCreate::default()
        };
        let agent = &self.agent;
        agent.ask(agent.client.create_network(&network)).map(drop)
    }
}

/// A cluster of both, and the network on it.
pub(in super::super) fn share(first: &AgentSite, second: &AgentSite) -> Result<(), Trouble> {
    first.agent.found_cluster(first.host.address)?;
    let invited = first.agent.invite()?;
    second.agent.join_cluster(invited, second.host.address)?;
    for site in [first, second] {
        eventually(PATIENCE, "the hosts see each other", || {
            Ok((site.agent.hosts_up()? == 2).then_some(()))
        })?;
    }
    first.create(BTreeMap::from([("encap".to_owned(), "quic".to_owned())]))?;
    eventually(PATIENCE, "both hosts know the network", || {
        Ok(second.agent.knows_network(NETWORK)?.then_some(()))
    })
}

impl Site for AgentSite {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.agent.attach(NETWORK, plug, Vec::new())
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.agent.detach(plug)
    }

    fn processes(&self) -> Vec<u32> {
        self.agent.processes()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        self.agent.drops(NETWORK).map(Some)
    }
}

const NETWORK: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(15);
