//! How links are, with their addresses.

use std::collections::BTreeMap;

use agent_core::endpoint::LinkState;
use ipnet::IpNet;

use super::error::NetlinkError;
use super::link::LinkEntry;
use super::socket::Netlink;

impl Netlink {
    /// All links of the namespace, by name.
    pub fn states(&mut self) -> Result<BTreeMap<String, LinkState>, NetlinkError> {
        let links = self.links()?;
        let mut addresses: BTreeMap<u32, Vec<IpNet>> = BTreeMap::new();
        for entry in self.addresses()? {
            let of_link = addresses.entry(entry.link_index).or_default();
            of_link.push(entry.address);
        }
        let states = links.into_iter().map(|link| {
            let addresses = addresses.remove(&link.index).unwrap_or_default();
            (link.name.clone(), state(link, addresses))
        });
        Ok(states.collect())
    }

    /// One link of the namespace.
    pub fn state_of(&mut self, name: &str) -> Result<LinkState, NetlinkError> {
        let link = self.link_by_name(name)?;
        let addresses = self.addresses_of(link.index)?;
        Ok(state(link, addresses))
    }
}

fn state(link: LinkEntry, addresses: Vec<IpNet>) -> LinkState {
    LinkState {
        name: link.name,
        mac: link.mac,
        mtu: link.mtu,
        up: link.up,
        addresses,
    }
}
