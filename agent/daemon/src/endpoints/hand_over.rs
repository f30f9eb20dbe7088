//! Links that are handed over: a container engine takes them into its containers.
//!
//! # Theory of operation
//!
//! An engine configures a container's link itself, in a sandbox that it does not show. So the link is made in the agent's own
//! namespace, down and without addresses, and the engine moves it. The agent holds it by its TAP wherever it is, looks where
//! that is ([`super::moved`]), and after a restart takes it over there. The engine gives it back before it lets go of it;
//! it is gone with its endpoint.
//!
//! A sandbox that goes without a word takes the link along. Then the endpoint is gone, too: the engine starts a container
//! again with a new one.

use agent_api::{ApiError, EndpointCreate, EndpointDetail};
use agent_core::endpoint::Attach;
use agent_core::record::{EndpointRecord, NetworkRecord, Owner};
use agent_host::Netns;
use agent_host::netlink::{LinkSettings, Netlink, NetlinkError};

use super::Endpoints;
use super::stray::alias;
use crate::random::id_for;

impl Endpoints {
    /// Makes an endpoint whose link its caller takes into a sandbox.
    pub(crate) fn hand_over(&self, request: &EndpointCreate) -> Result<EndpointDetail, ApiError> {
        let id = id_for(request.id.as_ref()).map_err(Attach::from)?;
        let netns = own_namespace()?;
        self.create(request, &netns, Owner::Engine(id))
    }

    /// One endpoint, after a look at where its link is.
    pub(crate) fn get(&self, id: &str) -> Result<EndpointDetail, ApiError> {
        let (place, attached) = self.find(id)?;
        self.look(&place, &attached);
        let (place, attached) = self.find(id)?;
        Ok(attached.detail(&place.record))
    }
}

/// The agent's own namespace, from where engines take links.
pub(super) fn own_namespace() -> Result<Netns, Attach> {
    Netns::current().map_err(|error| Attach::Sandbox(error.to_string()))
}

/// What a link that is to be handed over has: the engine sets no MTU. Returns its name.
pub(super) fn prepare(
    network: &NetworkRecord,
    record: &EndpointRecord,
    ifindex: u32,
) -> Result<String, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let link = netlink.link_by_index(ifindex)?;
    let settings = LinkSettings {
        mac: Some(record.mac),
        mtu: Some(u32::from(network.mtu)),
        alias: Some(alias(&record.id)),
        ..LinkSettings::default()
    };
    netlink.set_link(&link, &settings)?;
    Ok(link.name)
}

/// Deletes what an agent that was killed left of a link that nobody has taken.
pub(super) fn bury(link: &str) -> Result<(), NetlinkError> {
    Netlink::open()?.delete_link(link)
}
