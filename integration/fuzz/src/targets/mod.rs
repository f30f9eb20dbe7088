//! One file per target.

pub(crate) mod api;
pub(crate) mod attach;
pub(crate) mod capture;
pub(crate) mod config;
pub(crate) mod dhcp;
pub(crate) mod edge;
pub(crate) mod frame;
pub(crate) mod lab;
pub(crate) mod multicast;
pub(crate) mod netlink;
pub(crate) mod peer;
pub(crate) mod permit;
pub(crate) mod plugin;
pub(crate) mod question;
pub(crate) mod record;
pub(crate) mod signer;
pub(crate) mod snapshot;
pub(crate) mod store;
pub(crate) mod token;
pub(crate) mod tunnel;
pub(crate) mod upstream;
