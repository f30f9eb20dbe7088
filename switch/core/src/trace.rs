//! What a bridge looked at on its way to a verdict.
//!
//! # Theory of operation
//!
//! There is one decision, [`crate::Bridge::forward`]. It tells a [`Tracer`] what it finds at each step. The data plane's is
//! [`Silent`]: it is no bytes, its note is empty, and a step is only made by whoever listens, so that nothing of this is left
//! in the data plane. A rehearsal ([`crate::Rehearsal`]) has a [`Recorder`].
//!
//! Steps are facts: addresses and numbers of ports. Who is behind a port, and how that reads, is known to whoever shows them.
//! A step that ends the frame names the reason, and is the last.

mod filter;
mod sample;
mod summary;

use std::cell::RefCell;
use std::net::IpAddr;

pub use self::filter::{Filter, ParseFilter};
pub use self::sample::{Payload, Sample};
pub use self::summary::Summary;
use crate::fdb::Learned;
use crate::guard::Claim;
use crate::policy::{Action, Judgement};
use crate::vlan::{Tag, Vid};
use crate::{
    Access, Block, BumLimit, DropReason, FdbKind, FloodKind, Mac, Neighbor, PortId, PortKind, Told,
    Verdict,
};

/// What became of a frame that was only made up, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub steps: Vec<Step>,
    /// As [`crate::Bridge::forward`] gives it.
    pub verdict: Verdict,
    /// The ports that a copy leaves by, where the verdict sends it anywhere.
    pub egresses: Vec<PortId>,
}

impl Trace {
    /// Why it goes nowhere, if it does. A flood that no port takes is dropped by whoever carries it out.
    pub fn dropped(&self) -> Option<DropReason> {
        self.steps.last().and_then(Step::drop_reason)
    }
}

/// What one part of the decision found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The bytes are no frame, or none that a station may send.
    Malformed(DropReason),
    /// The port is not attached.
    UnknownIngress,
    /// A probe that this bridge sent.
    Probe,
    /// Nothing passes the port: the ingress, or the one that the frame is for.
    Blocked { port: PortId, why: Block },
    /// Longer than the port's link carries.
    TooLong { port: PortId, mtu: u32 },
    /// A BPDU, from a port that is guarded against them.
    Bpdu,
    /// The VLAN that the frame belongs to, or why to none.
    Vlan {
        port: PortId,
        admitted: Result<Tag, DropReason>,
    },
    /// For a port that does not belong to the frame's VLAN.
    OutsideVlan { port: PortId, vid: Vid },
    /// For a link-constrained group.
    LinkControl { group: Mac, transparent: bool },
    /// From a port that is trusted.
    Unguarded(PortKind),
    /// Judged by the guard.
    Guard {
        refused: Option<DropReason>,
        claims: Vec<Claim>,
    },
    /// The source, and what the table made of it.
    Source { mac: Mac, found: Source },
    /// Who owns an address speaks from another MAC than it is known by: all shall hear it.
    News { mac: Mac },
    /// Who has an address? `known` says who; `answers` whether the bridge says so itself.
    WhoHas {
        address: IpAddr,
        known: Option<Neighbor>,
        answers: bool,
    },
    /// A DHCP client's message in a network whose edge serves it, or where `served` is false somebody else does.
    Dhcp { served: bool },
    /// For the gateway: to its edge, or to the host port; neither is there where `egress` is absent.
    Gateway {
        egress: Option<PortId>,
        to_edge: bool,
    },
    /// The destination in the table; behind a port that has gone it is as good as unknown.
    Destination {
        mac: Mac,
        entry: Option<(PortId, FdbKind)>,
        attached: bool,
    },
    /// For a group, or for everybody.
    Group(Mac),
    /// The destination is where the frame came from.
    Hairpin(PortId),
    /// Ingress and egress are kept apart.
    Separated(PortId),
    /// For a port that is separated from the ingress: a switch outside decides, which is reached by `reflector`.
    Reflected { egress: PortId, reflector: PortId },
    /// What the network's access list says of it on its way to this port.
    Acl { egress: PortId, judged: Judgement },
    /// The egress went away.
    EgressGone(PortId),
    /// So many ports have somebody who asked for the group.
    Listeners { group: Mac, ports: u32 },
    /// The port's budget, and whether what so many copies of so many frames cost was left in it.
    Storm {
        limit: BumLimit,
        frames: u32,
        copies: u32,
        passed: bool,
    },
    /// The port's budget of this kind of flood, and whether so many frames were left in it.
    StormKind {
        kind: FloodKind,
        limit: BumLimit,
        frames: u32,
        passed: bool,
    },
    /// Ports that get no floods of this kind.
    FloodOff { kind: FloodKind, ports: Vec<PortId> },
    /// A report of listeners.
    Report { group: Mac, joins: bool },
    /// A message about groups, where the bridge snoops.
    Told(Told),
    /// For a group, where the bridge snoops: the ports that get it, and those that asked for it from others, each with why.
    Snooped {
        group: IpAddr,
        source: IpAddr,
        ports: Vec<(PortId, Access)>,
    },
    /// Nobody else asked for the group.
    NoListener,
    /// To these; those in `too_small` carry no frame of this length.
    Flood {
        to: Vec<PortId>,
        too_small: Vec<PortId>,
    },
}

