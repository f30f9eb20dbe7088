//! The host under the agent: links, namespaces, kernel settings, the packet filter, connection tracking, published ports.
//!
//! Everything here blocks, and belongs to the network namespace of the thread that calls.

mod ingress;
mod limits;
mod namespace;
mod niceness;
mod rights;
mod sole;
mod ways;

pub mod cgroup;
pub mod conntrack;
pub mod firewall;
pub mod netlink;
pub mod publish;
pub mod sysctl;

pub use ingress::has_a_say;
pub use limits::{FewFiles, RaiseLimit, check_open_files, raise_open_files};
pub use namespace::{EnterNetns, Netns, NetnsId, OpenNetns, netns_id};
pub use niceness::Niceness;
pub use rights::{MissingRights, check_rights, keep_file_rights, keep_no_rights};
pub use sole::{BeSole, Holder, Sole, holder};
pub use ways::{all_ways, find_ways};
