//! Ports: what a bridge knows of each attachment.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::vlan::{PortVlans, VidSet, VlanConfig};
use crate::{BumLimit, DropReason, Joining, PortGuards};

/// What is behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortKind {
    /// A sandbox, whose frames are not trusted.
    Tap,
    /// The TAP in the host's own namespace, which carries the gateway's MAC and addresses.
    Host,
    /// The edge service inside the switch.
    Edge,
    /// A remote VTEP, whose frames may be forged.
    Tunnel,
    /// A physical network.
    Uplink,
    /// The way to the bridge of another network on this host, whose guard knows nothing of this one's addresses.
    Patch,
}

impl PortKind {
    /// Whether the guard judges what comes from such a port.
    pub const fn is_guarded(self) -> bool {
        matches!(self, Self::Tap | Self::Tunnel | Self::Patch)
    }

    /// The VLANs of a port of that kind where nobody said anything: what leads to other switches carries all of them, the
    /// default one without tags.
    pub(crate) fn usual_vlans(self, network: VlanConfig) -> PortVlans {
        match self {
            Self::Tap | Self::Host | Self::Edge => PortVlans::access(network.default),
            Self::Tunnel | Self::Uplink | Self::Patch => {
                PortVlans::trunk(Some(network.default), VidSet::all())
            }
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Tap => "tap",
            Self::Host => "host",
            Self::Edge => "edge",
            Self::Tunnel => "tunnel",
            Self::Uplink => "uplink",
            Self::Patch => "patch",
        }
    }
}

/// Ports that share a group other than [`SplitHorizonGroup::NONE`] never exchange frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SplitHorizonGroup(u8);

impl SplitHorizonGroup {
    /// No group: frames flow to and from every port.
    pub const NONE: Self = Self(0);
    /// Tunnels: what came over one was already sent over the others by its origin.
    pub const TUNNEL: Self = Self(1);
    /// Isolated containers: they reach the gateway and the unisolated, not each other.
    pub const ISOLATED: Self = Self(2);
    /// The host and its NIC: what the host says to a LAN, and hears from there, passes the NIC without us.
    pub const LAN: Self = Self(3);
    /// Number of groups.
    pub const COUNT: usize = 8;

    /// `None` when `value` is not below [`Self::COUNT`].
    pub const fn new(value: u8) -> Option<Self> {
        if (value as usize) < Self::COUNT {
            Some(Self(value))
        } else {
            None
        }
    }

    /// Every group, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..).map_while(Self::new)
    }

    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Whether a frame that came in on a port of this group must stay off ports of `egress`.
    pub const fn separates(self, egress: Self) -> bool {
        self.0 != 0 && self.0 == egress.0
    }
}

/// How a bridge treats a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    pub kind: PortKind,
    pub group: SplitHorizonGroup,
    /// Largest packet after the Ethernet header and VLAN tags, in bytes.
    pub mtu: u32,
    /// Whether sources seen here enter the FDB.
    pub learning: bool,
    /// Most MACs learned here; further ones are flooded to, not learned.
    pub learn_limit: u32,
    /// `None`: unlimited.
    pub bum_limit: Option<BumLimit>,
    /// Which single frames of a flow may go to the port as one superframe.
    pub joining: Joining,
    /// Whether a DHCP server may answer from here. Ports that are not guarded always may, as with what follows.
    pub allow_dhcp_server: bool,
    /// Whether DHCP clients may ask from here.
    pub allow_dhcp_client: bool,
    /// Whether router advertisements and redirects may come from here.
    pub allow_router: bool,
    /// Whether frames from here may bear addresses that are registered for other ports.
    pub allow_neighbor_addresses: bool,
    /// Whether the network's name server answers what is asked from here of others beyond the gateway, over UDP: behind the
    /// port is a resolver that knows only those.
    pub intercept_names: bool,
    /// Whether a multicast router is there, which gets every group where the bridge snoops.
    pub multicast_router: bool,
    /// Frames between isolated ports leave by this one, and may come back by it: a switch outside decides about them
    /// (IEEE 802.1Qbg, a VEPA's reflective relay).
    pub reflects: bool,
    /// What it is kept from besides.
    pub guards: PortGuards,
    /// The VLANs that it belongs to, where the network is aware of any; absent: those that are usual for its kind.
    pub vlans: Option<PortVlans>,
}