/// What the table made of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The gateway's, which has its place.
    Gateway,
    /// Looked up and noted; refused where it belongs to another port for good.
    Noted { learned: Learned, kind: FdbKind },
    /// Belongs to this other port for good.
    Stolen { owner: Option<PortId> },
    /// Nothing is learned at this port.
    NotLearned,
    /// The port is locked, and this is not configured there.
    Locked,
}

impl Step {
    /// The reason, where it ends the frame.
    pub fn drop_reason(&self) -> Option<DropReason> {
        match self {
            Self::Malformed(reason) => Some(*reason),
            Self::UnknownIngress => Some(DropReason::UnknownIngress),
            Self::Blocked { .. } => Some(DropReason::PortBlocked),
            Self::TooLong { .. } => Some(DropReason::Oversize),
            Self::Bpdu => Some(DropReason::BpduGuard),
            Self::LinkControl { transparent, .. } => {
                (!transparent).then_some(DropReason::LinkLocalControl)
            }
            Self::Vlan { admitted, .. } => admitted.err(),
            Self::OutsideVlan { .. } => Some(DropReason::VlanEgress),
            Self::Guard { refused, .. } => *refused,
            Self::Source { found, .. } => match found {
                Source::Stolen { .. } => Some(DropReason::StickyMac),
                Source::Locked => Some(DropReason::LockedPort),
                Source::Gateway | Source::Noted { .. } | Source::NotLearned => None,
            },
            Self::Gateway { egress, .. } => egress.is_none().then_some(DropReason::NoGateway),
            Self::Hairpin(_) => Some(DropReason::Hairpin),
            Self::Separated(_) => Some(DropReason::SplitHorizon),
            Self::EgressGone(_) => Some(DropReason::EgressGone),
            Self::NoListener => Some(DropReason::NoListener),
            Self::Acl { judged, .. } => (judged.action == Action::Deny).then_some(DropReason::Acl),
            Self::Storm { passed, .. } => (!passed).then_some(DropReason::BumRate),
            Self::StormKind { kind, passed, .. } => (!passed).then_some(kind.over_rate()),
            Self::Flood { to, too_small } => match (to.is_empty(), too_small.is_empty()) {
                (false, _) => None,
                (true, true) => Some(DropReason::NoEgress),
                (true, false) => Some(DropReason::Oversize),
            },
            Self::Probe
            | Self::Unguarded(_)
            | Self::News { .. }
            | Self::WhoHas { .. }
            | Self::Dhcp { .. }
            | Self::Destination { .. }
            | Self::Group(_)
            | Self::Reflected { .. }
            | Self::Listeners { .. }
            | Self::FloodOff { .. }
            | Self::Report { .. }
            | Self::Told(_)
            | Self::Snooped { .. } => None,
        }
    }
}

/// Whoever hears of the steps.
pub(crate) trait Tracer {
    /// Whether anybody listens: what is asked only for the sake of a step need not be asked.
    const LISTENS: bool;

    fn note(&self, step: impl FnOnce() -> Step);
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silent;

impl Tracer for Silent {
    const LISTENS: bool = false;

    #[inline(always)]
    fn note(&self, _step: impl FnOnce() -> Step) {}
}

/// Keeps the steps.
#[derive(Debug, Default)]
pub(crate) struct Recorder(RefCell<Vec<Step>>);

impl Recorder {
    pub(crate) fn into_steps(self) -> Vec<Step> {
        self.0.into_inner()
    }
}

impl Tracer for Recorder {
    const LISTENS: bool = true;

    fn note(&self, step: impl FnOnce() -> Step) {
        let step = step();
        self.0.borrow_mut().push(step);
    }
}
