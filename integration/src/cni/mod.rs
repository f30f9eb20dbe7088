//! CNI: a container runtime calls the command `tapestry` as a plugin, and gets a seat on a tapestry network for its container.
//!
//! [`wire`] is what the specification writes, [`translate`] what it means to the agent, [`serve`] reads, asks and prints,
//! [`delegate`] calls the plugin that gives addresses, where the network's own are not wanted.
//! <https://github.com/containernetworking/cni/blob/main/SPEC.md>, versions 0.4.0, 1.0.0 and 1.1.0.

mod delegate;
mod interface;
mod serve;
mod translate;
mod wire;

use agent_api::EndpointCreate;

pub use serve::{is_called, run};
pub use translate::Environment;

/// What ADD asks of the agent, from the configuration as it comes on standard input; or why it asks nothing.
pub fn wished_endpoint(text: &[u8], env: &Environment) -> Result<EndpointCreate, String> {
    let wished = translate::read_config(text).and_then(|config| {
        translate::delegate_of(&config)?;
        translate::endpoint(&config, env)
    });
    wished.map_err(|failure| failure.message)
}
