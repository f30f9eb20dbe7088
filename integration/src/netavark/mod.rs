//! netavark: podman makes networks through the command `tapestry` as a plugin, and gets seats on them for its containers.
//!
//! [`wire`] is what the protocol writes, [`translate`] what it means to the agent, [`serve`] reads, asks and prints.
//! <https://github.com/containers/netavark/blob/main/plugin-API.md>, version 1.0.0.

mod serve;
mod translate;
mod wire;

use std::path::Path;

use agent_api::{EndpointCreate, NetworkCreate, NetworkDetail};

use translate::Wanted;

pub use serve::{is_called, run};

/// What `create` asks of the agent: nothing where the network is one that others made.
pub fn wished_network(text: &[u8]) -> Result<Option<NetworkCreate>, String> {
    let wanted = translate::read(text).and_then(|network| translate::wanted(&network));
    match wanted {
        Ok(Wanted::Joined(_)) => Ok(None),
        Ok(Wanted::Own(create)) => Ok(Some(*create)),
        Err(failure) => Err(failure.to_string()),
    }
}

/// What `setup` asks of the agent, for a network that it has.
pub fn wished_endpoint(
    text: &[u8],
    network: &NetworkDetail,
    netns: &Path,
) -> Result<EndpointCreate, String> {
    let wished = translate::read(text)
        .and_then(|attachment| translate::endpoint(&attachment, network, netns));
    wished.map_err(|failure| failure.to_string())
}
