//! Attaching: reserved, put on record, plugged, seated; or nothing at all.

use agent_api::{ApiError, EndpointCreate, EndpointDetail};
use agent_cluster::Member;
use agent_core::endpoint::{Attach, Attachment, Fresh, Place as Rank};
use agent_core::find::Find;
use agent_core::ipam::Tenant;
use agent_core::record::{EndpointRecord, Owner, endpoint_key};
use agent_host::Netns;

use super::Endpoints;
use crate::journal::Kept;
use crate::networks::Place;
use crate::random::{new_id, random_mac};
use crate::sharing::claims::{CLAIMS_MAX, Claim, RESERVE, RESERVE_HOST_BITS_MIN, Reserved};
use crate::sharing::claims::{claim, reserve, reserve_of};

impl Endpoints {
    /// Attaches a sandbox, which somebody else made unless its owner is a container.
    pub(crate) fn create(
        &self,
        request: &EndpointCreate,
        netns: &Netns,
        owner: Owner,
    ) -> Result<EndpointDetail, ApiError> {
        let place = self.networks.find(&request.network)?;
        let attachment = Attachment {
            path: request
                .sandbox
                .as_deref()
                .filter(|_| matches!(owner, Owner::Sandbox(_))),
            owner,
            name: &request.name,
            hostname: None,
            dns: &request.dns,
            publish: &request.publish,
            ports_reserved: request.ports_reserved,
            link: request.link.as_deref(),
            settings: &request.settings,
        };
        let id = self.attach(&place, &attachment, netns)?;
        let attached = place.seats.get(&id);
        let attached = attached.ok_or_else(|| Find::NoNetwork(request.network.clone()))?;
        tracing::info!(
            endpoint = request.name,
            id,
            network = place.record.name,
            "endpoint made"
        );
        Ok(attached.detail(&place.record))
    }

    /// Validates, keeps a record, attaches; after a failure neither record nor link nor address is left. Returns the id.
    pub(crate) fn attach(
        &self,
        place: &Place,
        attachment: &Attachment<'_>,
        netns: &Netns,
    ) -> Result<String, Attach> {
        let _turn = self.turns.take(attachment.owner.clone());
        if let Owner::Engine(id) = &attachment.owner
            && self.has(id)
        {
            return Err(Attach::IdTaken(id.clone()));
        }
        let record = self.reserve(place, attachment)?;
        let made = self.make(place, &record, netns).and_then(|()| {
            self.lead_ports(&record.owner);
            self.publish(place, &record)
        });
        if let Err(error) = made {
            self.clear(place, &record.id);
            return Err(error);
        }
        Ok(record.id)
    }

    fn make(&self, place: &Place, record: &EndpointRecord, netns: &Netns) -> Result<(), Attach> {
        let failed = |error: agent_store::StoreError| Attach::Host {
            name: record.name.clone(),
            network: place.record.name.clone(),
            why: error.to_string(),
        };
        let journal = &self.ground.journal;
        let kept = journal.put(&endpoint_key(&record.id), record);
        kept.wait().map_err(failed)?;
        let link = self.plug(place, record, netns, netns.id())?;
        self.listen_to(place, record)?;
        let kept = place.seats.seat(&record.id, journal);
        kept.map(Kept::wait).transpose().map_err(failed)?;
        if place.record.shared().is_some() {
            self.sharing.share(record);
        }
        // A link that is handed over is down until it was taken.
        if !matches!(record.owner, Owner::Engine(_)) {
            self.announce(place, record, &link, netns);
        }
        self.share_zones(&record.owner);
        if let Some(made) = place.seats.get(&record.id) {
            self.attend(place, &made);
        }
        Ok(())
    }

