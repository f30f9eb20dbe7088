//! What an edge is told: its network's addresses, its hosts, and what it counts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Mac, PortId};

/// Everything an [`Edge`](super::Edge) needs to know of its network. Fixed for the edge's life; hosts come and go.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Source of every frame the edge sends.
    pub gateway_mac: Mac,
    /// The gateway's IPv4 address and the subnet's prefix length. `None` switches IPv4 and DHCP off.
    pub v4: Option<(Ipv4Addr, u8)>,
    /// The gateway's IPv6 address and the subnet's prefix length.
    pub v6: Option<(Ipv6Addr, u8)>,
    /// Largest packet (without the Ethernet header) the network carries, in bytes; also DHCP's option 26.
    pub mtu: u16,
    /// DHCP option 6. Empty: the gateway itself, where the edge answers.
    pub dns_servers: Vec<Ipv4Addr>,
    /// DHCP option 15.
    pub domain: Option<String>,
    /// DHCP option 51, in seconds.
    pub lease_s: u32,
    /// Whether DHCP names the gateway as router (option 3); false for internal networks.
    pub routed: bool,
    /// Seed of TCP's initial sequence numbers. Take it from the system's random source.
    pub seed: u64,
}

/// One registered host, as DHCP shall present it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRecord {
    /// The address IPAM gave.
    pub ipv4: Ipv4Addr,
    /// DHCP option 12.
    pub hostname: Option<String>,
    /// Replaces the network's servers in DHCP option 6, unless empty.
    pub dns_servers: Vec<Ipv4Addr>,
}

/// Names one query from [`EdgeEvent::Dns`] until it is answered or forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub(super) u64);

/// What carried a query, and therefore how long its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    Udp,
    Tcp,
}

/// What the edge asks of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeEvent {
    /// A DNS message reached port 53. Reply with [`Edge::answer`](super::Edge::answer), in any order, or never: the
    /// edge forgets a query after [`QUERY_LIFETIME`](super::QUERY_LIFETIME).
    Dns {
        query: QueryId,
        /// The port by which it came. The addresses of a frame are anybody's word.
        ingress: PortId,
        source: IpAddr,
        carrier: Carrier,
        message: Vec<u8>,
    },
}

/// A frame that the edge sends: complete, its checksums done, no longer than the MTU allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The port that asked, and that alone gets it; `None` for what the bridge is to find a way for.
    pub egress: Option<PortId>,
    pub frame: Vec<u8>,
}

/// What an edge did and refused, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeCounters {
    /// Frames whose headers do not hold together.
    pub malformed: u64,
    /// Frames for somebody else, or of a protocol the edge does not speak.
    pub not_ours: u64,
    /// TCP segments from another port than their connection's.
    pub foreign_segments: u64,
    /// IP fragments: the edge reassembles none.
    pub fragments: u64,
    /// DHCP messages answered.
    pub dhcp_replies: u64,
    /// DHCP messages left unanswered: malformed, or for another server.
    pub dhcp_ignored: u64,
    /// DHCP messages left unanswered: the client is no registered host.
    pub dhcp_unknown: u64,
    /// DNS messages handed out as events.
    pub queries: u64,
    /// DNS messages dropped because too many were waiting, in all or from that port.
    pub queries_refused: u64,
    /// Queries that nobody answered in time.
    pub queries_expired: u64,
    /// Answers to queries already forgotten, or too long for what carries them.
    pub answers_dropped: u64,
    /// TCP connections reset: idle, misbehaving, or making room.
    pub connections_reset: u64,
    /// Frames not sent because nobody collected the ones before.
    pub transmit_full: u64,
}
