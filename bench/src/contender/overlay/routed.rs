//! A host whose containers' packets are routed into a tunnel that carries packets, no frames.
//!
//! Each host answers ARP for the other's containers, so theirs may be of one subnet.

use super::super::bridge::veth;
use super::super::{GATEWAY, Plug};
use super::Site;
use super::daemon::Daemon;
use super::underlay::Host;
use crate::counters::link_drops;
use crate::trouble::Trouble;

// Fields drop in order: the program before what it leaves behind and its namespace.
pub(super) struct Routed<Leftover> {
    daemon: Daemon,
    _leftover: Leftover,
    host: Host,
    /// Of the containers' links.
    mtu: u16,
}

impl<Leftover> Routed<Leftover> {
    /// On a host that has a route for its containers' subnet into the program's link.
    pub(super) fn new(
        host: Host,
        (daemon, leftover): (Daemon, Leftover),
        mtu: u16,
    ) -> Result<Self, Trouble> {
        host.netns.set("ipv4/ip_forward", "1")?;
        Ok(Self {
            daemon,
            _leftover: leftover,
            host,
            mtu,
        })
    }
}

impl<Leftover> Site for Routed<Leftover> {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        let near = veth::near_end(plug);
        veth::join(&self.host.netns, &near, plug, self.mtu)?;
        let netns = &self.host.netns;
        netns.set(&format!("ipv4/conf/{near}/proxy_arp"), "1")?;
        netns.set(&format!("ipv4/neigh/{near}/proxy_delay"), "0")?;
        self.host.ip(&format!("addr add {GATEWAY}/32 dev {near}"))?;
        self.host.ip(&format!("link set {near} up"))?;
        self.host
            .ip(&format!("route add {}/32 dev {near}", plug.address))
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.host.ip(&format!("link del {}", veth::near_end(plug)))
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.daemon.pid()]
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        link_drops(&self.host.netns).map(Some)
    }
}
