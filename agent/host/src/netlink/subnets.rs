//! The subnets that a namespace uses already.

use std::collections::HashMap;

use agent_core::network::SubnetEntry;

use super::error::NetlinkError;
use super::socket::Netlink;

impl Netlink {
    /// Every subnet this namespace has an address in or a route to, but default routes: what new networks must avoid.
    pub fn subnets_in_use(&mut self) -> Result<Vec<SubnetEntry>, NetlinkError> {
        let names: HashMap<u32, String> = self
            .links()?
            .into_iter()
            .map(|link| (link.index, link.name))
            .collect();
        let name = |index: Option<u32>| names.get(&index?).cloned();
        let connected = self.addresses()?.into_iter().map(|entry| SubnetEntry {
            subnet: entry.address.trunc(),
            gateway: None,
            link: name(Some(entry.link_index)),
        });
        let routed = self.routes()?.into_iter().map(|entry| SubnetEntry {
            subnet: entry.destination.trunc(),
            gateway: entry.gateway,
            link: name(entry.link_index),
        });
        let mut subnets: Vec<_> = connected
            .chain(routed)
            .filter(|entry| entry.subnet.prefix_len() > 0)
            .collect();
        subnets.sort();
        subnets.dedup();
        Ok(subnets)
    }
}
