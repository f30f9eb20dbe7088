//! Five hosts, managers among them, over wires that are cut one way or both, with all that agents share: networks by id, blocks,
//! endpoints, directories and tunnels.

mod access;
mod addresses;
mod checks;
pub(crate) mod cluster;
mod following;
mod host;
mod managers;
mod networks;
mod wires;
