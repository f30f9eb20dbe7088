//! Docker on one host.

use std::cell::RefCell;
use std::net::Ipv4Addr;

use super::dockerd::{Dockerd, NETWORK, published};
use super::{Engine, Network};
use crate::contender::agent::{Agent, Settings};
use crate::contender::bridge::veth::in_namespace;
use crate::contender::{Description, Fabric, Plug, offloads_of};
use crate::netns::Netns;
use crate::trouble::Trouble;

pub(super) fn start(network: Network) -> Result<Box<dyn Fabric>, Trouble> {
    let netns = Netns::new("docker")?;
    let dockerd = Dockerd::start(&netns)?;
    let agent = match network {
        Network::Native => None,
        Network::Tapestry => Some(Agent::start(
            &netns,
            &Settings {
                docker: &dockerd.plugin_table(),
                ..Settings::default()
            },
        )?),
    };
    match network {
        Network::Native => dockerd.create_network(&[])?,
        Network::Tapestry => dockerd.create_network(&["-d", "tapestry"])?,
    }
    Ok(Box::new(Running {
        dockerd,
        agent,
        netns,
        offloads: RefCell::default(),
    }))
}

// Fields drop in order: the daemon lets go of its containers while the agent is there.
struct Running {
    dockerd: Dockerd,
    agent: Option<Agent>,
    netns: Netns,
    offloads: RefCell<String>,
}

impl Fabric for Running {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        // Nobody but the first can have the host's port.
        let published = published();
        let is_first = self.offloads.borrow().is_empty();
        let options = ["-p", &published];
        let options = if is_first { &options[..] } else { &[] };
        self.dockerd.attach(plug, options)?;
        if is_first {
            self.offloads.replace(offloads_of(plug.netns, plug.link));
        }
        Ok(())
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.dockerd.detach(plug)
    }

    fn processes(&self) -> Vec<u32> {
        self.agent.iter().flat_map(Agent::processes).collect()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        let drops = self.agent.as_ref().map(|agent| agent.drops(NETWORK));
        drops.transpose()
    }

    fn engine(&mut self) -> Option<&mut dyn Engine> {
        Some(self)
    }

    fn describe(&self) -> Description {
        let network = match self.agent {
            Some(_) => "a tapestry network, by the plugin",
            None => "a bridge network of Docker's",
        };
        Description {
            version: self.dockerd.version(),
            setting: network.to_owned(),
            offloads: self.offloads.borrow().clone(),
        }
    }
}

impl Engine for Running {
    fn run(&mut self, joined: bool) -> Result<(), Trouble> {
        self.dockerd.run(if joined { NETWORK } else { "none" })
    }

    fn uplink(&mut self, outside: &Netns) -> Result<Ipv4Addr, Trouble> {
        let far = outside.name();
        in_namespace(
            &self.netns,
            &format!("link add {UPLINK} type veth peer name {UPLINK} netns {far}"),
        )?;
        for (end, address) in [(&self.netns, HOST), (outside, OUTSIDE)] {
            in_namespace(end, &format!("addr add {address}/24 dev {UPLINK}"))?;
            in_namespace(end, &format!("link set {UPLINK} up"))?;
        }
        Ok(HOST)
    }
}

const UPLINK: &str = "up0";
/// RFC 5737.
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
