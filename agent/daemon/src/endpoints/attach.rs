//! Attaching: reserved, put on record, plugged, seated; or nothing at all.

use std::sync::atomic::Ordering;
use std::time::Instant;

use agent_api::{ApiError, EndpointCreate, EndpointDetail, EndpointSettings};
use agent_cluster::Member;
use agent_core::endpoint::{Attach, Attachment, Fresh, Place as Rank, check_lease, lease_mac};
use agent_core::find::Find;
use agent_core::ipam::AllocateAddress;
use agent_core::record::{EndpointRecord, Owner, endpoint_key};
use agent_core::shared::holdings::Wish;
use agent_host::Netns;
use switch_core::Mac;

use super::Endpoints;
use super::leases::{Leased, obtain};
use crate::journal::Kept;
use crate::networks::Place;
use crate::random::{new_id, random_mac};
use crate::sharing::asks::Obtained;

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
            link: request
                .link
                .as_deref()
                .or(request.settings.ifname.as_deref()),
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
        self.attach_in_turn(place, attachment, netns)
    }

    pub(super) fn attach_in_turn(
        &self,
        place: &Place,
        attachment: &Attachment<'_>,
        netns: &Netns,
    ) -> Result<String, Attach> {
        let began = Instant::now();
        let attached = self.try_attach(place, attachment, netns);
        match attached {
            Ok(_) => self.attaching.note(began.elapsed()),
            Err(_) => {
                self.attach_failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        attached
    }

    fn try_attach(
        &self,
        place: &Place,
        attachment: &Attachment<'_>,
        netns: &Netns,
    ) -> Result<String, Attach> {
        if let Owner::Engine(id) = &attachment.owner
            && self.has(id)
        {
            return Err(Attach::IdTaken(id.clone()));
        }
        let leased = self.lease(place, attachment)?;
        let settings = EndpointSettings {
            ip: leased
                .as_ref()
                .map(|leased| leased.address)
                .or(attachment.settings.ip),
            mac: self.mac_for(place, attachment),
            ..attachment.settings.clone()
        };
        let attachment = &Attachment {
            settings: &settings,
            ..attachment.clone()
        };
        let record = match (self.reserve(place, attachment), leased) {
            (Ok(record), Some(leased)) => {
                let runtime = &self.ground.runtime;
                self.leases
                    .keep(runtime, &self.networks, &record, Some(leased));
                record
            }
            (Err(error), Some(leased)) => {
                leased.give_back();
                return Err(error);
            }
            (reserved, None) => reserved?,
        };
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

    /// The MAC that it is to have, where that is known before its addresses.
    fn mac_for(&self, place: &Place, attachment: &Attachment<'_>) -> Option<String> {
        let settings = attachment.settings;
        let network = &place.record;
        let only = self.networks.only_mac(place);
        let asked = only.or_else(|| settings.mac.clone());
        asked.or_else(|| {
            let own = || lease_mac(&network.id, attachment.name).to_string();
            settings.lease.then(own)
        })
    }

    fn lease(&self, place: &Place, attachment: &Attachment<'_>) -> Result<Option<Leased>, Attach> {
        if !attachment.settings.lease {
            return Ok(None);
        }
        check_lease(&place.record, attachment.settings)?;
        let mac = self.mac_for(place, attachment).unwrap_or_default();
        let mac = mac.parse().map_err(Attach::Mac)?;
        obtain(&self.networks, place, attachment.name, mac).map(Some)
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
        if place.record.shared().is_some() {
            // It may speak as soon as it has its link.
            self.networks.follow_needs();
        }
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
        self.join_company(place, record);
        self.tell_attached(place, record, "connect");
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
        for _ in 0..SHORTAGES_MAX {
            let error = match plan() {
                Err(error) => error,
                Ok(record) => return self.check_mac(place, &member, record),
            };
            let wish = wish_of(&error).ok_or(error)?;
            self.obtain(place, &member, wish)?;
        }
        Err(Attach::AddressRace(place.record.name.clone()))
    }

    /// Gives the seat back where another host has the MAC.
    fn check_mac(
        &self,
        place: &Place,
        member: &Member,
        record: EndpointRecord,
    ) -> Result<EndpointRecord, Attach> {
        let Some(owner) = self.sharing.holder_of_mac(member, &record) else {
            return Ok(record);
        };
        place.seats.unreserve(&record);
        Err(Attach::MacTaken {
            mac: Mac::new(record.mac),
            owner,
            network: place.record.name.clone(),
        })
    }

    /// Makes addresses this host's that it does not own yet.
    pub(super) fn obtain(&self, place: &Place, member: &Member, wish: Wish) -> Result<(), Attach> {
        let network = &place.record.name;
        let no_block = || Attach::NoBlock {
            network: network.clone(),
            wish: match wish {
                Wish::Address(address) => format!("address {address}"),
                Wish::Any { .. } => "a free address".to_owned(),
            },
        };
        let session = member.steady_session().ok_or_else(no_block)?;
        match self
            .sharing
            .obtain((member, session), &place.seated(), wish)
        {
            Ok(Obtained::Own) => Ok(()),
            Ok(Obtained::Refused { host, is_silent }) => Err(match wish {
                Wish::Address(address) => Attach::OfAnother {
                    address,
                    host,
                    why: match is_silent {
                        true => "does not answer",
                        false => "does not give it up",
                    },
                },
                Wish::Any { .. } => no_block(),
            }),
            Ok(Obtained::Full { holders }) => Err(Attach::RangeFull {
                network: network.clone(),
                holders,
            }),
            Err(error) => {
                tracing::debug!(%error, network, "no block is to be had");
                // It may have been done all the same.
                member.say_again();
                Err(no_block())
            }
        }
    }

    /// Where one more endpoint goes in a sandbox. In its owner's turn.
    fn rank(&self, owner: &Owner) -> Rank {
        if !matches!(owner, Owner::Container(_)) {
            return Rank::after(self.networks.roll().last_rank(owner));
        }
        let present = self.of(owner);
        let present: Vec<_> = present
            .iter()
            .map(|(_, attached)| &*attached.record)
            .collect();
        Rank::of(&present, owner)
    }
}

/// What would help, where an address is refused for want of a block.
fn wish_of(error: &Attach) -> Option<Wish> {
    match error {
        Attach::Address(AllocateAddress::Exhausted { within }) => Some(Wish::Any {
            is_ipv4: within.addr().is_ipv4(),
        }),
        Attach::Address(AllocateAddress::NotOwned { address }) => Some(Wish::Address(*address)),
        _ => None,
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

/// How often an endpoint is planned again with more blocks.
const SHORTAGES_MAX: usize = 64;
