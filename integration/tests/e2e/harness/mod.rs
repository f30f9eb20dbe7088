//! Hosts, sandboxes and an outside world, all in network namespaces, around the real binary.
//!
//! A [`Host`] is a namespace with an agent in it; `outside` is a second namespace, joined to it by a veth pair, that
//! plays the rest of the world and the name server. What is made here is removed when it goes out of scope, and a
//! host that leaves anything behind fails its test.

mod api;
mod disk;
mod endpoint;
mod generator;
mod host;
mod image;
mod leftovers;
mod mounts;
mod netns;
mod process;
mod pypi;
mod terminal;

use std::time::{Duration, Instant};

pub(crate) use api::{Reply, request, request_raw};
pub(crate) use disk::SmallDisk;
pub(crate) use endpoint::Endpoint;
pub(crate) use generator::Generator;
pub(crate) use host::{
    HOST_IP, HOST_IP6, Host, OUTSIDE_IP, OUTSIDE_IP6, OUTSIDE_NAME_SERVER, binary, child_of,
};
pub(crate) use image::busybox_image;
pub(crate) use mounts::Mounts;
pub(crate) use netns::{Netns, enter, fastest, pings};
pub(crate) use process::{Output, run, run_for};
pub(crate) use pypi::from_pypi;
pub(crate) use terminal::Terminal;

/// Tries until `attempt` gives something; panics with `what` when `limit` has passed.
pub(crate) fn eventually<T>(
    limit: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
