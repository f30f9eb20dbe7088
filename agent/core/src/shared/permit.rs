//! What a member of the cluster may write.
//!
//! # Theory of operation
//!
//! Members reach the store through a manager, who knows by the certificate which host asks. A host writes what it says of itself:
//! that it is alive and where, its endpoints, the addresses that they have. It makes and removes networks, as everybody may. All
//! else is for managers: tokens, who is a member, who is shut out.
//!
//! A transaction is judged as a whole, by the [`World`] before it. Where it depends on a key that it does not write, such as the
//! network of an endpoint, that key may change in between; whoever adopts a record looks again.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::asks::{Ask, AskRecord};
use super::blocks::{self, PageRecord, check_page};
use super::checks::{check_alive, check_endpoint, check_host};
use super::networks::{FollowedRecord, Rest, VniRecord, check_new, removed};
use super::others::lost_mac;
use super::world::is_member;
use super::{
    ADDRESSES, ALIVE, ASKS, AliveRecord, BLOCKS, DEMOTE, ENDPOINTS, EndpointShared, FOLLOWED,
    HOSTS, Holder, HostRecord, NAMES, NETWORKS, NETWORKS_MADE, OrderRecord, PROMOTE, REVOKED, VNIS,
    World,
};
use crate::ipam::block::page_of;
use crate::network::CreateNetwork;
use crate::record::NetworkRecord;

/// One key's part of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    pub key: &'a str,
    /// The new value; None deletes.
    pub value: Option<&'a Value>,
    /// Whether the key goes with a lease of the host's.
    pub is_leased: bool,
}

/// A host has no right to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct Denied {
    pub key: String,
    pub why: String,
    /// It had, until something happened of which it has not heard yet.
    pub is_late: bool,
}

