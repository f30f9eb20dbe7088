//! A host whose containers hang on a kernel bridge by veth pairs; one port of the bridge is the tunnel.

use super::super::Plug;
use super::super::bridge::veth;
use super::Site;
use super::daemon::Daemon;
use super::underlay::Host;
use crate::counters::link_drops;
use crate::trouble::Trouble;

// Fields drop in order: the program before its namespace.
pub(super) struct Bridged {
    /// What moves the tunnel's frames, where that is not the kernel.
    program: Option<Daemon>,
    host: Host,
    /// Of the containers' links.
    mtu: u16,
}

impl Bridged {
    /// Makes the bridge and puts `tunnel`, a link of the host, into it.
    pub(super) fn new(
        host: Host,
        program: Option<Daemon>,
        tunnel: &str,
        mtu: u16,
    ) -> Result<Self, Trouble> {
        host.ip(&format!("link add br0 mtu {mtu} type bridge"))?;
        host.ip(&format!("link set {tunnel} master br0 up"))?;
        host.ip("link set br0 up")?;
        Ok(Self { program, host, mtu })
    }
}

impl Site for Bridged {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        let near = veth::near_end(plug);
        veth::join(&self.host.netns, &near, plug, self.mtu)?;
        self.host.ip(&format!("link set {near} master br0 up"))
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.host.ip(&format!("link del {}", veth::near_end(plug)))
    }

    fn processes(&self) -> Vec<u32> {
        self.program.iter().map(Daemon::pid).collect()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        link_drops(&self.host.netns).map(Some)
    }
}
