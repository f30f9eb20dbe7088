//! Labs: one graph, brought up by the agent from a file, and by mininet on Linux bridges or Open vSwitch; a fabric of a thousand
//! nodes; and links of the agent that are captured or impaired.

mod fat_tree;
mod graph;
mod mininet;
mod tapestry;

use super::{Contender, Fabric, Plan};
use crate::trouble::Trouble;

/// What brings the graph up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Labs {
    Tapestry,
    MininetBridge,
    MininetOvs,
}

/// What is brought up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Graph {
    /// 100 nodes and 150 links.
    Hundred,
    /// A fat tree of 1,000 nodes.
    FatTree,
}

/// A graph that can be brought up and taken down.
pub(crate) trait Rig {
    /// Brings all of it up, from the start of the program to the moment when it says that it is done.
    fn up(&mut self, graph: Graph) -> Result<(), Trouble>;

    /// Whether hosts reach others: of [`Graph::Hundred`] over a switch and over a link, of [`Graph::FatTree`] each of a sample all others of it.
    fn reaches(&mut self, graph: Graph) -> Result<(), Trouble>;

    /// Takes all of it away.
    fn down(&mut self, graph: Graph) -> Result<(), Trouble>;
}

impl Contender for Labs {
    fn name(&self) -> &'static str {
        match self {
            Self::Tapestry => "tapestry",
            Self::MininetBridge => "mininet",
            Self::MininetOvs => "mininet-ovs",
        }
    }

    /// Only the agent has the links that the others are about.
    fn enters(&self, row: &str) -> bool {
        *self == Self::Tapestry || row == "lab-up"
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        match self {
            Self::Tapestry => tapestry::start(plan),
            Self::MininetBridge => mininet::start(false),
            Self::MininetOvs => mininet::start(true),
        }
    }
}

fn no_stations() -> Trouble {
    Trouble::Unsupported("a lab makes its nodes itself".to_owned())
}
