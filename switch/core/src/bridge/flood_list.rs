//! Who gets a flooded frame.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::Guard;

use crate::bridge_port::BridgePort;
use crate::policy::{Action, Facts, Judgement};
use crate::probe;
use crate::topology::Topology;
use crate::vlan::{Shape, Tag};
use crate::{DropReason, FloodKind, Frame, PortId};

/// Where a flooded frame goes; see [`Bridge::flood_list`].
pub struct FloodList {
    pub(super) topology: Guard<Arc<Topology>>,
    pub(super) ingress: PortId,
}

/// Why a port of the list does not get a flooded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// It gets no floods of that kind.
    Off,
    /// To be counted there.
    Dropped(DropReason),
}

impl FloodList {
    /// As [`Bridge::shape`]. Of a frame without VLAN, every port takes it as it is.
    #[inline]
    pub fn shape(&self, egress: PortId, tag: Tag) -> Option<Shape> {
        self.topology.shape(egress, tag)
    }

    /// Whether the port belongs to the frame's VLAN.
    pub fn takes(&self, egress: PortId, tag: Option<Tag>) -> bool {
        tag.is_none_or(|tag| self.shape(egress, tag).is_some())
    }

    /// Whether some port of the list may not get some frame: then [`Self::judge`] says which.
    #[inline]
    pub fn is_selective(&self) -> bool {
        self.topology.is_selective
    }

    /// Whether a port of the list gets the frame, which is the one beneath its tag where the network is aware of VLANs
    /// ([`Tag::beneath`]).
    pub fn judge(&self, egress: PortId, frame: &Frame<'_>) -> Result<(), Withheld> {
        let Some(port) = self.topology.port(egress) else {
            return Ok(());
        };
        let kind = FloodKind::of(frame.dst());
        match port.config.guards.flood.of(kind) {
            true => self.permit(port, frame),
            false => Err(Withheld::Off),
        }
    }

    /// The same of a frame that somebody behind the port asked for: what floods the port gets does not matter.
    pub fn judge_asked(&self, egress: PortId, frame: &Frame<'_>) -> Result<(), Withheld> {
        match self.topology.port(egress) {
            Some(port) => self.permit(port, frame),
            None => Ok(()),
        }
    }

    fn permit(&self, egress: &BridgePort, frame: &Frame<'_>) -> Result<(), Withheld> {
        match self.consult(egress, frame).map(|judged| judged.action) {
            Some(Action::Deny) => Err(Withheld::Dropped(DropReason::Acl)),
            Some(Action::Allow) | None => Ok(()),
        }
    }

    /// What the access list says of the frame on its way to a port. Another bridge's probes pass.
    fn consult(&self, egress: &BridgePort, frame: &Frame<'_>) -> Option<Judgement> {
        let policy = self.topology.policy.as_ref()?;
        let ingress = self.topology.port(self.ingress)?;
        if probe::is_probe(frame) {
            return None;
        }
        let facts = Facts::of(frame, None);
        Some(policy.judge(ingress, egress, frame, &facts))
    }

    /// The same, for whoever wants to know why.
    pub(super) fn judgement(&self, egress: PortId, frame: &Frame<'_>) -> Option<Judgement> {
        self.consult(self.topology.port(egress)?, frame)
    }
}

impl Deref for FloodList {
    type Target = [PortId];

    fn deref(&self) -> &[PortId] {
        match self.topology.port(self.ingress) {
            Some(port) => self.topology.flood.list(port.config.group),
            None => &[],
        }
    }
}
