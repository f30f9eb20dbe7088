//! The subnets that a namespace uses already.

use std::collections::BTreeMap;

use agent_core::network::SubnetEntry;
use rustix::net::netdevice::index_to_name;

use super::error::NetlinkError;
use super::socket::Netlink;

impl Netlink {
    /// Every subnet this namespace has an address in or a route to, but default routes: what new networks must avoid.
    pub fn subnets_in_use(&mut self) -> Result<Vec<SubnetEntry>, NetlinkError> {
        let connected = self.addresses()?.into_iter();
        let connected = connected.map(|entry| (entry.address, None, Some(entry.link_index)));
        let routed = self.routes()?.into_iter();
        let routed = routed.map(|entry| (entry.destination, entry.gateway, entry.link_index));
        let mut names = Names::default();
        let mut subnets: Vec<_> = connected
            .chain(routed)
            .filter(|(subnet, ..)| subnet.prefix_len() > 0)
            .map(|(subnet, gateway, link)| SubnetEntry {
                subnet: subnet.trunc(),
                gateway,
                link: link.and_then(|index| names.of(self, index)),
            })
            .collect();
        subnets.sort();
        subnets.dedup();
        Ok(subnets)
    }
}

/// What links are called that matter. Each is asked for once: a list of all links costs the kernel ten times as much.
#[derive(Default)]
struct Names(BTreeMap<u32, Option<String>>);

impl Names {
    fn of(&mut self, netlink: &Netlink, index: u32) -> Option<String> {
        let known = self.0.entry(index);
        let name = known.or_insert_with(|| index_to_name(netlink.socket(), index).ok());
        name.clone()
    }
}
