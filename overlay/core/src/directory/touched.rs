//! What a change of the claims may have changed for the bridges of this host.

use std::collections::BTreeSet;

use switch_core::{Mac, Vni};

use crate::HostId;

/// What was touched since it was last looked at, in networks that are attached.
#[derive(Debug, Default)]
pub(super) struct Touched {
    attached: BTreeSet<Vni>,
    macs: BTreeSet<(Vni, Mac)>,
    hosts: BTreeSet<(Vni, HostId)>,
}

impl Touched {
    /// Takes note of a network from now on; `false`: it does already.
    pub(super) fn attach(&mut self, vni: Vni) -> bool {
        self.attached.insert(vni)
    }

    pub(super) fn detach(&mut self, vni: Vni) {
        self.attached.remove(&vni);
        self.macs.retain(|(other, _)| *other != vni);
        self.hosts.retain(|(other, _)| *other != vni);
    }

    pub(super) fn mac(&mut self, vni: Vni, mac: Mac) {
        if self.attached.contains(&vni) {
            self.macs.insert((vni, mac));
        }
    }

    pub(super) fn host(&mut self, vni: Vni, host: &HostId) {
        if self.attached.contains(&vni) {
            self.hosts.insert((vni, host.clone()));
        }
    }

    pub(super) fn next_mac(&mut self) -> Option<(Vni, Mac)> {
        self.macs.pop_first()
    }

    pub(super) fn next_host(&mut self) -> Option<(Vni, HostId)> {
        self.hosts.pop_first()
    }
}