impl PortConfig {
    /// The defaults of its kind: sandboxes are guarded and limited, tunnels and patches are guarded, everything else is trusted.
    pub const fn new(kind: PortKind, mtu: u32) -> Self {
        let is_limited = matches!(kind, PortKind::Tap);
        let is_trusted = !kind.is_guarded();
        Self {
            kind,
            group: match kind {
                PortKind::Tunnel => SplitHorizonGroup::TUNNEL,
                _ => SplitHorizonGroup::NONE,
            },
            mtu,
            // The edge speaks with the gateway's MAC, which has its place already.
            learning: !matches!(kind, PortKind::Edge),
            learn_limit: if is_limited { 4096 } else { u32::MAX },
            bum_limit: if is_limited {
                Some(BumLimit::SANDBOX)
            } else {
                None
            },
            joining: Joining::Tcp,
            allow_dhcp_server: is_trusted,
            allow_dhcp_client: true,
            allow_router: is_trusted,
            allow_neighbor_addresses: is_trusted,
            intercept_names: false,
            // Which of its stations and switches want a group is theirs to say, and they say it to a router only.
            multicast_router: matches!(kind, PortKind::Uplink),
            reflects: false,
            guards: PortGuards::NONE,
            vlans: None,
        }
    }
}

/// Counters of one port, updated by whoever handles its frames.
///
/// Every field only grows. Ingress and egress sit on different cache lines because different workers write them.
#[derive(Debug)]
pub struct PortCounters {
    rx: Padded<Traffic>,
    tx: Padded<Traffic>,
    drops: Padded<[AtomicU64; DropReason::COUNT]>,
}

impl PortCounters {
    pub fn new() -> Self {
        Self {
            rx: Padded::default(),
            tx: Padded::default(),
            drops: Padded(std::array::from_fn(|_| AtomicU64::new(0))),
        }
    }

    /// Frames and bytes (Ethernet header included, vnet header not) that came from the port.
    pub fn add_rx(&self, frames: u64, bytes: u64) {
        self.rx.0.add(frames, bytes);
    }

    /// Frames and bytes that went to the port.
    pub fn add_tx(&self, frames: u64, bytes: u64) {
        self.tx.0.add(frames, bytes);
    }

    /// A frame that came from, or should have gone to, the port; the reason says which.
    pub fn add_drop(&self, reason: DropReason) {
        self.drops.0[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> PortCounts {
        PortCounts {
            rx_frames: self.rx.0.frames.load(Ordering::Relaxed),
            rx_bytes: self.rx.0.bytes.load(Ordering::Relaxed),
            tx_frames: self.tx.0.frames.load(Ordering::Relaxed),
            tx_bytes: self.tx.0.bytes.load(Ordering::Relaxed),
            drops: std::array::from_fn(|place| self.drops.0[place].load(Ordering::Relaxed)),
        }
    }
}

impl Default for PortCounters {
    fn default() -> Self {
        Self::new()
    }
}

/// A port's counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortCounts {
    pub rx_frames: u64,
    pub rx_bytes: u64,
    pub tx_frames: u64,
    pub tx_bytes: u64,
    /// By [`DropReason::index`].
    pub drops: [u64; DropReason::COUNT],
}

impl Default for PortCounts {
    fn default() -> Self {
        Self {
            rx_frames: 0,
            rx_bytes: 0,
            tx_frames: 0,
            tx_bytes: 0,
            drops: [0; DropReason::COUNT],
        }
    }
}

impl PortCounts {
    /// Adds what somebody else has counted, which may be anything.
    pub fn add(&mut self, reason: DropReason, count: u64) {
        let dropped = &mut self.drops[reason.index()];
        *dropped = dropped.saturating_add(count);
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason.index()]
    }

