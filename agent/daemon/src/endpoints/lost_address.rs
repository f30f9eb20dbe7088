//! Endpoints whose address another host owns: they have no part in their network.
//!
//! # Theory of operation
//!
//! It should not come to that; a state that was restored from an old backup can bring it about. Whoever owns an address keeps it. The
//! port of the other endpoint is taken down, so that nobody is disturbed, and the owner is asked for the address. Where it does
//! not give that up, a container that did not choose its address gets another one; everybody else stays cut off, which `ps` shows.
//!
//! The same of a MAC that somebody chose on two hosts at one moment: one of them has it ([`agent_core::shared::others`]), until its
//! endpoint goes.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_api::{CutOff, EndpointSettings};
use agent_cluster::Member;
use agent_core::endpoint::{Attach, Attachment};
use agent_core::record::{EndpointRecord, Owner};
use agent_core::shared::holdings::{Way, Wish};
use agent_store::StoreError;
use switch_core::Mac;

use super::detach::link_end;
use super::moved::place_of;
use super::port_state::{pull, push};
use super::{Endpoints, Place};
use crate::seats::Attached;
use crate::sharing::Sharing;

impl Endpoints {
    /// Makes the addresses of a network's endpoints this host's, where nobody owns them. Those with a part in the network, and
    /// whether all have their addresses.
    pub(crate) fn hold_addresses(
        &self,
        member: &Member,
        place: &Place,
    ) -> Result<(Vec<Arc<EndpointRecord>>, bool), StoreError> {
        let mut whole = Vec::new();
        let mut are_whole = true;
        for record in place.seats.records() {
            let mut why = None;
            for address in record.addresses() {
                if let Some(owner) = self.hold_one(member, place, address)? {
                    why = Some(format!("its address {address} is in a block of {owner}"));
                }
            }
            are_whole &= why.is_none();
            let why = why.or_else(|| Sharing::why_mac_is_lost(member, &record));
            self.note_cut_off(place, &record, why.clone());
            match why {
                None => whole.push(record),
                Some(_) => self.sharing.withdraw(&record),
            }
        }
        Ok((whole, are_whole))
    }

    /// The name of the host that owns the address, unless it is this one.
    fn hold_one(
        &self,
        member: &Member,
        place: &Place,
        address: IpAddr,
    ) -> Result<Option<String>, StoreError> {
        for _ in 0..TRIES_MAX {
            match self
                .sharing
                .look_for(member, &place.seated(), Wish::Address(address))
            {
                (Way::Own, ..) => return Ok(None),
                (Way::Take(_), Some(page), _) => {
                    self.sharing
                        .write_page(member, &place.seated(), page, &[])?;
                }
                (Way::Ask(owners), ..) => {
                    let owner = owners.first().map(String::as_str).unwrap_or_default();
                    let world = member.world();
                    return Ok(Some(agent_core::shared::others::name_of(&world, owner)));
                }
                (Way::Take(_), None, _) => return Ok(None),
            }
        }
        Ok(Some("a host that is faster".to_owned()))
    }

    fn note_cut_off(&self, place: &Place, record: &EndpointRecord, why: Option<String>) {
        if !place.seats.cut_off(&record.id, why.clone()) {
            return;
        }
        match &why {
            Some(why) => tracing::warn!(endpoint = record.name, "cut off: {why}"),
            None => tracing::info!(endpoint = record.name, "cut off no more"),
        }
        let Some(attached) = place.seats.get(&record.id).filter(|_| !record.down) else {
            return;
        };
        let set = match why {
            Some(_) => pull(place, &attached),
            None => push(place, &attached),
        };
        if let Err(error) = set {
            tracing::warn!(endpoint = record.name, %error, "a port is not as its endpoint is");
        }
    }

    /// Those without a part in their network, for want of an address or of the network itself.
    pub(crate) fn cut_offs(&self) -> Vec<CutOff> {
        let all = self.all().into_iter();
        let cut_off = all.filter_map(|(place, attached)| {
            Some(CutOff {
                why: attached.cut_off.or_else(|| place.why_cut_off())?,
                endpoint: attached.record.name.clone(),
                network: place.record.name.clone(),
            })
        });
        cut_off.collect()
    }

    /// Asks, on a thread of its own, for the addresses of those that are cut off.
    pub(crate) fn mend_cut_off(this: &Arc<Self>) {
        if this.is_mending.swap(true, Ordering::Relaxed) {
            return;
        }
        let endpoints = Arc::clone(this);
        this.ground.runtime.spawn_blocking(move || {
            for (place, attached) in endpoints.all() {
                if attached.cut_off.is_some() {
                    endpoints.mend_one_cut_off(&place, attached);
                }
            }
            endpoints.is_mending.store(false, Ordering::Relaxed);
        });
    }

    fn mend_one_cut_off(&self, place: &Place, attached: Attached) {
        let record = &attached.record.clone();
        let Some(member) = self.sharing.member() else {
            return;
        };
        let _turn = self.turns.take(record.owner.clone());
        let addresses = record.addresses().into_iter();
        let refused = addresses
            .map(Wish::Address)
            .find_map(|wish| self.obtain(place, &member, wish).err());
        let Some(refused) = refused else {
            return member.say_again();
        };
        let may_change = !record.is_chosen && record.moved.is_none();
        if !may_change || !matches!(record.owner, Owner::Container(_)) {
            tracing::warn!(endpoint = record.name, %refused, "stays cut off");
            return;
        }
        match self.change_address(place, &member, attached) {
            Ok(()) => tracing::info!(endpoint = record.name, "has another address"),
            Err(error) => self.ground.warn(format!(
                "endpoint {:?} has lost its address on network {:?}, and gets no other one: {error}; disconnect it and connect it again",
                record.name, place.record.name
            )),
        }
    }

    /// In the turn of the endpoint's owner: takes it away and attaches it anew. It stays as it is where no address is free.
    fn change_address(
        &self,
        place: &Place,
        member: &Member,
        attached: Attached,
    ) -> Result<(), Attach> {
        let record = &attached.record.clone();
        for address in record.addresses() {
            let is_ipv4 = address.is_ipv4();
            self.obtain(place, member, Wish::Any { is_ipv4 })?;
        }
        let Some(Ok((netns, _))) = place_of(&attached) else {
            return Ok(());
        };
        // One that was made from the address goes with it.
        let is_made = record
            .ipv4
            .is_some_and(|ip| Mac::from_ipv4(ip).octets() == record.mac);
        let settings = EndpointSettings {
            aliases: record.aliases.clone(),
            mac: (!is_made && record.ipv4.is_some()).then(|| Mac::new(record.mac).to_string()),
            impairments: record.impairments,
            port_settings: record.port_settings,
            labels: Some(record.labels.clone()),
            rates: record.rates,
            ..EndpointSettings::default()
        };
        let attachment = Attachment {
            owner: record.owner.clone(),
            path: record.sandbox.as_deref(),
            name: &record.name,
            hostname: record.hostname.as_deref(),
            dns: &record.dns,
            publish: &record.publish,
            ports_reserved: record.ports_reserved,
            link: record.link.as_deref(),
            settings: &settings,
        };
        let link = link_end(&attached);
        drop(self.take_out(place, &record.id)?);
        // The link goes with its last descriptor, and its name is free then.
        drop(attached);
        if let Some(link) = link {
            link.wait(END_PATIENCE);
        }
        self.attach_in_turn(place, &attachment, &netns).map(drop)
    }
}

/// The kernel takes milliseconds, and longer while much ends at once.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// How often a page is written anew where other hosts are faster.
const TRIES_MAX: usize = 64;
