//! How links are, with their addresses.

use std::collections::BTreeMap;

use agent_core::endpoint::LinkState;
use ipnet::IpNet;

use super::error::NetlinkError;
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
            let state = LinkState {
                name: link.name.clone(),
                mac: link.mac,
                mtu: link.mtu,
                up: link.up,
                addresses: addresses.remove(&link.index).unwrap_or_default(),
            };
            (link.name, state)
        });
        Ok(states.collect())
    }
}
