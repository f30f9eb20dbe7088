//! What a frame meets behind the port that it leaves by.

use agent_api::{TraceStep, TransportProtocol};
use agent_core::firewall::FilterDrop;
use agent_core::shared::others::name_of;
use agent_core::trace::{Passing, Walk, Way, inbound, outbound};
use agent_host::netlink::{Netlink, NetlinkError, WayOut};
use switch_core::{Frame, PortId, Summary};

use super::super::view::Seen;
use super::super::{FarEnd, Networks};

impl Networks {
    /// Where a tunnel or a patch leads; nothing where the port is neither.
    pub(super) fn far_end(&self, seen: &Seen, egress: PortId) -> Option<TraceStep> {
        let mut patches = seen.ways.patches.values();
        if let Some(patch) = patches.find(|patch| patch.port == egress) {
            let detail = format!(
                "goes on in network {:?}, whose switch decides",
                patch.leads_to
            );
            return Some(step("patch", "cross", detail));
        }
        let mut tunnels = seen.ways.tunnels.iter();
        let (far, tunnel) = tunnels.find(|(_, tunnel)| tunnel.port.port == egress)?;
        let overlay = seen.place.record.overlay.as_ref()?;
        let host = match (far, self.sharing.member()) {
            (FarEnd::Host(host), Some(member)) => {
                format!("{} at ", name_of(&member.world(), host.as_str()))
            }
            _ => String::new(),
        };
        let detail = format!(
            "VNI {} to {host}{}, whose switch decides",
            overlay.vni, tunnel.address
        );
        Some(step("overlay", overlay.encap.name(), detail))
    }

    /// What the host does with a packet that comes by the host port. The reason, where the packet filter drops it.
    pub(super) fn beyond_host(
        &self,
        link: &str,
        summary: &Summary,
        steps: &mut Vec<TraceStep>,
    ) -> Option<FilterDrop> {
        let packet = passing(link, summary)?;
        match walk(&self.filter.rules(), &packet, steps) {
            Ok(dropped) => dropped,
            Err(error) => {
                steps.push(step("route", "unknown", error.to_string()));
                None
            }
        }
    }
}

/// In the order in which the kernel asks: the chains before routing, the routes, the chains after it.
fn walk(
    rules: &agent_core::firewall::Rules,
    packet: &Passing,
    steps: &mut Vec<TraceStep>,
) -> Result<Option<FilterDrop>, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let ingress = netlink.link_by_name(&packet.link)?.index;
    let mut way = |to| netlink.way_out(ingress, packet.source, to);
    let first = way(packet.destination)?;
    let is_local = first == WayOut::Local;
    let Walk {
        steps: before,
        dropped,
        redirected,
    } = inbound(rules, packet, is_local);
    steps.extend(before);
    if dropped.is_some() {
        return Ok(dropped);
    }
    let (to, way) = match redirected {
        Some(target) => (target.ip(), way(target.ip())?),
        None => (packet.destination, first),
    };
    let way = named(&mut netlink, way)?;
    steps.push(route(to, &way));
    let after = outbound(rules, packet, &way, redirected.is_some());
    steps.extend(after.steps);
    Ok(after.dropped)
}

fn named(netlink: &mut Netlink, way: WayOut) -> Result<Way, NetlinkError> {
    Ok(match way {
        WayOut::Local => Way::Local,
        WayOut::None(why) => Way::None(why),
        WayOut::Link { index, gateway } => Way::Link {
            name: netlink.link_by_index(index)?.name,
            gateway,
        },
    })
}

fn route(to: std::net::IpAddr, way: &Way) -> TraceStep {
    match way {
        Way::Local => step("route", "local", format!("{to} is the host itself")),
        Way::Link { name, gateway } => {
            let via = gateway.map(|gateway| format!(" through {gateway}"));
            let detail = format!("{to} is reached by {name}{}", via.unwrap_or_default());
            step("route", "out", detail)
        }
        Way::None(why) => step(
            "route",
            "none",
            format!("the host has no way to {to}: {why}"),
        ),
    }
}

/// Nothing where the frame carries no packet that the host would take.
fn passing(link: &str, summary: &Summary) -> Option<Passing> {
    let (source, destination) = summary.addresses?;
    let number = summary.protocol?;
    let transport = summary.ports.and_then(|(_, to)| match number {
        TCP => Some((TransportProtocol::Tcp, to)),
        UDP => Some((TransportProtocol::Udp, to)),
        _ => None,
    });
    Some(Passing {
        link: link.to_owned(),
        source,
        destination,
        transport,
    })
}

/// In whose name a frame leaves by the network's NIC; nothing where it leaves elsewhere.
pub(super) fn uplink(seen: &Seen, egress: PortId, bytes: &[u8]) -> Option<TraceStep> {
    let uplink = seen.ways.uplink.as_ref()?;
    if uplink.port != egress {
        return None;
    }
    let frame = Frame::parse(bytes).ok()?;
    let link = &uplink.nic.link;
    Some(match uplink.translates() {
        true => {
            let nic = uplink.device.crossing().nic();
            let detail = format!("the LAN sees {nic}, {link}'s, in place of {}", frame.src());
            step("uplink", "translate", detail)
        }
        false => step("uplink", "out", format!("leaves by {link} as it is")),
    })
}

pub(super) fn step(stage: &str, result: &str, detail: String) -> TraceStep {
    TraceStep {
        stage: stage.to_owned(),
        result: result.to_owned(),
        detail,
        reason: None,
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