/// Why a write is not permitted.
enum Refusal {
    Wrong(String),
    Late(&'static str),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

impl From<&str> for Refusal {
    fn from(why: &str) -> Self {
        Self::Wrong(why.to_owned())
    }
}

/// Whether a host was shut out for good.
pub fn is_revoked(world: &World, host: &str) -> bool {
    world.contains(&format!("{REVOKED}{host}"))
}

/// Whether members may read a key. Of tokens and certificates only managers know.
pub fn may_see(key: &str) -> bool {
    !MANAGERS_ALONE.iter().any(|kind| key.starts_with(kind))
}

/// Whether `host` may write all of this at once. `rest` says how long VNIs rest.
pub fn permit(world: &World, host: &str, writes: &[Write<'_>], rest: Rest) -> Result<(), Denied> {
    let asked = Asked {
        world,
        host,
        writes: writes.iter().map(|write| (write.key, *write)).collect(),
        rest,
    };
    writes.iter().try_for_each(|write| asked.judge(*write))
}

struct Asked<'a> {
    world: &'a World,
    host: &'a str,
    writes: BTreeMap<&'a str, Write<'a>>,
    rest: Rest,
}

type Judge<'a> = fn(&Asked<'a>, &str, Write<'a>) -> Result<(), Refusal>;

impl<'a> Asked<'a> {
    fn judge(&self, write: Write<'a>) -> Result<(), Denied> {
        let kinds: [(&str, Judge<'a>); 13] = [
            (PROMOTE, Self::promotion),
            (DEMOTE, Self::demotion),
            (ALIVE, Self::alive),
            (HOSTS, Self::member),
            (FOLLOWED, Self::followed),
            (ENDPOINTS, Self::endpoint),
            (BLOCKS, Self::page),
            (ASKS, Self::ask),
            (ADDRESSES, Self::old_address),
            (NETWORKS, Self::network),
            (NAMES, Self::name),
            (VNIS, Self::vni),
            (NETWORKS_MADE, Self::networks_made),
        ];
        let judge = kinds
            .into_iter()
            .find_map(|(kind, judge)| Some((write.key.strip_prefix(kind)?, judge)));
        let judged = match judge {
            Some(_) if is_revoked(self.world, self.host) => refuse("this host was revoked"),
            Some(_) if !write.key.starts_with(HOSTS) && !is_member(self.world, self.host) => {
                refuse("this host is no member")
            }
            Some((rest, judge)) => judge(self, rest, write),
            None => refuse("only a manager writes that"),
        };
        judged.map_err(|refusal| {
            let (why, is_late) = match refusal {
                Refusal::Wrong(why) => (why, false),
                Refusal::Late(why) => (why.to_owned(), true),
            };
            let key = write.key.to_owned();
            Denied { key, why, is_late }
        })
    }

    fn alive(&self, rest: &str, write: Write<'a>) -> Result<(), Refusal> {
        self.own(rest)?;
        let Some(alive) = value::<AliveRecord>(write)? else {
            return Ok(());
        };
        leased(write)?;
        check_alive(rest, &alive).map_err(|error| error.to_string())?;
        let is_taken = |(other, told): (&str, AliveRecord)| {
            other != self.host
                && (told.address, told.quic_udp_port) == (alive.address, alive.quic_udp_port)
        };
        match self.world.under::<AliveRecord>(ALIVE).any(is_taken) {
            true => refuse("another host that is alive has that address"),
            false => Ok(()),
        }
    }

    fn member(&self, rest: &str, write: Write<'a>) -> Result<(), Refusal> {
        self.own(rest)?;
        let Some(record) = value::<HostRecord>(write)? else {
            return Ok(());
        };
        check_host(rest, &record).map_err(|error| error.to_string())?;
        let known = self.world.find::<HostRecord>(write.key);
        let is_same = |(known, _): (HostRecord, u64)| {
            HostRecord {
                address: record.address,
                ..known
            } == record
        };
        match known.is_none_or(is_same) {
            true => Ok(()),
            false => refuse("a host changes nothing but its address"),
        }
    }

    /// A host says why it cannot obey; the order itself is not its own.
    fn promotion(&self, rest: &str, write: Write<'a>) -> Result<(), Refusal> {
        self.own(rest)?;
        let known = self.world.find::<OrderRecord>(write.key);
        let answer = value::<OrderRecord>(write)?;
        let is_answer = known
            .zip(answer)
            .is_some_and(|((order, _), answer)| order.is_answered_by(&answer));
        match is_answer {
            true => Ok(()),
            false => refuse("a host answers an order to it, and only a manager gives one"),
        }
    }

    /// A host that has obeyed takes the order away.
    fn demotion(&self, rest: &str, write: Write<'a>) -> Result<(), Refusal> {
        self.own(rest)?;
        match write.value {
            None => Ok(()),
            Some(_) => refuse("only a manager gives an order"),
        }
    }

    fn followed(&self, rest: &str, write: Write<'a>) -> Result<(), Refusal> {
        self.own(rest)?;
        value::<FollowedRecord>(write).map(drop)
    }

    fn endpoint(&self, rest: &str, write: Write<'a>) -> Result<(), Refusal> {
        if let Some((known, _)) = self.world.find::<EndpointShared>(write.key) {
            self.own(&known.host)?;
        }
        let Some(told) = value::<EndpointShared>(write)? else {
            return Ok(());
        };
        leased(write)?;
        self.own(&told.host)?;
        let (network, id) = rest.split_once('/').ok_or("no such key")?;
        let record = self.network_of(network)?;
        check_endpoint(&record, id, &told).map_err(|error| error.to_string())?;
        let alive = self.world.entry(&format!("{ALIVE}{}", self.host));
        if alive.is_none_or(|alive| told.epoch > self.world.epoch(alive.revision)) {
            return refuse("the epoch is not one of this host's");
        }
        if lost_mac(self.world, self.host, (network, id), told.mac).is_some() {
            return refuse("the MAC is another host's");
        }
        for address in told.addresses() {
            if !blocks::has(self.world, self.host, network, address) {
                return refuse("the address is in no block of this host");
            }
        }
        Ok(())
    }

    /// Blocks of addresses, by [`check_page`].
    fn page(&self, rest: &str, write: Write<'a>) -> Result<(), Refusal> {
        let (network, first) = rest.split_once('/').ok_or("no such key")?;
        let network_key = format!("{NETWORKS}{network}");
        let Some(after) = value::<PageRecord>(write)? else {
            // Whoever removes a network removes what was in it.
            return match self.goes(&network_key) || !self.world.contains(&network_key) {
                true => Ok(()),
                false => refuse("it goes with its network"),
            };
        };
        // Each host gets blocks when a network is made.
        let record = match self.written(&network_key)? {
            Some(made) => made,
            None => self.network_of(network)?,
        };
        let first: IpAddr = first.parse().map_err(|_| "no such key")?;
        let mut subnets = record.subnets.iter().map(|subnet| subnet.net.trunc());
        let subnet = subnets.find(|subnet| subnet.contains(&first));
        let page = page_of(subnet.ok_or("it is outside of the network")?, first);
        if page.network() != first {
            return refuse("no page begins there");
        }
        let before = self.world.find::<PageRecord>(write.key);
        let before = before.map(|(before, _)| before).unwrap_or_default();
        let is_member = |host: &str| is_member(self.world, host);
        check_page(page, (&before, &after), self.host, is_member)
            .map_err(|error| error.to_string().into())
    }

    /// A host asks by a key of its own, and whoever is asked takes the key away.
    fn ask(&self, _: &str, write: Write<'a>) -> Result<(), Refusal> {
        let Ask { asker, network, .. } = Ask::of_key(write.key).ok_or("no such key")?;
        if value::<AskRecord>(write)?.is_some() {
            leased(write)?;
            return self.own(&asker);
        }
        // Whoever removes a network removes what was in it.
        let network_key = format!("{NETWORKS}{network}");
        if self.goes(&network_key) || !self.world.contains(&network_key) {
            return Ok(());
        }
        let asked = self.world.find::<AskRecord>(write.key);
        match asked.is_none_or(|(asked, _)| asked.host == self.host) {
            true => Ok(()),
            false => self.own(&asker),
        }
    }

    /// What agents of an older version claimed: nobody does so any more.
    fn old_address(&self, rest: &str, write: Write<'a>) -> Result<(), Refusal> {
        if write.value.is_some() {
            return refuse("addresses are given out by blocks");
        }
        let (network, _) = rest.split_once('/').ok_or("no such key")?;
        let network_key = format!("{NETWORKS}{network}");
        if self.goes(&network_key) || !self.world.contains(&network_key) {
            return Ok(());
        }
        match self.world.find::<Holder>(write.key) {
            Some((known, _)) => self.own(&known.host),
            None => Ok(()),
        }
    }

    /// A network comes with all of its keys, in one transaction, and goes with them.
    fn network(&self, id: &str, write: Write<'a>) -> Result<(), Refusal> {
        let known = self.world.find::<NetworkRecord>(write.key);
        match (value::<NetworkRecord>(write)?, known) {
            (Some(_), Some(_)) => refuse("a network is not changed"),
            (None, None) => Ok(()),
            (None, Some((known, _))) => self.network_goes(&known),
            (Some(made), None) => self.network_comes(id, &made),
        }
    }

    fn network_comes(&self, id: &str, made: &NetworkRecord) -> Result<(), Refusal> {
        check_new(self.world, id, made, self.rest).map_err(|error| match error {
            // By the clock of the host that asks it has rested.
            CreateNetwork::VniResting { .. } => Refusal::Late("its VNI rests"),
            error => error.to_string().into(),
        })?;
        let name: Option<String> = self.written(&format!("{NAMES}{}", made.name))?;
        let vni: Option<VniRecord> = self.written(&vni_key(made))?;
        let digest: Option<u64> = self.written(NETWORKS_MADE)?;
        let is_whole = name.is_some_and(|name| name == made.id)
            && vni.is_some_and(|vni| vni.network == made.id && vni.removed_s.is_none())
            && digest.is_some();
        match is_whole {
            true => Ok(()),
            false => refuse("it comes with its name, its VNI and the digest of networks"),
        }
    }

    /// As far as the keys are its own.
    fn network_goes(&self, known: &NetworkRecord) -> Result<(), Refusal> {
        let name_key = format!("{NAMES}{}", known.name);
        let name = self.world.find::<String>(&name_key);
        let stays_named = name.is_some_and(|(id, _)| id == known.id) && !self.goes(&name_key);
        let vni_key = vni_key(known);
        let vni = self.world.find::<VniRecord>(&vni_key);
        let stays_numbered = vni.is_some_and(|(vni, _)| vni.network == known.id)
            && self.written::<VniRecord>(&vni_key)?.is_none();
        match stays_named || stays_numbered {
            true => refuse("it goes with its name, and leaves a tombstone for its VNI"),
            false => Ok(()),
        }
    }

    fn name(&self, _: &str, write: Write<'a>) -> Result<(), Refusal> {
        let known = self.world.find::<String>(write.key);
        match (value::<String>(write)?, known) {
            (Some(_), Some(_)) => refuse("it is another network's"),
            (Some(id), None) => self.comes_along(&id),
            (None, None) => Ok(()),
            (None, Some((id, _))) => self.goes_along(&id),
        }
    }

    /// A VNI is taken with its network, becomes a tombstone with it, and is nobody's to delete.
    fn vni(&self, _: &str, write: Write<'a>) -> Result<(), Refusal> {
        let Some(written) = value::<VniRecord>(write)? else {
            return refuse("a VNI rests before it is free");
        };
        let Some(removed_s) = written.removed_s else {
            // Whether it is free is seen to with its network.
            return self.comes_along(&written.network);
        };
        let known = self.world.find::<VniRecord>(write.key);
        if known.is_none_or(|(known, _)| known.network != written.network) {
            return refuse("it is another network's");
        }
        if removed_s.abs_diff(self.rest.now_s) > CLOCK_SKEW_S {
            return refuse("the clock of this host is off");
        }
        self.goes_along(&written.network)
    }

    fn networks_made(&self, rest: &str, write: Write<'a>) -> Result<(), Refusal> {
        let made = self.world.find::<u64>(write.key).map(|(made, _)| made);
        let is_new = value::<u64>(write)?.is_some_and(|digest| Some(digest) != made);
        let is_with_network = || {
            let mut writes = self.writes.values();
            writes.any(|write| write.key.starts_with(NETWORKS) && write.value.is_some())
        };
        match rest.is_empty() && is_new && is_with_network() {
            true => Ok(()),
            false => refuse("it is written anew with each network that is made"),
        }
    }

    fn comes_along(&self, network: &str) -> Result<(), Refusal> {
        let key = format!("{NETWORKS}{network}");
        let along = self.writes.get(&*key);
        match along.is_some_and(|along| along.value.is_some()) {
            true => Ok(()),
            false => refuse("it comes with its network"),
        }
    }

    fn goes_along(&self, network: &str) -> Result<(), Refusal> {
        let key = format!("{NETWORKS}{network}");
        match self.goes(&key) || !self.world.contains(&key) {
            true => Ok(()),
            false => refuse("it goes with its network"),
        }
    }

    /// Whether this transaction deletes a key.
    fn goes(&self, key: &str) -> bool {
        let write = self.writes.get(key);
        write.is_some_and(|write| write.value.is_none())
    }

    /// What this transaction puts, if it does.
    fn written<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Refusal> {
        match self.writes.get(key) {
            Some(write) => value(*write),
            None => Ok(None),
        }
    }

    /// One that was removed has left a tombstone.
    fn network_of(&self, id: &str) -> Result<NetworkRecord, Refusal> {
        if let Some((record, _)) = self.world.find(&format!("{NETWORKS}{id}")) {
            return Ok(record);
        }
        Err(match removed(self.world).any(|removed| removed == id) {
            true => Refusal::Late("the network was removed"),
            false => "no such network".into(),
        })
    }

    fn own(&self, host: &str) -> Result<(), Refusal> {
        match host == self.host {
            true => Ok(()),
            false => refuse("it is another host's"),
        }
    }
}

fn refuse(why: &str) -> Result<(), Refusal> {
    Err(why.into())
}

fn vni_key(network: &NetworkRecord) -> String {
    let vni = network.overlay.as_ref().map(|overlay| overlay.vni);
    format!("{VNIS}{}", vni.unwrap_or_default())
}

/// None where the key is deleted.
fn value<T: DeserializeOwned>(write: Write<'_>) -> Result<Option<T>, Refusal> {
    let decode = |value| T::deserialize(value).map_err(|_| "it is malformed".into());
    write.value.map(decode).transpose()
}

fn leased(write: Write<'_>) -> Result<(), Refusal> {
    match write.is_leased {
        true => Ok(()),
        false => refuse("it needs a lease of the host's own"),
    }
}

const MANAGERS_ALONE: [&str; 3] = [super::TOKENS, super::ISSUED, super::LEASES];
/// Clocks of hosts differ by so much at most.
const CLOCK_SKEW_S: u64 = 300;

#[cfg(test)]
mod tests;
