//! The snoopers of a bridge: one, or one for each VLAN.

use super::in_vlans::InVlans;
use super::{Asker, Common, MulticastCounts, MulticastView, Snooper, SnoopingConfig};
use crate::vlan::{PortVlans, Vid};
use crate::{PortConfig, PortId, Time};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) enum Snoopers {
    Network(Box<Snooper>),
    Vlans(Box<InVlans>),
}

/// A question, to be sent by a port.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) vlan: Option<Vid>,
    pub(crate) port: PortId,
    /// Without tag.
    pub(crate) frame: Vec<u8>,
}

impl Snoopers {
    pub(crate) fn new(config: SnoopingConfig, is_aware: bool) -> Self {
        match is_aware {
            false => Self::Network(Box::new(Snooper::new(config, Common::default()))),
            true => Self::Vlans(Box::new(InVlans::new(config))),
        }
    }

    /// The same, for themselves.
    pub(crate) fn copy(&self) -> Self {
        match self {
            Self::Network(snooper) => Self::Network(Box::new(snooper.copy(snooper.common.copy()))),
            Self::Vlans(vlans) => Self::Vlans(Box::new(vlans.copy())),
        }
    }

    /// Of one that is there, what it was told before no longer holds.
    pub(crate) fn add_port(&self, id: PortId, config: &PortConfig, vlans: Option<&PortVlans>) {
        match (self, vlans) {
            (Self::Network(snooper), _) => snooper.add_port(id, config),
            (Self::Vlans(all), Some(vlans)) => all.add_port(id, config, vlans),
            (Self::Vlans(_), None) => {}
        }
    }

    pub(crate) fn remove_port(&self, id: PortId) {
        match self {
            Self::Network(snooper) => snooper.remove_port(id),
            Self::Vlans(vlans) => vlans.remove_port(id),
        }
    }

    /// When [`Self::take_queries`] is due.
    pub(crate) fn due(&self) -> Option<Time> {
        match self {
            Self::Network(snooper) => snooper.due(),
            Self::Vlans(vlans) => vlans.due(),
        }
    }

    /// Whether something is due earlier than [`Self::due`] said.
    #[inline]
    pub(crate) fn take_call(&self) -> bool {
        match self {
            Self::Network(snooper) => snooper.common.take_call(),
            Self::Vlans(vlans) => vlans.common().take_call(),
        }
    }

    /// Forgets what is over, and gives what is to be sent now. In each VLAN, as whom `asker` says.
    pub(crate) fn take_queries(
        &self,
        now: Time,
        asker: impl Fn(Option<Vid>) -> Asker,
    ) -> Vec<Query> {
        let of = |vlan: Option<Vid>, snooper: &Snooper| {
            let queries = snooper.take_queries(now, asker(vlan)).into_iter();
            queries.map(move |(port, frame)| Query { vlan, port, frame })
        };
        match self {
            Self::Network(snooper) => of(None, snooper).collect(),
            Self::Vlans(vlans) => {
                let awake = vlans.awake();
                let due = awake.iter().filter(|(_, snooper)| snooper.is_due(now));
                due.flat_map(|(vid, snooper)| of(Some(vid), snooper))
                    .collect()
            }
        }
    }

    pub(crate) fn views(
        &self,
        now: Time,
        asker: impl Fn(Option<Vid>) -> Asker,
    ) -> Vec<MulticastView> {
        let of = |vlan: Option<Vid>, snooper: &Snooper| MulticastView {
            vlan,
            ..snooper.view(now, asker(vlan))
        };
        match self {
            Self::Network(snooper) => vec![of(None, snooper)],
            Self::Vlans(vlans) => {
                let awake = vlans.awake();
                awake
                    .iter()
                    .map(|(vid, snooper)| of(Some(vid), snooper))
                    .collect()
            }
        }
    }

    /// Of all VLANs together, those that are no more included.
    pub(crate) fn counts(&self) -> MulticastCounts {
        match self {
            Self::Network(snooper) => snooper.counts(),
            Self::Vlans(vlans) => vlans.counts(),
        }
    }
}
