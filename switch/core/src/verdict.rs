//! What becomes of a frame.

use std::fmt;

use crate::PortId;
use crate::list_id::ListId;

/// What the caller does with a frame. Borrows nothing, so a batch of verdicts sits in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send to this port.
    Unicast(PortId),
    /// Send to every port of [`crate::Bridge::flood_list`] but the ingress itself.
    Flood,
    /// Send to every port of [`crate::Bridge::group_list`].
    Group(ListId),
    /// The bridge itself was meant. It goes nowhere.
    Taken,
    /// Let [`crate::Bridge::reply`] write an answer and send that to the ingress; the frame goes nowhere.
    Reply,
    /// A probe of this bridge came back: [`crate::Bridge::probe`] reads it, for whoever looks for loops. It goes nowhere.
    Probe,
    /// Count the reason on the ingress port.
    Drop(DropReason),
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a frame went nowhere. Every variant is a counter of [`crate::PortCounters`]: of the port it came from where
        /// that says whose frames are lost, of the port it should have gone to where that says who was too slow.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// Every reason, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The counter's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

drop_reasons! {
    /// Shorter than an Ethernet header.
    Runt = "runt",
    /// Longer than this port's MTU allows, from it or for it; for a superframe, its segments are.
    Oversize = "oversize",
    /// The source is a group address.
    MulticastSource = "multicast_source",
    /// The source is all zeros.
    ZeroSource = "zero_source",
    /// A VLAN tag is cut short.
    TruncatedVlan = "truncated_vlan",
    /// Priority tags stacked so deep that what they carry cannot be checked.
    StackedPriorityTags = "stacked_priority_tags",
    /// The vnet header is cut short or has bits nobody defined.
    VnetMalformed = "vnet_malformed",
    /// A GSO type we do not carry, legacy UFO among them.
    VnetGsoType = "vnet_gso_type",
    /// The GSO size is zero or contradicts the frame.
    VnetGsoSize = "vnet_gso_size",
    /// The checksum offsets lie outside the frame or contradict its headers.
    VnetChecksum = "vnet_checksum",
    /// The frame's headers are not those its GSO type promises.
    VnetHeaders = "vnet_headers",
    /// The IPv4 header checksum of a superframe is wrong.
    VnetIpv4Checksum = "vnet_ipv4_checksum",
    /// The ingress port is not attached to this network.
    UnknownIngress = "unknown_ingress",
    /// For a link-constrained group address in a network that is not transparent.
    LinkLocalControl = "link_local_control",
    /// The destination lives on the ingress port.
    Hairpin = "hairpin",
    /// Ingress and egress share a split-horizon group.
    SplitHorizon = "split_horizon",
    /// Denied by the network's access list: from this port, or of a flood, for it.
    Acl = "acl",
    /// The source belongs to an endpoint on another port.
    StickyMac = "sticky_mac",
    /// The port is locked, and the source is not configured there.
    LockedPort = "locked_port",
    /// A BPDU from a port with `-o bpdu_guard`, which is blocked for it.
    BpduGuard = "bpdu_guard",
    /// A container or another host used the gateway's MAC as its own.
    GatewayMac = "gateway_mac",
    /// A container or another host used a gateway address as its own: ARP sender, neighbor discovery, or packet source.
    GatewayIp = "gateway_ip",
    /// As `gateway_ip`, of an address that is registered for an endpoint elsewhere. `-o guard=loose` lets it pass.
    NeighborIp = "neighbor_ip",
    /// A DHCP server's message that is not allowed. `-o dhcp=container` allows it.
    RogueDhcp = "rogue_dhcp",
    /// A DHCP client's message in a network without DHCP (`-o dhcp=off`).
    DhcpOff = "dhcp_off",
    /// A router advertisement that is not allowed. `-o ra=allow` allows it.
    RogueRa = "rogue_ra",
    /// An ICMP redirect of either family that is not allowed. `-o ra=allow` allows it.
    RogueRedirect = "rogue_redirect",
    /// The first fragment of an IPv6 packet without all of its headers (RFC 7112).
    HeaderChain = "header_chain",
    /// Over the port's rate of broadcast, unknown unicast and multicast.
    BumRate = "bum_rate",
    /// Over the port's rate of broadcast.
    StormBroadcast = "storm_broadcast",
    /// Over the port's rate of multicast.
    StormMulticast = "storm_multicast",
    /// Over the port's rate of unknown unicast.
    StormUnknown = "storm_unknown",
    /// For the gateway, in a network without one.
    NoGateway = "no_gateway",
    /// For a multicast group that nobody asked for, in a network that snoops (`-o snooping=on`).
    NoListener = "no_listener",
    /// Flooded, and nobody else is there.
    NoEgress = "no_egress",
    /// The egress port went away.
    EgressGone = "egress_gone",
    /// For this port, whose device refused the frame as malformed.
    EgressRefused = "egress_refused",
    /// For this port, whose queue was full: its reader is too slow.
    QueueFull = "queue_full",
    /// From or for this port, over its rate for too long.
    OverRate = "over_rate",
    /// For this port, whose link was down.
    LinkDown = "link_down",
    /// From this port: its sandbox sent faster than the TAP was read. Counted by the link itself.
    TapFull = "tap_full",
    /// From this port, an uplink's: the LAN sent faster than the NIC was read.
    UplinkFull = "uplink_full",
    /// From this port, the gateway's: it answered faster than it was read.
    EdgeFull = "edge_full",
    /// From this port, for the gateway's: it asked faster than it was answered.
    EdgeBusy = "edge_busy",
    /// From this port, tagged for a VLAN that it does not belong to.
    VlanForeign = "vlan_foreign",
    /// From this port without a tag, which has no native VLAN.
    VlanUntagged = "vlan_untagged",
    /// For a port that does not belong to the frame's VLAN.
    VlanEgress = "vlan_egress",
    /// From or for a port that is blocked, because of a loop or a fault.
    PortBlocked = "port_blocked",
    /// A fault that was asked for.
    Fault = "fault",
}

impl DropReason {
    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// Whether the bytes are at fault, and not what is done with them.
    pub const fn is_malformed(self) -> bool {
        matches!(
            self,
            Self::Runt
                | Self::MulticastSource
                | Self::ZeroSource
                | Self::TruncatedVlan
                | Self::StackedPriorityTags
                | Self::VnetMalformed
                | Self::VnetGsoType
                | Self::VnetGsoSize
                | Self::VnetChecksum
                | Self::VnetHeaders
                | Self::VnetIpv4Checksum
        )
    }

    /// Whether the port that counts it is the one that the frame was for, and not the one that it came from. Of those that may
    /// be either, what is usual.
    pub const fn is_at_egress(self) -> bool {
        matches!(self, Self::QueueFull | Self::LinkDown | Self::EgressRefused)
    }

    /// Position in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_snake_case_name_and_its_place() {
        let mut seen = HashSet::new();
        for (place, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place);
            let name = reason.name();
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            );
            assert!(seen.insert(name));
        }
    }
}