    /// A seat, with addresses that are this host's own.
    fn reserve(
        &self,
        place: &Place,
        attachment: &Attachment<'_>,
    ) -> Result<EndpointRecord, Attach> {
        if place.record.is_cut_off() {
            return Err(Attach::CutOff(place.record.name.clone()));
        }
        if place.segment.is_none() {
            return Err(Attach::NoPorts(place.record.name.clone()));
        }
        let rank = self.rank(&attachment.owner);
        let plan = || {
            let seats = &place.seats;
            seats.reserve(&place.record, attachment, rank.clone(), fresh(attachment))
        };
        if place.record.shared().is_none() {
            return plan();
        }
        let member = self.sharing.member();
        let member = member.ok_or_else(|| Attach::NoCluster(place.record.name.clone()))?;
        let Some(session) = member.session() else {
            return self.reserve_kept(place, &member, attachment, rank);
        };
        for _ in 0..CLAIMS_MAX {
            let record = plan()?;
            match claim(&member, session, &record) {
                Ok(()) => return Ok(record),
                Err(Claim::Taken(address)) => {
                    place.seats.unreserve(&record);
                    place.seats.mark(address, Tenant::Elsewhere);
                }
                Err(Claim::Store(error)) => {
                    tracing::debug!(%error, "an address is taken from the reserve");
                    place.seats.unreserve(&record);
                    // It may have been done all the same: what is nobody's is taken back then.
                    member.say_again();
                    return self.reserve_kept(place, &member, attachment, rank);
                }
            }
        }
        Err(Attach::AddressRace(place.record.name.clone()))
    }

    /// Without etcd: addresses that are this host's already.
    fn reserve_kept(
        &self,
        place: &Place,
        member: &Member,
        attachment: &Attachment<'_>,
        rank: Rank,
    ) -> Result<EndpointRecord, Attach> {
        let kept = reserve_of(member, &place.record.id);
        let seats = &place.seats;
        seats.reserve_kept(&place.record, &kept, attachment, rank, fresh(attachment))
    }

    /// Where one more endpoint goes in a sandbox. In its owner's turn.
    fn rank(&self, owner: &Owner) -> Rank {
        let present = self.of(owner);
        let present: Vec<_> = present
            .iter()
            .map(|(_, attached)| &attached.record)
            .collect();
        Rank::of(&present, owner)
    }

    /// Tops up the addresses of a shared network that are kept for times without etcd.
    pub(crate) fn fill_reserve(&self, member: &Member, place: &Place) {
        let record = &place.record;
        let kept = reserve_of(member, &record.id);
        for is_ipv4 in [true, false] {
            let of_family = kept.iter().filter(|address| address.is_ipv4() == is_ipv4);
            let missing = RESERVE.saturating_sub(of_family.count());
            if missing > 0
                && let Err(error) = self.reserve_some(member, place, is_ipv4, missing)
            {
                tracing::debug!(network = record.name, %error, "the reserve is not full");
            }
        }
    }

    fn reserve_some(
        &self,
        member: &Member,
        place: &Place,
        is_ipv4: bool,
        count: usize,
    ) -> Result<(), agent_store::StoreError> {
        let seats = &place.seats;
        // Hosts that come at the same time find each other's addresses one by one.
        for _ in 0..CLAIMS_MAX {
            let wanted = seats.highest_free(is_ipv4, count, RESERVE_HOST_BITS_MIN);
            if wanted.is_empty() {
                return Ok(());
            }
            match reserve(member, &place.record.id, wanted)? {
                Reserved::Own(addresses) => {
                    for address in addresses {
                        seats.mark(address, Tenant::Reserve);
                    }
                    return Ok(());
                }
                Reserved::Elsewhere(address) => seats.mark(address, Tenant::Elsewhere),
            }
        }
        Ok(())
    }
}

fn fresh(attachment: &Attachment<'_>) -> Fresh {
    let id = match &attachment.owner {
        Owner::Engine(id) => id.clone(),
        Owner::Container(_) | Owner::Sandbox(_) => new_id(),
    };
    Fresh {
        id,
        mac: random_mac(),
    }
}
