//! Links, addresses and routes of this namespace and of sandboxes, over the kernel's route netlink.
//!
//! # Theory of operation
//!
//! A netlink socket belongs to the network namespace it was opened in, wherever its holder goes later. So a sandbox is
//! entered once, by a throwaway thread that opens a socket there and hands it back; nothing else ever changes its
//! namespace. Requests are grouped: the kernel runs all messages of one write in order and answers each failure, so a
//! whole sandbox costs one write and, when all is well, one read of the last message's acknowledgement.
//!
//! Everything here blocks for as long as the kernel's RTNL lock is taken; asynchronous callers use `spawn_blocking`.

mod address;
mod attributes;
mod error;
mod host_link;
mod ipv6;
mod link;
mod link_end;
mod local;
mod neighbor;
mod nic;
mod nsid;
mod route;
mod sandbox_link;
mod sandbox_watch;
mod socket;
mod state;
mod stations;
mod subject;
mod subnets;
mod watch;
mod way;

pub use address::AddressEntry;
pub use agent_core::network::SubnetEntry;
pub use attributes::{attribute, messages, push_attribute};
pub use error::{NetlinkError, Refusal};
pub use host_link::{HostLink, configure_host_link};
pub use ipv6::link_local;
pub use link::{LinkEntry, LinkSettings};
pub use link_end::LinkEnd;
pub use neighbor::Neighbor;
pub use nic::Nic;
pub use nsid::NetnsNumber;
pub use route::{Route, RouteEntry};
pub use sandbox_link::{LinkName, SandboxLink, SandboxLinkDone, configure_sandbox};
pub use sandbox_watch::{SandboxWatch, Stir, Stirred};
pub use socket::Netlink;
pub use subnets::SubnetWatch;
pub use watch::{LinkChange, LinkWatch};
pub use way::WayOut;
