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
    let named = names.split(':').take(count).zip(FIRST..);
    named
        .filter_map(|(name, number)| Some((held_name(name), own(number)?)))
        .collect()
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
