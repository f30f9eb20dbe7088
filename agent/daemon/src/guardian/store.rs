//! The service manager's descriptor store, which outlives the guardian (sd_notify(3), sd_listen_fds(3)).

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use nix::unistd::close;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::service_manager;

/// What the service manager hands over at a start: what an earlier guardian left there, and sockets that it made itself, by
/// their names.
pub(super) fn received() -> BTreeMap<String, OwnedFd> {
    let variable = |name| std::env::var(name).ok();
    let count = || {
        let pid: i32 = variable("LISTEN_PID")?.parse().ok()?;
        let own = pid == getpid().as_raw_nonzero().get();
        own.then(|| variable("LISTEN_FDS")?.parse().ok()).flatten()
    };
    let count: usize = count().unwrap_or(0);
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let named = places(&names, count);
    named
        .filter_map(|(name, number)| Some((name, own(number)?)))
        .collect()
}

/// Which descriptor has which name.
fn places(names: &str, count: usize) -> impl Iterator<Item = (String, RawFd)> {
    let named = names.split(':').take(count).zip(FIRST..);
    named.map(|(name, number)| (held_name(name), number))
}

/// A socket of a unit is named in one word, and has no owner in the agent.
fn held_name(name: &str) -> String {
    match name.contains('/') {
        true => name.to_owned(),
        false => format!("activated/{name}"),
    }
}

/// Makes the descriptor this process's own, and keeps its children from having it.
fn own(number: RawFd) -> Option<OwnedFd> {
    let own = pidfd_open(getpid(), PidfdFlags::empty()).ok()?;
    let taken = pidfd_getfd(own, number, PidfdGetfdFlags::empty()).ok()?;
    close(number).ok()?;
    Some(taken)
}

/// Leaves a copy with the service manager, where there is one.
pub(super) fn keep(name: &str, fd: impl AsFd) {
    service_manager::tell_with(&format!("FDSTORE=1\nFDNAME={name}"), Some(fd.as_fd()));
}

pub(super) fn forget(name: &str) {
    service_manager::tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
}

/// SD_LISTEN_FDS_START.
const FIRST: RawFd = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_go_by_their_places_and_sockets_of_units_by_one_word() {
        let found: Vec<_> = places("tap/1:docker", 2).collect();
        let named = |name: &str, place| (name.to_owned(), place);
        assert_eq!(found, [named("tap/1", 3), named("activated/docker", 4)]);
        assert_eq!(places("docker", 0).count(), 0);
    }
}
