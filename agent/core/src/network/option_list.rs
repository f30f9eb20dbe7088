//! Every option of networks, by name.

/// What `-o` takes, in one line: names alone, since they are many.
pub(super) fn options_shown() -> String {
    let named = |only_overlay| {
        let options = OPTIONS.iter().filter(|option| option.2 == only_overlay);
        let names: Vec<_> = options.map(|(name, _, _)| *name).collect();
        names.join(" ")
    };
    format!(
        "-o takes {}; overlays {}; macvlan, ipvlan {}",
        named(false),
        named(true),
        LAN_OPTIONS.join(" ")
    )
}

/// Every option: its name, its values, and whether an overlay alone has it. What is not here is unknown.
pub(super) const OPTIONS: &[(&str, &str, bool)] = &[
    (OPTION_TAP, "offload|basic", false),
    (OPTION_TRANSPARENT, "true|false", false),
    (OPTION_JOIN, "tcp|udp", false),
    (OPTION_GUARD, "strict|loose", false),
    (OPTION_DHCP, "builtin|container|off", false),
    (OPTION_RA, "block|allow", false),
    (OPTION_BUM, "N|off", false),
    (OPTION_RATE, "RATE[/BURST]", false),
    (OPTION_AGEING, "SECONDS", false),
    (OPTION_LEARNING, "true|false", false),
    (OPTION_SNOOPING, "off|on|fast", false),
    (OPTION_LEARN_LIMIT, "N", false),
    (OPTION_ISOLATED, "on|off", false),
    (OPTION_BPDU_GUARD, "on|off|SECONDS", false),
    (OPTION_STORM_BROADCAST, "N|off", false),
    (OPTION_STORM_MULTICAST, "N|off", false),
    (OPTION_STORM_UNKNOWN, "N|off", false),
    (OPTION_RECORD, "NAME=ADDRESS[,..]", false),
    (OPTION_REBIND, "block|allow", false),
    (OPTION_INTERCEPT, "true|false", false),
    (OPTION_UPLINK, "LINK", false),
    (OPTION_VLAN, "aware|unaware", false),
    (OPTION_VLAN_PROTOCOL, "802.1q|802.1ad", false),
    (OPTION_VLAN_DEFAULT, "VID", false),
    (OPTION_ENCAP, "quic|vxlan", true),
    (OPTION_VNI, "N", true),
    (OPTION_REMOTE, "IP[,IP]", true),
    (OPTION_DSTPORT, "N", true),
    (OPTION_LOCAL, "IP", true),
    (OPTION_TOS, "inherit|N", true),
    (OPTION_TTL, "inherit|N", true),
    (OPTION_DF, "set|unset|inherit", true),
];
/// What the drivers `macvlan` and `ipvlan` take besides, in Docker's words.
const LAN_OPTIONS: [&str; 5] = [
    OPTION_PARENT,
    OPTION_MACVLAN_MODE,
    OPTION_IPVLAN_MODE,
    OPTION_IPVLAN_FLAG,
    OPTION_MAC,
];
/// The NIC whose LAN the network is.
pub(super) const OPTION_PARENT: &str = "parent";
/// The NIC whose LAN is a part of the network.
pub(super) const OPTION_UPLINK: &str = "uplink";
pub(super) const OPTION_MACVLAN_MODE: &str = "macvlan_mode";
pub(super) const OPTION_IPVLAN_MODE: &str = "ipvlan_mode";
pub(super) const OPTION_IPVLAN_FLAG: &str = "ipvlan_flag";
/// Whether the LAN sees the containers' own MACs, `own`, or the NIC's alone, `translate`.
pub(super) const OPTION_MAC: &str = "mac";
pub(super) const OPTION_TAP: &str = "tap";
pub(super) const OPTION_TRANSPARENT: &str = "transparent";
/// `udp`: datagrams of a flow that come together may reach a container as one; `tcp`: only segments of TCP, the default.
pub(super) const OPTION_JOIN: &str = "join";
/// Whether frames may bear addresses of neighbors: `strict` or `loose`.
pub(super) const OPTION_GUARD: &str = "guard";
/// Who serves DHCP: `builtin`, `container` or `off`.
pub(super) const OPTION_DHCP: &str = "dhcp";
/// Router advertisements and redirects from containers: `block` or `allow`.
pub(super) const OPTION_RA: &str = "ra";
/// Broadcast, unknown unicast and multicast of each container, in frames a second.
pub(super) const OPTION_BUM: &str = "bum";
/// What each container may get and send, unless it has rates of its own.
pub(super) const OPTION_RATE: &str = "rate";
pub(super) const OPTION_AGEING: &str = "fdb.ageing";
/// Whether sources seen at containers enter the forwarding table: `true` or `false`.
pub(super) const OPTION_LEARNING: &str = "fdb.learning";
/// Whether multicast goes only to who asked for it: `off`, the default, `on`, or `fast`, where who leaves is not asked again.
pub(super) const OPTION_SNOOPING: &str = "snooping";
/// How many stations are learned at each container's port.
pub(super) const OPTION_LEARN_LIMIT: &str = "learn_limit";
/// Whether containers' ports are isolated from each other: `on` or `off`.
pub(super) const OPTION_ISOLATED: &str = "isolated";
/// Whether a container that sends a BPDU is blocked, and for how long.
pub(super) const OPTION_BPDU_GUARD: &str = "bpdu_guard";
/// What each container may send to everybody, by kind, in frames a second.
pub(super) const OPTION_STORM_BROADCAST: &str = "storm_broadcast";
pub(super) const OPTION_STORM_MULTICAST: &str = "storm_multicast";
pub(super) const OPTION_STORM_UNKNOWN: &str = "storm_unknown";
pub(super) const OPTION_RECORD: &str = "dns.record";
pub(super) const OPTION_REBIND: &str = "dns.rebind";
/// Whether what engines' containers ask other name servers is answered in their place: `true`, the default, or `false`.
pub(super) const OPTION_INTERCEPT: &str = "dns.intercept";
/// `aware`: the switch knows VLANs; `unaware`, the default: tags are payload.
pub(super) const OPTION_VLAN: &str = "vlan";
/// Whose tags it reads.
pub(super) const OPTION_VLAN_PROTOCOL: &str = "vlan_protocol";
/// The VLAN of the gateway, and of whoever says nothing else.
pub(super) const OPTION_VLAN_DEFAULT: &str = "vlan_default";
pub(super) const OPTION_ENCAP: &str = "encap";
pub(super) const OPTION_VNI: &str = "vni";
pub(super) const OPTION_REMOTE: &str = "remote";
pub(super) const OPTION_DSTPORT: &str = "dstport";
pub(super) const OPTION_LOCAL: &str = "local";
pub(super) const OPTION_TOS: &str = "tos";
pub(super) const OPTION_TTL: &str = "ttl";
pub(super) const OPTION_DF: &str = "df";
