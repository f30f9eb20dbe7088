//! What is between the hosts of a cluster: a bridge of the kernel in a namespace of its own.

use std::net::Ipv4Addr;

use super::super::bridge::veth::in_namespace;
use crate::netns::Netns;
use crate::trouble::Trouble;

pub(super) struct Wire(Netns);

impl Wire {
    pub(super) fn new() -> Result<Self, Trouble> {
        let netns = Netns::new("wire")?;
        in_namespace(&netns, "link add wire type bridge")?;
        in_namespace(&netns, "link set wire up")?;
        Ok(Self(netns))
    }

    /// A namespace with a link on it, called [`UNDERLAY`].
    pub(super) fn plug(&self, number: usize) -> Result<(Netns, Ipv4Addr), Trouble> {
        let netns = Netns::new("host")?;
        let (near, far) = (format!("port{number}"), netns.name());
        let address = Ipv4Addr::from_bits(FIRST.to_bits() + u32::try_from(number).unwrap_or(0));
        in_namespace(
            &self.0,
            &format!("link add {near} type veth peer name {UNDERLAY} netns {far}"),
        )?;
        in_namespace(&self.0, &format!("link set {near} master wire up"))?;
        in_namespace(&netns, &format!("addr add {address}/24 dev {UNDERLAY}"))?;
        in_namespace(&netns, &format!("link set {UNDERLAY} up"))?;
        Ok((netns, address))
    }
}

pub(super) const UNDERLAY: &str = "under0";
/// RFC 5737.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 0);
