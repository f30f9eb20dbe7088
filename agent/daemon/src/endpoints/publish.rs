//! Published ports of endpoints: a container's lead to it, those of other sandboxes are the endpoint's own.

use agent_api::PortMapping;
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
            .map(|(place, attached)| (&*place.record, &attached.record))
            .collect();
        targets(&pairs)
    }

    /// Makes published ports lead to where their sandbox is by now. In its owner's turn, before its former addresses can be
    /// somebody else's.
    pub(super) fn lead_ports(&self, owner: &Owner) {
        if let Owner::Container(id) = owner {
            return self.publishing.follow(id, self.targets(owner));
        }
        for (_, attached) in self.of(owner) {
            let id = &attached.record.id;
            self.publishing.follow(id, self.targets(owner));
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

    /// Takes the host ports that an endpoint asks for, but those that another one of its sandbox has already. Returns them
    /// with the ports that were picked. In its owner's turn.
    pub(super) fn take_ports(&self, record: &EndpointRecord) -> Result<Vec<PortMapping>, Attach> {
        let all = self.of(&record.owner);
        let siblings = all.iter().map(|(_, attached)| &attached.record);
        let siblings = siblings.filter(|other| other.id != record.id);
        let theirs: Vec<_> = siblings.flat_map(EndpointRecord::own_publish).collect();
        let mut own = record.own_publish().to_vec();
        own.retain(|mapping| !theirs.contains(&mapping));
        let targets = self.targets(&record.owner);
        let who = (&*record.id, &*record.name);
        Ok(self.publishing.publish(who, keeper(record), own, targets)?)
    }

    /// The endpoints of a sandbox have their ports again, as far as they are to be had; at the start of the agent.
    pub(crate) fn resume_ports(&self, owner: &Owner) {
        for (_, attached) in self.of(owner) {
            self.resume(&attached.record);
        }
    }

    pub(super) fn resume(&self, record: &EndpointRecord) {
        let targets = self.targets(&record.owner);
        let who = (&*record.id, &*record.name);
        self.publishing
            .resume(who, keeper(record), record.own_publish(), targets);
    }
}

const fn keeper(record: &EndpointRecord) -> Keeper {
    match record.ports_reserved {
        true => Keeper::Caller,
        false => Keeper::Agent,
    }
}
