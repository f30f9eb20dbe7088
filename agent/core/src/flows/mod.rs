//! Flows: who talks to whom, from samples of frames.
//!
//! # Theory of operation
//!
//! A flow is what frames have in common that come in at one port: MACs, addresses, protocol, ports and VLAN ([`FlowKey`]). A
//! [`FlowTable`] adds samples up, each for as many frames as it stands for, and each frame that was dropped for itself. It holds so many
//! flows; the one that was seen least recently makes room, and is counted. A [`Pace`] finds how few frames need be sampled.
//!
//! Names come last ([`view`]): a table knows ports and addresses, and whoever shows it knows who they are.

mod key;
mod pace;
mod table;
mod view;

pub use key::FlowKey;
pub use pace::Pace;
pub use table::{Flow, FlowTable, Sighting};
pub use view::{Looked, Names, report};
