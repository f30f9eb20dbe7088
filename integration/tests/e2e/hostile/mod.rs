//! What an attacker tries, a container, a stranger on the underlay or a local user, and what stops it; `docs/security.md` has
//! the table.

mod container;
mod filter;
mod filter_changes;
mod guard;
mod loops;
mod macs;
mod names;
mod never_open;
mod router;
mod segment;
mod storms;
mod tunnels;
mod underlay;
