//! Docker: the engine calls the agent as its network driver and its IPAM driver, and its containers get seats on tapestry networks.
//!
//! [`wire`] is what the engine writes; [`options`], [`translate`], [`ports`] and [`ipam`] what it means to the agent; [`plugin`]
//! asks and answers, [`serve`] listens. [`names`] follows the engine's own API for what its calls leave out.

mod addresses;
mod book;
mod engine;
mod garbage;
mod ipam;
mod names;
mod options;
mod plugin;
mod ports;
mod publish;
mod serve;
mod socket;
mod stale;
mod translate;
mod wire;

pub use serve::{PluginOptions, serve};
pub use socket::PluginSocket;
