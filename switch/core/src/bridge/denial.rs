//! What the access list said of a frame that it dropped, for whoever watches.

use super::Bridge;
use super::passage::Passage;
use crate::policy::{Action, Facts, Judgement, Policy};
use crate::trace::{Silent, Tracer};
use crate::{Frame, PortId, Time};

impl Bridge {
    /// Where a frame that the access list dropped just now would have left, and what that says of it. `None` where that, or the
    /// table, has changed since.
    pub fn denial(&self, ingress: PortId, frame: &Frame<'_>) -> Option<(PortId, Judgement)> {
        let topology = self.ports.load();
        let passage = Passage {
            bridge: self,
            topology: &topology,
            port: topology.port(ingress)?,
            now: Time::default(),
            frame,
            vlan: None,
            tracer: &Silent,
        };
        passage.denial(topology.policy.as_ref()?)
    }
}

impl<T: Tracer> Passage<'_, T> {
    /// Where the frame, which nothing but an access list stops, would leave, and what that says of it. Counts and changes nothing.
    fn denial(&self, policy: &Policy) -> Option<(PortId, Judgement)> {
        match self.admit() {
            Some(admitted) => {
                let (tag, inner) = admitted.ok()?;
                self.beneath(tag, &inner).denial_here(policy)
            }
            None => self.denial_here(policy),
        }
    }

    fn denial_here(&self, policy: &Policy) -> Option<(PortId, Judgement)> {
        let packet = self.packet();
        let packet = packet.as_ref();
        let egress = match self.gateway() {
            Some(gateway) => self.behind_gateway(gateway, packet).0,
            None => self.bridge.fdb.lookup(self.station(self.frame.dst())),
        };
        let egress = self.reach(egress?).ok()?;
        let facts = Facts::of(self.frame, packet);
        let judged = policy.review(self.port, egress, self.frame, &facts);
        (judged.action == Action::Deny).then_some((egress.id, judged))
    }
}
