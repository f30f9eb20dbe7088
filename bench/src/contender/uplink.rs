//! Containers on the LAN of a NIC, a veth's end: the kernel's macvlan beside ours. The first station is the LAN, the others are containers.

use agent_api::{Driver, NetworkCreate};

use super::agent::{Agent, Settings};
use super::bridge::veth;
use super::{Contender, Description, Fabric, GATEWAY, PREFIX_LEN, Plan, Plug, SUBNET, parsed};
use super::{address_of, offloads_of};
use crate::command::require;
use crate::counters::link_drops;
use crate::netns::Netns;
use crate::trouble::Trouble;

/// Who puts containers on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uplink {
    Kernel,
    Macvlan,
    Ipvlan,
}

impl Contender for Uplink {
    fn name(&self) -> &'static str {
        match self {
            Self::Kernel => "kernel-macvlan",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        require("ip")?;
        let netns = Netns::new("nic")?;
        let agent = match self {
            Self::Kernel => None,
            Self::Macvlan | Self::Ipvlan => Some(Agent::start(&netns, &Settings::default())?),
        };
        Ok(Box::new(Running {
            kind: *self,
            agent,
            mtu: plan.mtu,
            offloads: String::new(),
            netns,
        }))
    }
}

// Fields drop in order: the agent before its namespace.
struct Running {
    kind: Uplink,
    agent: Option<Agent>,
    mtu: u16,
    offloads: String,
    netns: Netns,
}

impl Running {
    /// The LAN, and the network on the NIC to it.
    fn lay(&self, plug: &Plug<'_>) -> Result<(), Trouble> {
        veth::join(&self.netns, NIC, plug, self.mtu)?;
        veth::in_namespace(&self.netns, &format!("link set {NIC} up"))?;
        let Some(agent) = &self.agent else {
            return Ok(());
        };
        let network = NetworkCreate {
            name: NETWORK.to_owned(),
            driver: match self.kind {
                Uplink::Ipvlan => Driver::Ipvlan,
                _ => Driver::Macvlan,
            },
            subnets: vec![parsed(SUBNET)?],
            gateways: vec![GATEWAY.into()],
            options: [("parent".to_owned(), NIC.to_owned())].into(),
            ..NetworkCreate::default()
        };
        agent.ask(agent.client.create_network(&network)).map(drop)
    }

    fn attach_macvlan(&self, plug: &Plug<'_>) -> Result<(), Trouble> {
        let (near, far) = (veth::near_end(plug), plug.netns.name());
        veth::in_namespace(
            &self.netns,
            &format!("link add {near} link {NIC} type macvlan mode bridge"),
        )?;
        veth::in_namespace(
            &self.netns,
            &format!("link set {near} netns {far} name {}", plug.link),
        )?;
        veth::in_namespace(
            plug.netns,
            &format!("addr add {}/{PREFIX_LEN} dev {}", plug.address, plug.link),
        )?;
        veth::in_namespace(plug.netns, &format!("link set {} up", plug.link))
    }
}

impl Fabric for Running {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        if plug.address == address_of(0) {
            return self.lay(plug);
        }
        match &mut self.agent {
            Some(agent) => agent.attach(NETWORK, plug, Vec::new())?,
            None => self.attach_macvlan(plug)?,
        }
        self.offloads = offloads_of(plug.netns, plug.link);
        Ok(())
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        match &mut self.agent {
            Some(agent) => agent.detach(plug),
            None => veth::in_namespace(plug.netns, &format!("link del {}", plug.link)),
        }
    }

    fn processes(&self) -> Vec<u32> {
        self.agent.as_ref().map_or_else(Vec::new, Agent::processes)
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        match &self.agent {
            Some(agent) => agent.drops(NETWORK).map(Some),
            None => link_drops(&self.netns).map(Some),
        }
    }

    fn describe(&self) -> Description {
        Description {
            version: crate::machine::kernel(),
            setting: "NIC: veth".to_owned(),
            offloads: self.offloads.clone(),
        }
    }
}

const NIC: &str = "nic0";
const NETWORK: &str = "bench";
