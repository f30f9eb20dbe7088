//! Letters to the agents of other hosts, and from them.

use std::collections::BTreeSet;
use std::time::Duration;

use agent_core::trace::TraceLetter;
use overlay_core::{HostId, LETTER_LEN_MAX, Reason};

use super::Sharing;

impl Sharing {
    /// Writes to the agent of a host. The letter is lost where that host is not connected, or cannot read it.
    pub(crate) fn write(&self, host: &HostId, letter: &TraceLetter) {
        if let (Some(tunnel), Some(body)) = (self.tunnels.quic(), letter.to_bytes(LETTER_LEN_MAX)) {
            tunnel.send_letter(host, &body);
        }
    }

    /// Needs the hosts for a while, and none else for this reason: a network over VXLAN connects none.
    pub(crate) fn need_for_trace(&self, hosts: BTreeSet<HostId>) {
        let end = self.ground.switch.now() + NEEDED;
        self.tunnels
            .need(|demand| demand.set_until(Reason::Trace, hosts, end));
    }
}

/// Longer than the pause between two questions.
const NEEDED: Duration = Duration::from_secs(10);
