//! Addresses: which subnet a network gets, and which address an endpoint gets.
//!
//! # Theory of operation
//!
//! Pure bookkeeping; the daemon keeps the outcome in its store and rebuilds a [`Pool`] from it at start with
//! [`Pool::take`]. A pool is one subnet of one network. The lowest free address is given first, as
//! Docker does; a MAC follows from its address, so a neighbour's cached entry stays right when an address is used again.
//! Of a subnet that hosts share, each host gives out the addresses of its own [blocks](block) only, one after the other.
//! Memory grows with addresses taken, never with the size of the subnet, so an IPv6 /64 is no
//! different from a /24.

pub mod block;
mod holding;
mod pool;
mod pools;
mod shared_pool;
mod subnet;
mod tenant;

pub use pool::{AllocateAddress, CreatePool, Pool};
pub use pools::Pools;
pub use subnet::{
    ChooseSubnet, DefaultPool, InvalidSubnet, SubnetInUse, check_free, choose_subnet,
    default_pools_v4, default_pools_v6, dockers_pools_v4, overlap, parse_subnet,
};
pub use tenant::Tenant;
