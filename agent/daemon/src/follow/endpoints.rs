//! Following endpoints of other hosts: where they are, and how they are called.

use std::net::IpAddr;

use agent_cluster::{EndpointShared, Member};
use agent_core::shared::before::Before;
use agent_core::shared::checks::{self, BadRecord};
use agent_core::shared::{Entry, others};
use agent_store::StoreError;
use dns_core::{EndpointNames, Service};
use overlay_core::{DirectoryEvent, Epoch, HostId, NetworkId, Record, RecordFlags, Sequence};
use switch_core::Mac;

use super::Follower;
use crate::edge::EdgeHost;
use crate::locks::lock;
use crate::networks::{Place, RemotePlace};
use crate::sharing::Sharing;
use crate::sharing::blocks::expected;
use crate::sharing::directory::id_shared;

impl Follower {
    /// An endpoint of another host has a MAC, or has it no more: one of this host may have to give it up, or may have it now.
    fn mind_mac(&self, member: &Member, place: &Place, mac: [u8; 6], is_there: bool) {
        let Some((own, is_cut_off)) = place.seats.with_mac(mac) else {
            return;
        };
        let is_news = match is_there {
            true => !is_cut_off && Sharing::why_mac_is_lost(member, &own).is_some(),
            false => is_cut_off,
        };
        if is_news {
            member.say_again();
        }
    }

    pub(super) fn follow_endpoint(
        &self,
        member: &Member,
        (key, network, id): (&str, &str, &str),
        shared: &EndpointShared,
        is_there: bool,
    ) {
        let Some(place) = self.networks.place(network) else {
            return;
        };
        if shared.host == member.host() {
            let is_shared = place.record.shared().is_some() && member.session().is_some();
            if !is_there && is_shared && place.seats.get(id).is_some() {
                // Nobody but this host takes it away, so the store has lost it.
                self.tell_anew(network, id, shared.sequence);
                member.say_again();
            }
            return;
        }
        // A host that was shut out may still have a word in etcd for a moment.
        if is_there && !member.knows(&shared.host) {
            return;
        }
        // What was not taken in takes nothing with it.
        if !is_there && self.sharing.refused.forget(key) {
            return;
        }
        if let Err(why) = check(member, &place, id, shared, is_there) {
            self.sharing.refused.refuse(key, &why);
            // What was taken in before the store was set back goes when it is deleted.
            if lock(&self.sharing.taken_in).contains(key) {
                self.sharing.refused.forget(key);
            }
            return;
        }
        self.sharing.refused.forget(key);
        self.mind_mac(member, &place, shared.mac, is_there);
        let (Some(network), Ok(host)) = (id_shared(&place.record), HostId::new(&shared.host))
        else {
            return;
        };
        place.seats.with_pools(|pools, _| {
            others::note(pools, &member.world(), member.host(), shared, is_there);
        });
        let record = Record {
            network,
            mac: Mac::new(shared.mac),
            addresses: shared.addresses(),
            host,
            epoch: Epoch(shared.epoch),
            sequence: Sequence(shared.sequence),
            flags: RecordFlags {
                sticky: true,
                ..RecordFlags::default()
            },
        };
        match is_there {
            true => lock(&self.sharing.taken_in).insert(key.to_owned()),
            false => lock(&self.sharing.taken_in).remove(key),
        };
        if is_there {
            let mac = record.mac;
            self.networks.move_remote(network, mac, shared.vlans());
        }
        if self.sharing.apply(record, is_there) {
            follow_names(&place, id, shared, is_there);
        }
    }

    /// What was told of an endpoint may come to the store when the endpoint has gone: a manager that was cut off carries out what this
    /// host had given up. Then it is taken back.
    pub(super) fn mind_stray(&self, member: &Member, entry: &Entry, (network, id): (&str, &str)) {
        let place = self.networks.place(network);
        let is_here = place.is_some_and(|place| place.seats.has(id));
        if is_here || member.session().is_none() {
            return;
        }
        let told = expected(Some(Before::of(entry)));
        match member.store().delete(&entry.key, told) {
            Ok(()) | Err(StoreError::Changed { .. } | StoreError::Missing { .. }) => {}
            Err(error) => {
                tracing::warn!(endpoint = id, %error, "other hosts know an endpoint that is gone, for now");
                member.say_again();
            }
        }
    }

