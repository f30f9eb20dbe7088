//! A cluster: hosts, each a namespace with an agent, on one wire. The first has founded it; the first ones are its managers.

mod host;
mod ledger;
mod wire;

use std::time::Duration;

use agent_api::Info;

use super::{Contender, Description, Fabric, Plan, Plug};
use crate::interrupt::{self, eventually};
use crate::trouble::Trouble;

pub(crate) use host::ClusterHost;
use wire::Wire;

/// The agent of Tapestry on each of them.
#[derive(Debug)]
pub(crate) struct Hosts {
    pub(crate) name: &'static str,
    pub(crate) managers: usize,
}

impl Contender for Hosts {
    fn name(&self) -> &'static str {
        self.name
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        Ok(Box::new(Cluster::start(plan.hosts, self.managers)?))
    }
}

/// Running hosts, in step with each other.
pub(crate) struct Cluster {
    hosts: Vec<ClusterHost>,
    managers: usize,
    info: Info,
    _wire: Wire,
}

impl Cluster {
    fn start(count: usize, managers: usize) -> Result<Self, Trouble> {
        let wire = Wire::new()?;
        let founder = ClusterHost::start(&wire, 1)?;
        let info = founder.info()?;
        founder.found()?;
        let mut cluster = Self {
            hosts: vec![founder],
            managers,
            info,
            _wire: wire,
        };
        for number in 2..=count {
            interrupt::check()?;
            let host = ClusterHost::start(&cluster._wire, number)?;
            host.join(cluster.founder())?;
            cluster.hosts.push(host);
        }
        for host in &cluster.managers()[1..] {
            interrupt::check()?;
            cluster.founder().promote(host)?;
        }
        for host in &cluster.hosts {
            eventually(PATIENCE, "every host sees every host", || {
                Ok((host.hosts_up()? == count).then_some(()))
            })?;
        }
        Ok(cluster)
    }

    pub(crate) fn founder(&self) -> &ClusterHost {
        &self.hosts[0]
    }

    pub(crate) fn managers(&self) -> &[ClusterHost] {
        &self.hosts[..self.managers]
    }

    pub(crate) fn hosts(&self) -> &[ClusterHost] {
        &self.hosts
    }

    /// How many transactions its etcd has done that changed something.
    pub(crate) fn transactions(&self) -> Result<u64, Trouble> {
        ledger::revision(self.founder().netns(), &self.info.state_dir)
    }
}

impl Drop for Cluster {
    /// The host that runs etcd goes last: the others take leave of it.
    fn drop(&mut self) {
        while let Some(host) = self.hosts.pop() {
            drop(host);
        }
    }
}

impl Fabric for Cluster {
    fn attach(&mut self, _: &Plug<'_>) -> Result<(), Trouble> {
        Err(no_station())
    }

    fn detach(&mut self, _: &Plug<'_>) -> Result<(), Trouble> {
        Err(no_station())
    }

    /// Guardians and agents, without etcd.
    fn processes(&self) -> Vec<u32> {
        self.hosts.iter().flat_map(ClusterHost::processes).collect()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        Ok(None)
    }

    fn cluster(&self) -> Option<&Cluster> {
        Some(self)
    }

    fn describe(&self) -> Description {
        let Info {
            version, workers, ..
        } = &self.info;
        let (hosts, managers) = (self.hosts.len(), self.managers);
        Description {
            version: format!("tapestry {version}"),
            setting: format!(
                "{hosts} hosts, {workers} worker(s) each; {managers} manager(s), with etcd"
            ),
            offloads: String::new(),
        }
    }
}

fn no_station() -> Trouble {
    Trouble::Unsupported("rows attach containers to the hosts of a cluster themselves".to_owned())
}

const PATIENCE: Duration = Duration::from_secs(30);
