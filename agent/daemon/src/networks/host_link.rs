//! The TAP of a host port: made, or as an earlier agent left it.
//!
//! It is persistent, and the guardian holds a copy of its descriptor: the host keeps the link, its addresses and its routes
//! while no agent runs.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use agent_core::network::DRIVER_OFFLOAD;
use agent_core::record::NetworkRecord;
use agent_host::netlink::{HostLink, Netlink, configure_host_link, link_local};
use switch_core::PortKind;
use switch_io::{FramePort, OffloadTap, RemovedPort, set_persistent, take_over, whereabouts};

use super::host_port::OpenHostPort;
use super::segment::{Segment, open_tap};
use super::{HostPort, Networks};

/// A host's TAP, before it is a port.
struct Tap {
    port: Box<dyn FramePort>,
    /// It is as an agent before left it, with its addresses.
    is_whole: bool,
}

impl Networks {
    /// The network's host port. Its frames flow when this returns.
    pub(super) fn raise_host_port(
        &self,
        record: &NetworkRecord,
        segment: &Segment,
    ) -> Result<HostPort, OpenHostPort> {
        let tap = self.host_tap(record)?;
        let own = tap.port.as_fd().try_clone_to_owned()?;
        let config = record.port_config(PortKind::Host);
        let switch = &self.ground.switch;
        let host = HostPort {
            link: record.host_link(),
            port: switch.attach_port(&segment.bridge, tap.port, config)?,
            tap: Arc::new(own),
        };
        let raised = self.ready(record, &host, tap.is_whole);
        if let Err(error) = raised {
            drop(self.drop_host_port(&record.id, &host));
            return Err(error);
        }
        Ok(host)
    }

    fn ready(
        &self,
        record: &NetworkRecord,
        host: &HostPort,
        is_whole: bool,
    ) -> Result<(), OpenHostPort> {
        if !is_whole {
            configure_host_link(&mut Netlink::open()?, &host_link(record))?;
            set_persistent(&host.tap, true)?;
            self.ground.held.hold(&held_name(&record.id), &host.tap);
        }
        Ok(self.ground.switch.listen(host.port)?)
    }

    /// Takes a host port away, and its link with it when the result is dropped.
    pub(super) fn drop_host_port(&self, id: &str, host: &HostPort) -> RemovedPort {
        // Its link may be gone already.
        let _ = set_persistent(&host.tap, false);
        self.ground.held.release(&held_name(id));
        self.ground.switch.remove_port(host.port)
    }

    /// Whether an agent before left the network's host port to the guardian.
    pub(super) fn is_held(&self, record: &NetworkRecord) -> bool {
        self.ground.held.has(&held_name(&record.id))
    }

    /// Takes away the links of networks whose records were lost: their addresses would be in the way of others. A link that
    /// somebody holds is not one of them.
    pub(crate) fn drop_lost_links(&self, known: &[NetworkRecord]) {
        let links = Netlink::open().and_then(|mut netlink| netlink.links());
        for link in links.unwrap_or_default() {
            let is_known = known.iter().any(|record| record.host_link() == link.name);
            if is_known || !NetworkRecord::is_host_link(&link.name) {
                continue;
            }
            if let Ok(left) = OffloadTap::attach(&link.name) {
                tracing::warn!(link = link.name, "its network is not on record any more");
                let _ = set_persistent(left.as_fd(), false);
            }
        }
    }

    fn host_tap(&self, record: &NetworkRecord) -> Result<Tap, OpenHostPort> {
        let link = record.host_link();
        let kept = self.ground.held.take(&held_name(&record.id));
        if let Some(port) = kept.and_then(|kept| whole(kept, &link)) {
            return Ok(Tap {
                port,
                is_whole: true,
            });
        }
        if let Ok(left) = OffloadTap::attach(&link) {
            return Ok(Tap {
                port: Box::new(left),
                is_whole: false,
            });
        }
        // It is somebody else's, or one that has no end any more.
        Netlink::open()?.delete_link(&link)?;
        // The host's end takes offloads whatever the driver of the network's other TAPs.
        Ok(Tap {
            port: open_tap(DRIVER_OFFLOAD, &link)?.port,
            is_whole: false,
        })
    }
}

/// A held TAP whose link is still there and called so.
fn whole(kept: OwnedFd, link: &str) -> Option<Box<dyn FramePort>> {
    let (_, name) = whereabouts(&kept).ok()?;
    (name == link).then(|| take_over(kept).ok()).flatten()
}

fn held_name(network: &str) -> String {
    format!("host/{network}")
}

/// The host's end of a network.
pub(super) fn host_link(record: &NetworkRecord) -> HostLink {
    let gateways = record.own_gateways().into_iter();
    let mac = record.gateway_mac().octets();
    // Who asks for neighbors over IPv6 needs an address on that link.
    let own = (record.is_lan() && record.subnet_v6().is_some()).then(|| link_local(mac));
    HostLink {
        name: record.host_link(),
        mac,
        mtu: u32::from(record.mtu),
        addresses: gateways
            .filter_map(|gateway| record.on_link(gateway))
            .chain(own)
            .collect(),
    }
}
