//! Docker on each of two hosts: its own overlay, in a swarm of the two, and ours.

use super::Network;
use super::dockerd::Dockerd;
use crate::contender::overlay::{AgentSite, Host, Overlay, Site, Underlay, share};
use crate::contender::{Fabric, Plug};
use crate::trouble::Trouble;

pub(super) fn start(network: Network, underlay: Underlay) -> Result<Box<dyn Fabric>, Trouble> {
    let [first, second] = Host::pair(underlay)?;
    let overlay = match network {
        Network::Native => {
            let sites = [Swarm::start(first)?, Swarm::start(second)?];
            join(&sites)?;
            let version = sites[0].dockerd.version();
            let setting = "Docker's overlay, a swarm of both; plain".to_owned();
            return Ok(Box::new(Overlay::new(sites, version, setting)));
        }
        Network::Tapestry => [
            Ours::start(first, underlay)?,
            Ours::start(second, underlay)?,
        ],
    };
    let [one, other] = &overlay;
    share(&one.agent, &other.agent)?;
    for site in &overlay {
        site.dockerd
            .create_network(&["-d", "tapestry", "-o", JOIN])?;
    }
    let version = overlay[0].dockerd.version();
    let setting = "a tapestry network of the cluster, QUIC; encrypted".to_owned();
    Ok(Box::new(Overlay::new(overlay, version, setting)))
}

// Fields drop in order: the daemon before its namespace.
struct Swarm {
    dockerd: Dockerd,
    host: Host,
}

impl Swarm {
    fn start(host: Host) -> Result<Self, Trouble> {
        let dockerd = Dockerd::start(&host.netns)?;
        Ok(Self { dockerd, host })
    }
}

/// A manager and a worker, with a network that containers may join.
fn join([manager, worker]: &[Swarm; 2]) -> Result<(), Trouble> {
    let at = |swarm: &Swarm| swarm.host.address.to_string();
    let (first, second) = (at(manager), at(worker));
    let first_port = format!("{first}:2377");
    manager.dockerd.docker(&[
        "swarm",
        "init",
        "--advertise-addr",
        &first,
        "--listen-addr",
        &first_port,
    ])?;
    let token = manager
        .dockerd
        .docker(&["swarm", "join-token", "-q", "worker"])?;
    let head = [
        "swarm",
        "join",
        "--token",
        &token,
        "--advertise-addr",
        &second,
    ];
    worker
        .dockerd
        .docker(&[&head[..], &[first_port.as_str()]].concat())?;
    // Docker takes addresses for itself, from a range beside the stations'.
    let options = [
        "-d",
        "overlay",
        "--attachable",
        "--ip-range",
        "10.77.128.0/17",
    ];
    manager.dockerd.create_network(&options)
}

impl Site for Swarm {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.dockerd.attach(plug, &[])
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.dockerd.detach(plug)
    }

    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        Ok(None)
    }
}

// Fields drop in order: the daemon lets go of its containers while the agent is there.
struct Ours {
    dockerd: Dockerd,
    agent: AgentSite,
}

impl Ours {
    fn start(host: Host, underlay: Underlay) -> Result<Self, Trouble> {
        let dockerd = Dockerd::start(&host.netns)?;
        let agent = AgentSite::start(host, underlay.wire, &dockerd.plugin_table())?;
        Ok(Self { dockerd, agent })
    }
}

impl Site for Ours {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.dockerd.attach(plug, &[])
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.dockerd.detach(plug)
    }

    fn processes(&self) -> Vec<u32> {
        self.agent.processes()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        self.agent.drops()
    }
}

/// The network that [`share`] makes.
const JOIN: &str = "network=bench";
