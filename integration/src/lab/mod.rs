//! Labs: containerlab's and Kathara's files as they are, and the networks and containers that they come to.
//!
//! [`wire`] is what the files say, word by word; [`translate`] what that means, as a [`Lab`]; [`plan`] what has to be done
//! so that the agent has that lab, given what it lists; [`serve`] does it. [`engine`] has Docker or podman run the nodes with images.
//! [`draw`] shows a lab as a picture.

mod desired;
mod draw;
mod engine;
mod fault;
mod files;
mod images;
mod model;
mod plan;
mod script;
mod serve;
mod translate;
mod wire;

pub use desired::{
    Desired, FILE, HostLink, KIND, LAB, LINK, NODE, SHARED, STOP, Wanted, runtime_of,
};
pub use draw::{dot, mermaid, svg};
pub use engine::{Guest, Image, Runtime, Unable, exec};
pub use fault::{Mark, ReadLab};
pub use files::open;
pub use model::{
    Format, Interface, Lab, Management, Node, NodeNetwork, Runs, Segment, SegmentKind, Vxlan,
};
pub use plan::{Plan, Present};
pub use serve::{Failed, Progress, Work, down, listed, present, settle, up};
pub use translate::{Environment, read};

#[cfg(test)]
mod broken;
#[cfg(test)]
mod examples;
