//! Docker: the engine calls the agent as its network driver and its IPAM driver, and its containers get seats on tapestry networks.
//!
//! [`wire`] is what the engine writes; [`options`], [`translate`], [`ports`] and [`ipam`] what it means to the agent; [`plugin`]
//! asks and answers, [`serve`] listens. [`names`] follows the engine's own API for what its calls leave out.

mod addresses;
mod book;
mod door;
mod engine;
mod garbage;
mod ipam;
mod labels;
mod names;
mod options;
mod plugin;
mod ports;
mod publish;
mod rates;
mod serve;
mod socket;
mod stale;
mod translate;
mod wire;

use agent_api::{EndpointCreate, NetworkCreate};

use translate::Wish;

pub use door::Doorkeeper;
pub use serve::{PluginOptions, serve};
pub use socket::PluginSocket;

/// What `NetworkDriver.CreateNetwork` asks of the agent: nothing where the network is one that others made.
pub fn wished_network(body: &[u8]) -> Result<Option<NetworkCreate>, String> {
    let wish = wire::read(body).and_then(|call| translate::wish(&call, None));
    match wish {
        Ok(Wish::Attach { .. }) => Ok(None),
        Ok(Wish::Make { create, .. }) => Ok(Some(*create)),
        Err(refusal) => Err(refusal.to_string()),
    }
}

/// What `NetworkDriver.CreateEndpoint` asks of the agent, on a network that it has.
pub fn wished_endpoint(body: &[u8], network: &str) -> Result<EndpointCreate, String> {
    let wish = wire::read(body).and_then(|call| translate::endpoint(&call, network));
    wish.map_err(|refusal| refusal.to_string())
}