    /// The larger of both counts, each by itself.
    pub fn at_least(&self, other: &Self) -> Self {
        self.each(other, u64::max)
    }

    /// What is counted here beyond `other`.
    pub fn beyond(&self, other: &Self) -> Self {
        self.each(other, u64::saturating_sub)
    }

    fn each(&self, other: &Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            rx_frames: join(self.rx_frames, other.rx_frames),
            rx_bytes: join(self.rx_bytes, other.rx_bytes),
            tx_frames: join(self.tx_frames, other.tx_frames),
            tx_bytes: join(self.tx_bytes, other.tx_bytes),
            drops: std::array::from_fn(|place| join(self.drops[place], other.drops[place])),
        }
    }

    /// The reasons that occurred, with their counts.
    pub fn drop_reasons(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|reason| (*reason, self.dropped(*reason)))
            .filter(|(_, count)| *count != 0)
    }
}

impl std::ops::AddAssign<&Self> for PortCounts {
    fn add_assign(&mut self, other: &Self) {
        self.rx_frames += other.rx_frames;
        self.rx_bytes += other.rx_bytes;
        self.tx_frames += other.tx_frames;
        self.tx_bytes += other.tx_bytes;
        for (sum, more) in self.drops.iter_mut().zip(other.drops) {
            *sum += more;
        }
    }
}

#[derive(Debug, Default)]
struct Traffic {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    fn add(&self, frames: u64, bytes: u64) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Two lines, because the prefetcher of x86 pairs them.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vlan::Vid;

    #[test]
    fn what_leads_to_other_switches_carries_all_vlans() {
        let default = Vid::new(7).unwrap();
        let network = VlanConfig {
            default,
            ..VlanConfig::default()
        };
        for kind in [PortKind::Tap, PortKind::Host, PortKind::Edge] {
            assert_eq!(kind.usual_vlans(network), PortVlans::access(default));
        }
        for kind in [PortKind::Tunnel, PortKind::Uplink, PortKind::Patch] {
            let usual = kind.usual_vlans(network);
            assert_eq!(usual.iter().count(), 4094);
            assert_eq!(usual.native(), Some(default));
        }
    }

    #[test]
    fn a_snapshot_shows_what_was_counted() {
        let counters = PortCounters::new();
        counters.add_rx(2, 128);
        counters.add_tx(1, 64);
        counters.add_drop(DropReason::Runt);
        let counts = counters.snapshot();
        assert_eq!((counts.rx_frames, counts.rx_bytes), (2, 128));
        assert_eq!((counts.tx_frames, counts.tx_bytes), (1, 64));
        assert_eq!(
            counts.drop_reasons().collect::<Vec<_>>(),
            [(DropReason::Runt, 1)]
        );
    }

    #[test]
    fn what_is_less_than_before_is_made_up_for() {
        let mut told = PortCounts {
            rx_frames: 5,
            tx_bytes: 7,
            ..PortCounts::default()
        };
        told.add(DropReason::Runt, 2);
        let now = PortCounts {
            rx_frames: 4,
            tx_bytes: 9,
            ..PortCounts::default()
        };
        let most = now.at_least(&told);
        assert_eq!((most.rx_frames, most.tx_bytes), (5, 9));
        assert_eq!(most.dropped(DropReason::Runt), 2);
        let mut sum = now.clone();
        sum += &most.beyond(&now);
        assert_eq!(sum, most);
    }

    #[test]
    fn only_members_of_a_real_group_are_separated() {
        let group = SplitHorizonGroup::TUNNEL;
        assert!(group.separates(group));
        assert!(!group.separates(SplitHorizonGroup::NONE));
        assert!(!SplitHorizonGroup::NONE.separates(SplitHorizonGroup::NONE));
    }
}
