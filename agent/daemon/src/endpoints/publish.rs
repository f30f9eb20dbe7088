//! Published ports of endpoints: a container's lead to it, those of other sandboxes are the endpoint's own.

use agent_api::{PortMapping, PortRun};
use agent_core::endpoint::Attach;
use agent_core::publish::targets;
use agent_core::record::{EndpointRecord, Owner};

use super::plug::host_failure;
use super::{Endpoints, Place};
use crate::journal::Kept;
use crate::publishing::Keeper;

impl Endpoints {
    /// The addresses by which a container is reached from the host.
    pub(crate) fn targets(&self, owner: &Owner) -> Vec<std::net::IpAddr> {
        let endpoints = self.of(owner);
        let pairs: Vec<(_, &EndpointRecord)> = endpoints
            .iter()
            .map(|(place, attached)| (&*place.record, &*attached.record))
            .collect();
        targets(&pairs)
    }

    /// Makes published ports lead to where their sandbox is by now. In its owner's turn, before its former addresses can be
    /// somebody else's.
    pub(super) fn lead_ports(&self, owner: &Owner) {
        let publishers = self.publishing.publishers(|| match owner {
            Owner::Container(id) => vec![id.clone()],
            Owner::Sandbox(_) | Owner::Engine(_) => {
                let endpoints = self.networks.roll().of(owner).into_iter();
                endpoints.map(|(endpoint, _)| endpoint).collect()
            }
        });
        if publishers.is_empty() {
            return;
        }
        let targets = self.targets(owner);
        for id in publishers {
            self.publishing.follow(&id, targets.clone());
        }
    }

    /// Publishes what an endpoint that was just attached asks for. In its owner's turn.
    pub(super) fn publish(&self, place: &Place, record: &EndpointRecord) -> Result<(), Attach> {
        if record.own_publish().is_empty() {
            return Ok(());
        }
        let taken = self.take_ports(record)?;
        let journal = &self.ground.journal;
        let kept = place
            .seats
            .change(&record.id, journal, |record| record.publish = taken);
        let kept = kept.map_or(Ok(()), Kept::wait);
        kept.map_err(|error| host_failure(&place.record, record, &error))
    }

    /// Takes the host ports that an endpoint asks for, but those that another one of its sandbox has already: engines ask for
    /// a container's ports on each of its networks. Returns all of them, with the ports that were picked. In its owner's turn.
    pub(super) fn take_ports(&self, record: &EndpointRecord) -> Result<Vec<PortMapping>, Attach> {
        let (theirs, own) = self.split_ports(record);
        let targets = self.targets(&record.owner);
        let who = (&*record.id, &*record.name);
        let taken = self.publishing.publish(who, keeper(record), own, targets)?;
        Ok([taken, theirs].concat())
    }

    /// The ports that an endpoint asks for: those that another one of its sandbox has, and the others.
    fn split_ports(&self, record: &EndpointRecord) -> (Vec<PortMapping>, Vec<PortMapping>) {
        let mut taken = Vec::new();
        for (_, attached) in self.of(&record.owner) {
            if attached.record.id != record.id {
                taken.extend(self.publishing.published_by(&attached.record.id));
            }
        }
        let asked = record.own_publish().iter().cloned();
        asked.partition(|mapping| taken.iter().any(|run| run.has(mapping)))
    }

    /// Others of the sandbox that were asked for the same ports have them from now on. In its owner's turn, once they are free.
    pub(super) fn hand_on_ports(&self, owner: &Owner, freed: &[PortRun]) {
        if freed.is_empty() {
            return;
        }
        for (_, attached) in self.of(owner) {
            let record = &attached.record;
            let is_freed = |mapping| freed.iter().any(|run| run.has(mapping));
            if record.own_publish().iter().any(is_freed) {
                self.publishing.unpublish(&record.id);
                self.resume(record);
            }
        }
    }

    /// The endpoints of a sandbox have their ports again, as far as they are to be had; at the start of the agent.
    pub(crate) fn resume_ports(&self, owner: &Owner) {
        for (_, attached) in self.of(owner) {
            self.resume(&attached.record);
        }
    }

    pub(super) fn resume(&self, record: &EndpointRecord) {
        let (_, own) = self.split_ports(record);
        let targets = self.targets(&record.owner);
        let who = (&*record.id, &*record.name);
        self.publishing.resume(who, keeper(record), &own, targets);
    }
}

const fn keeper(record: &EndpointRecord) -> Keeper {
    match record.ports_reserved {
        true => Keeper::Caller,
        false => Keeper::Agent,
    }
}
