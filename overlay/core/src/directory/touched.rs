//! What a change of the claims may have changed for the bridges of this host.

use std::collections::BTreeSet;

use switch_core::Mac;

use crate::{HostId, NetworkId};

/// What was touched since it was last looked at, in networks that are attached.
#[derive(Debug, Default)]
pub(super) struct Touched {
    attached: BTreeSet<NetworkId>,
    macs: BTreeSet<(NetworkId, Mac)>,
    hosts: BTreeSet<(NetworkId, HostId)>,
}

impl Touched {
    /// Takes note of a network from now on; `false`: it does already.
    pub(super) fn attach(&mut self, network: NetworkId) -> bool {
        self.attached.insert(network)
    }

    pub(super) fn detach(&mut self, network: NetworkId) {
        self.attached.remove(&network);
        self.macs.retain(|(other, _)| *other != network);
        self.hosts.retain(|(other, _)| *other != network);
    }

    pub(super) fn mac(&mut self, network: NetworkId, mac: Mac) {
        if self.attached.contains(&network) {
            self.macs.insert((network, mac));
        }
    }

    pub(super) fn host(&mut self, network: NetworkId, host: &HostId) {
        if self.attached.contains(&network) {
            self.hosts.insert((network, host.clone()));
        }
    }

    pub(super) fn next_mac(&mut self) -> Option<(NetworkId, Mac)> {
        self.macs.pop_first()
    }

    pub(super) fn next_host(&mut self) -> Option<(NetworkId, HostId)> {
        self.hosts.pop_first()
    }
}
