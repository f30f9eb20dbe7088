//! How links are, with their addresses.

use agent_core::endpoint::LinkState;

use super::error::NetlinkError;
use super::link::LinkEntry;
use super::socket::Netlink;

impl Netlink {
    /// All links of the namespace.
    pub fn states(&mut self) -> Result<Vec<LinkState>, NetlinkError> {
        let links = self.links()?;
        let addresses = self.addresses()?;
        let state = |link: LinkEntry| LinkState {
            name: link.name,
            mac: link.mac,
            mtu: link.mtu,
            up: link.up,
            addresses: addresses
                .iter()
                .filter(|entry| entry.link_index == link.index)
                .map(|entry| entry.address)
                .collect(),
        };
        Ok(links.into_iter().map(state).collect())
    }

    /// One of them.
    pub fn state(&mut self, name: &str) -> Result<LinkState, NetlinkError> {
        let mut states = self.states()?.into_iter();
        let found = states.find(|state| state.name == name);
        found.ok_or_else(|| NetlinkError::NoSuchLink(name.to_owned()))
    }
}
