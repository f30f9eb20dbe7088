//! What this host allows, for people to read.

use std::os::fd::AsFd;

use crate::sys::{ring, tun};
use crate::tap::{OffloadMask, TAP_FLAGS, probe_offload};

/// What the data plane can use here. Errors are sentences for people.
#[derive(Clone, Debug)]
pub struct HostSupport {
    /// `IFF_*` features of `/dev/net/tun`, or why it cannot be opened.
    pub tun_features: Result<u32, String>,
    /// What a new TAP accepts, or why none can be made.
    pub offload: Result<OffloadMask, String>,
    /// Whether io_uring carries frames here, or why not.
    pub uring: Result<(), String>,
}

impl HostSupport {
    /// Whether TAPs can have a vnet header: without it only the basic driver works.
    pub fn has_vnet_header(&self) -> bool {
        let wanted = libc::IFF_VNET_HDR.cast_unsigned();
        self.tun_features.as_ref().is_ok_and(|features| features & wanted != 0)
    }
}

/// Tries everything once. Makes a TAP for a moment, in a network namespace of its own if it may make one.
pub fn probe() -> HostSupport {
    HostSupport {
        tun_features: tun_features(),
        offload: std::thread::spawn(offload).join().unwrap_or_else(|_| Err("the probe panicked".into())),
        uring: ring::probe().map_err(|error| error.to_string()),
    }
}

fn tun_features() -> Result<u32, String> {
    let fd = tun::open().map_err(|error| format!("cannot open /dev/net/tun: {error}"))?;
    tun::features(fd.as_fd()).map_err(|error| format!("TUNGETFEATURES: {error}"))
}

fn offload() -> Result<OffloadMask, String> {
    // Without the right to make a namespace, the caller's has to do.
    let _ = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
    let fd = tun::open().map_err(|error| format!("cannot open /dev/net/tun: {error}"))?;
    tun::attach(fd.as_fd(), "tsyprobe%d", TAP_FLAGS).map_err(|error| format!("cannot create a TAP: {error}"))?;
    probe_offload(fd.as_fd()).map_err(|error| format!("TUNSETOFFLOAD: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_answers_whatever_the_rights() {
        let support = probe();
        if let Err(reason) = &support.offload {
            assert!(!reason.is_empty());
        }
        assert!(!support.has_vnet_header() || support.tun_features.is_ok());
    }
}
