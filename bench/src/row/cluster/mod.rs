//! Many hosts: how fast they know what one of them changes, and what they cost while nothing does.

mod changes;
mod create;
mod idle;
mod memory;
mod names;
mod revoke;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use agent_api::EndpointDetail;
use ipnet::{IpNet, Ipv4Net};

use crate::contender::{Cluster, ClusterHost};
use crate::interrupt::eventually;
use crate::lab::{LINK, Lab};
use crate::netns::Netns;
use crate::trouble::Trouble;

pub(crate) use changes::Changes;
pub(crate) use create::Create;
pub(crate) use idle::ClusterIdle;
pub(crate) use memory::Memory;
pub(crate) use names::Resolvable;
pub(crate) use revoke::Revoke;

fn cluster(lab: &Lab) -> Result<&Cluster, Trouble> {
    let cluster = lab.fabric.cluster();
    cluster.ok_or_else(|| Trouble::Unsupported("it is no cluster".to_owned()))
}

/// A network of all hosts, which goes when it is dropped.
struct Network<'c> {
    cluster: &'c Cluster,
    name: String,
}

impl<'c> Network<'c> {
    /// The `number`th, made on one of the hosts. All of them know it when this returns.
    fn create(cluster: &'c Cluster, on: &ClusterHost, number: u8) -> Result<Self, Trouble> {
        let subnet = Ipv4Net::new_assert(Ipv4Addr::new(10, 80, number, 0), 24);
        let name = format!("net{number}");
        on.create_network(&name, IpNet::V4(subnet))?;
        let made = Self { cluster, name };
        made.wait(true)?;
        Ok(made)
    }

    /// Until all hosts know it, or none does.
    fn wait(&self, is_there: bool) -> Result<(), Trouble> {
        for host in self.cluster.hosts() {
            eventually(PATIENCE, "every host knows of a network's change", || {
                Ok((host.knows_network(&self.name)? == is_there).then_some(()))
            })?;
        }
        Ok(())
    }

    /// A container on each host.
    fn populate(&self) -> Result<Vec<Container<'c>>, Trouble> {
        let hosts = self.cluster.hosts().iter().enumerate();
        hosts
            .map(|(index, host)| self.attach(host, &format!("c{index}")))
            .collect()
    }

    fn attach(&self, host: &'c ClusterHost, name: &str) -> Result<Container<'c>, Trouble> {
        let netns = Netns::new("c")?;
        let detail = host.attach(&self.name, name, (&netns, LINK))?;
        Ok(Container {
            host,
            detail,
            netns,
        })
    }

    fn remove(&self) -> Result<(), Trouble> {
        self.cluster.founder().remove_network(&self.name)
    }
}

impl Drop for Network<'_> {
    fn drop(&mut self) {
        // There is nobody to tell, and the cluster ends with the rows. The next network of this number waits until it has gone.
        if self.remove().is_ok() {
            let _ = self.wait(false);
        }
    }
}

/// A namespace with a link on a network of one of the hosts. It is detached when it is dropped.
// Fields drop in order, after the link has gone.
struct Container<'c> {
    host: &'c ClusterHost,
    detail: EndpointDetail,
    netns: Netns,
}

impl Container<'_> {
    fn address(&self) -> Result<Ipv4Addr, Trouble> {
        ipv4(self.detail.addresses.iter().map(IpNet::addr))
    }

    fn name_server(&self) -> Result<Ipv4Addr, Trouble> {
        ipv4(self.detail.gateways.iter().copied())
    }

    /// It has this alias, and those before no more.
    fn rename(&self, alias: &str) -> Result<(), Trouble> {
        self.host.rename(&self.detail.id, alias.to_owned())
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // A host that was shut out may say no.
        let _ = self.host.detach(&self.detail.id);
    }
}

fn ipv4(mut addresses: impl Iterator<Item = IpAddr>) -> Result<Ipv4Addr, Trouble> {
    let found = addresses.find_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    found.ok_or_else(|| Trouble::Unsupported("a container has no IPv4 address".to_owned()))
}

/// As the figures were promised for.
const HOSTS: usize = 12;
const PATIENCE: Duration = Duration::from_secs(30);