    /// The others have heard that an endpoint of this host is gone: its next word has to be newer than that.
    fn tell_anew(&self, network: &str, id: &str, sequence: u32) {
        let records = self.networks.place(network);
        let records = records.map_or_else(Vec::new, |place| place.seats.records());
        if let Some(record) = records.iter().find(|record| record.id == id) {
            self.sharing.announce(record, sequence.saturating_add(1));
        }
    }

    /// Makes the bridges what the directory says. Whether tunnels of networks came or went.
    pub(super) fn follow_directory(&self, member: &Member) -> bool {
        let mut have_changed = false;
        while let Some(event) = self.sharing.next_event() {
            have_changed |= matches!(
                event,
                DirectoryEvent::FloodJoin { .. } | DirectoryEvent::FloodLeave { .. }
            );
            match event {
                DirectoryEvent::Endpoint {
                    network,
                    mac,
                    endpoint,
                } => {
                    if endpoint.host.as_str() == member.host() {
                        self.keep_own(network, mac, &endpoint.addresses);
                    } else {
                        let world = member.world();
                        let id = network.to_string();
                        let told = others::holder_of_mac(&world, member.host(), &id, mac.octets());
                        let vlans = told.and_then(|(_, shared)| shared.vlans());
                        drop(world);
                        let at = RemotePlace {
                            host: endpoint.host,
                            addresses: endpoint.addresses,
                            vlans,
                        };
                        self.networks.place_remote(network, mac, at);
                    }
                }
                DirectoryEvent::EndpointGone { network, mac } => {
                    if self.networks.forget_remote(network, mac)
                        && let Some(place) = self.networks.place(&network.to_string())
                        && let Some(segment) = &place.segment
                    {
                        segment.bridge.unregister_endpoint(mac);
                    }
                }
                DirectoryEvent::FloodJoin { network, host } => {
                    self.networks.open_tunnel(member, network, &host);
                }
                DirectoryEvent::FloodLeave { network, host } => {
                    self.networks.close_tunnel(network, &host);
                }
            }
        }
        self.networks.follow_needs();
        have_changed
    }

    /// An endpoint of this host has its MAC, whoever had it before.
    fn keep_own(&self, network: NetworkId, mac: Mac, addresses: &[IpAddr]) {
        let Some(place) = self.networks.place(&network.to_string()) else {
            return;
        };
        if self.networks.forget_remote(network, mac)
            && let (Some(segment), Some(port)) = (&place.segment, place.seats.port_of(mac))
        {
            segment.bridge.register_endpoint(port, mac, addresses);
        }
    }
}

/// One that goes had its addresses before.
fn check(
    member: &Member,
    place: &Place,
    id: &str,
    shared: &EndpointShared,
    is_there: bool,
) -> Result<(), BadRecord> {
    checks::check_endpoint(&place.record, id, shared)?;
    match is_there {
        true => checks::check_claimed(&member.world(), &place.record.id, shared),
        false => Ok(()),
    }
}

fn follow_names(place: &Place, id: &str, shared: &EndpointShared, is_there: bool) {
    let Some(segment) = &place.segment else {
        return;
    };
    if !is_there {
        return segment.edge.remove(id);
    }
    let host = EdgeHost {
        port: None,
        mac: Mac::new(shared.mac),
        dhcp: None,
        names: EndpointNames {
            name: shared.name.clone(),
            aliases: shared.aliases.clone(),
            hostname: shared.hostname.clone(),
            short_id: shared.short_id.clone(),
            v4: shared.ipv4,
            v6: shared.ipv6,
            services: shared.services.iter().map(Service::from).collect(),
        },
        dns: Vec::new(),
    };
    if let Err(error) = segment.edge.insert(id, host) {
        tracing::warn!(endpoint = shared.name, %error, "a remote endpoint has no names here");
    }
}
