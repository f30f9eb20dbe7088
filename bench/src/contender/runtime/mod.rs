//! Container runtimes: each on the network that it makes by itself, and on ours.

mod cni;
mod docker;
mod dockerd;
mod hosts;

use std::net::Ipv4Addr;

use super::{Contender, Fabric, Plan};
use crate::netns::Netns;
use crate::trouble::Trouble;

/// What starts the containers of a topology.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// Nothing: the stations are bare namespaces.
    #[default]
    Nobody,
    Docker,
    /// One on each of two hosts.
    TwoDockers,
    /// A plugin that is called as runtimes call it.
    Cni,
}

/// Whose network the runtime's containers are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Docker's bridge, Docker's overlay, CNI's bridge plugin with host-local.
    Native,
    Tapestry,
}

impl Contender for Network {
    fn name(&self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tapestry => "tapestry",
        }
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        match plan.runtime {
            Runtime::Docker => docker::start(*self),
            Runtime::TwoDockers => hosts::start(*self, plan.underlay),
            Runtime::Cni => cni::start(*self),
            Runtime::Nobody => Err(Trouble::Unsupported("no runtime starts it".to_owned())),
        }
    }
}

/// What a container engine does beside attaching.
pub(crate) trait Engine {
    /// Runs a container that ends at once, on the engine's network or on none.
    fn run(&mut self, joined: bool) -> Result<(), Trouble>;

    /// Joins `outside` to the engine's host, and gives the address at which the stations' published ports are reached.
    fn uplink(&mut self, outside: &Netns) -> Result<Ipv4Addr, Trouble>;
}
