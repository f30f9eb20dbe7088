//! The host's packet filter: what leaves a network, what may enter it, and what of it is published.
//!
//! # Theory of operation
//!
//! Everything lives in one table, `inet tapestry`. `agent_core::firewall` turns the wanted rules into the whole table as text;
//! `nft -f -` replaces the old table by it in one transaction, so no packet sees half of it and nothing accumulates.
//! Connection tracking outlives the replacement, so connections do too.
//!
//! That is how it begins, and how it goes on when somebody else was at it, or a change was refused. As long as the watch says that the
//! table stands as it was made, a change is a transaction of a few elements, however many networks there are.
//!
//! Containers outlive the agent, so the table does: it goes when nothing is left that it could guard, and at a start it
//! stands before the first host port.
//!
//! Tables of others are not touched, with one exception: Docker sets the policy of its forward chain to drop and leaves
//! `DOCKER-USER` for others to say what passes. A verdict in one base chain does not excuse a packet from the next, so
//! our forward chain, which runs first, sets a bit of the packet mark on what it accepts, and one rule in `DOCKER-USER`,
//! found again by its comment, accepts packets with that bit.
//!
//! Others flush rulesets (`nft flush ruleset`, a firewall service that reloads) or appear later (dockerd). A
//! [`FirewallWatch`] listens to the kernel's own notifications and says when to apply again. It knows the agent's own
//! transactions by the process that made them, so applying never triggers applying.

mod diagnose;
mod docker;
mod doings;
mod drops;
mod filter;
mod firewalld;
mod loopback;
mod nft;
mod watch;

pub use diagnose::{Finding, diagnose};
pub use filter::Firewall;
pub use nft::FirewallError;
pub(crate) use nft::program;
pub use watch::{Disturbance, FirewallWatch, WatchFirewall};
