//! Who gets frames that go to several ports.

use switch_core::vlan::Tag;
use switch_core::{FloodList, Frame, GroupList, ListId, PortId, Withheld};

use crate::port::Port;

/// The ports that frames of one class go to.
pub(super) trait Audience {
    /// Each once, the ingress never.
    fn egresses(&self) -> impl Iterator<Item = PortId>;

    /// Whether the egress gets a frame, which is the one beneath its tag where it has one.
    fn judge(&self, egress: PortId, frame: &Frame<'_>) -> Result<(), Withheld>;

    /// Knows the ports.
    fn list(&self) -> &FloodList;
}

/// Of a flood.
pub(super) struct Everybody {
    ingress: PortId,
    list: FloodList,
}

/// Those who asked for a group.
pub(super) struct Asked {
    group: GroupList,
    list: FloodList,
}

impl Everybody {
    pub(super) fn at(ingress: &Port) -> Self {
        Self {
            ingress: ingress.id,
            list: ingress.bridge.flood_list(ingress.id),
        }
    }
}

impl Asked {
    /// For a frame from there, which is the one beneath its tag where it has one.
    pub(super) fn at(ingress: &Port, list: (ListId, Option<Tag>), frame: &Frame<'_>) -> Self {
        Self {
            group: ingress.bridge.group_list(ingress.id, list, frame),
            list: ingress.bridge.flood_list(ingress.id),
        }
    }
}

impl Audience for Everybody {
    fn egresses(&self) -> impl Iterator<Item = PortId> {
        let all = self.list.iter().copied();
        all.filter(|egress| *egress != self.ingress)
    }

    fn judge(&self, egress: PortId, frame: &Frame<'_>) -> Result<(), Withheld> {
        self.list.judge(egress, frame)
    }

    fn list(&self) -> &FloodList {
        &self.list
    }
}

impl Audience for Asked {
    fn egresses(&self) -> impl Iterator<Item = PortId> {
        self.group.egresses()
    }

    fn judge(&self, egress: PortId, frame: &Frame<'_>) -> Result<(), Withheld> {
        self.list.judge_asked(egress, frame)
    }

    fn list(&self) -> &FloodList {
        &self.list
    }
}
