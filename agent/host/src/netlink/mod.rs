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

mod attributes;
mod error;
mod link;
mod local;
mod request;
mod sandbox;
mod socket;
mod watch;

pub(crate) use attributes::{attribute, messages};
pub use error::{NetlinkError, Refusal};
pub use link::{AddressEntry, LinkEntry, LinkSettings, RouteEntry, SubnetEntry};
pub use sandbox::{
    HostLink, LinkName, Neighbor, Route, SandboxLink, SandboxLinkDone, configure_host_link,
    configure_sandbox,
};
pub use socket::Netlink;
pub use watch::LinkWatch;
