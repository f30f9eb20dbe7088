//! Tunnels go over from an agent that runs to the one that takes its place.
//!
//! # Theory of operation
//!
//! The old one, told to rest, makes way: it leaves with the guardian the end of a passage, where the new one receives what is for
//! its connections ([`overlay_io::QuicTunnel::make_way`]). The new one connects to every other host before it reads any link, and
//! waits a while for those that do not answer. Then it says hello, and the others send to it: frames for this host
//! come in over its connections, while those from this host still leave over the old one's, until it reads the links. At last
//! the old one takes in what is still on its way to it, and closes.
//!
//! VXLAN has no connections. The old one takes out what it has in a packet ring, and stops receiving together with the links; the new one
//! receives from the same socket from then on. So what comes is not put out of order between two readers, and waits in the socket for
//! as long as frames wait in links.
//!
//! What goes wrong before the new one reads ends that one alone. The old one forgets the passage, answers for the new one's connections
//! that they are gone, and its own count again.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use overlay_io::{Heritage, Mark, QuicTunnel};

use super::tunnels::{Tunnels, held_name};

impl Tunnels {
    /// Another agent begins beside this one.
    pub(crate) fn make_way(&self) {
        let Some(tunnel) = self.quic() else {
            return;
        };
        match tunnel.make_way() {
            Ok(heritage) => {
                let name = passage_name(tunnel.local_address(), heritage.mark);
                self.ground.held.hold(&name, heritage.passage);
            }
            Err(error) => {
                tracing::warn!(%error, "connections to other hosts will be made anew");
            }
        }
    }

    /// What waits in packet rings is taken out, in order that nothing is received but from sockets. They are read meanwhile.
    pub(crate) fn leave_rings(&self) {
        let sockets = self.vxlan_sockets();
        let has_left = until(LEAVE_WITHIN, || {
            // All of them are told at once.
            let left = sockets.iter().filter(|socket| socket.tunnel.leave_ring());
            left.count() == sockets.len()
        });
        if !has_left {
            tracing::warn!("packets are left in a ring of VXLAN");
        }
    }

    /// Nobody took the place of this agent.
    pub(crate) fn go_on(&self) {
        self.are_listened_to();
        for socket in self.vxlan_sockets() {
            socket.tunnel.use_ring();
        }
        if let Some(tunnel) = self.quic() {
            tunnel.go_on();
            self.let_passage_go(&tunnel);
        }
    }

    /// What the agent before left for a tunnel at `local`, where that agent still forwards.
    pub(super) fn heritage(&self, local: SocketAddr) -> Option<Heritage> {
        let held = &self.ground.held;
        let mut left = Mark::ALL.into_iter().filter(|_| held.follows());
        left.find_map(|mark| {
            let passage = held.take(&passage_name(local, mark))?;
            Some(Heritage { mark, passage })
        })
    }

    /// Has other hosts send to this agent instead of the one before, once they are connected.
    pub(crate) fn take_over(&self) {
        let Some(tunnel) = self.quic() else {
            return;
        };
        let has_met_all = until(MEET_WITHIN, || tunnel.has_met_all());
        tunnel.take_over();
        let is_greeted = until(GREET_WITHIN, || tunnel.is_greeted());
        tracing::info!(has_met_all, is_greeted, "tunnels are taken over");
    }

    /// The agent before has ended.
    pub(crate) fn are_alone(&self) {
        if let Some(tunnel) = self.quic() {
            self.let_passage_go(&tunnel);
        }
    }

    /// Takes in what is still on its way to this agent, and closes its connections. The links are not read any more.
    pub(crate) fn leave(&self) {
        if let Some(tunnel) = self.quic() {
            // The others send to the next agent. What they sent before is ahead of that, unless the underlay reorders.
            sleep(STRAGGLE);
            tunnel.leave();
        }
    }

    fn let_passage_go(&self, tunnel: &QuicTunnel) {
        for mark in Mark::ALL {
            let name = passage_name(tunnel.local_address(), mark);
            self.ground.held.release(&name);
        }
    }
}

/// Whether it became so in time.
fn until(patience: Duration, is_so: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK_AGAIN);
    }
}

fn passage_name(local: SocketAddr, mark: Mark) -> String {
    format!("{}/{mark}", held_name(PASSAGE, local))
}

const PASSAGE: &str = "passage";
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How long a host may take to be connected; one that is away keeps the agent so long from its place.
const MEET_WITHIN: Duration = Duration::from_secs(1);
/// A few hellos, since one may be lost.
const GREET_WITHIN: Duration = Duration::from_millis(350);
const LEAVE_WITHIN: Duration = Duration::from_millis(500);
const STRAGGLE: Duration = Duration::from_millis(50);
