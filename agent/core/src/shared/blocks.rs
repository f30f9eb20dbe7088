//! Blocks: which host gives out which addresses of a shared network.
//!
//! # Theory of operation
//!
//! A network's addresses are divided into blocks ([`crate::ipam::block`]), and a block is one host's. Inside its blocks a host
//! gives out addresses without asking anybody. A block is under no lease: it stays its host's, whatever becomes of the store, the
//! host or the way between them, until the host gives it back or belongs to the cluster no more.
//!
//! The blocks of up to 256 addresses are one key, a *page*. Whoever changes one of them replaces the page as it knows it
//! ([`Before`]), so that two hosts never own one address, however blocks are split. A page stays when nobody owns anything on it.
//! What a host may write there says [`check_page`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::before::Before;
use super::vnis::removed;
use super::world::is_member;
use super::{ADDRESSES, BLOCKS, Entry, HOSTS, Holder, HostRecord, NETWORKS, World};
use crate::ipam::block::{overlap, page_of, pages_around, without};

/// The blocks on one page, each with the host that owns it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageRecord {
    pub owners: BTreeMap<IpNet, String>,
}

/// A page that is to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritePage {
    pub key: String,
    pub record: PageRecord,
    pub before: Before,
}

/// Why a page may not be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageRefused {
    #[error("block {block} is not on page {page}")]
    Outside { block: IpNet, page: IpNet },
    #[error("block {0} overlaps another one")]
    Overlaps(IpNet),
    #[error("block {block} is of host {owner}")]
    OfAnother { block: IpNet, owner: String },
    #[error("{0} is no host of the cluster")]
    NoMember(String),
}

/// Whether `host` may put `after` in place of `before`: what other members own stays as it is, and what nobody or the host itself
/// owns becomes any member's.
pub fn check_page(
    page: IpNet,
    (before, after): (&PageRecord, &PageRecord),
    host: &str,
    is_member: impl Fn(&str) -> bool,
) -> Result<(), PageRefused> {
    for (block, owner) in &before.owners {
        let is_anothers = owner != host && is_member(owner);
        if is_anothers && after.owners.get(block) != Some(owner) {
            let (block, owner) = (*block, owner.clone());
            return Err(PageRefused::OfAnother { block, owner });
        }
    }
    let mut last: Option<IpNet> = None;
    for (block, owner) in &after.owners {
        let block = *block;
        if !page.contains(&block) || block != block.trunc() {
            return Err(PageRefused::Outside { block, page });
        }
        // In order, so that a wider one comes before what is in it.
        if last.is_some_and(|last| overlap(last, block)) {
            return Err(PageRefused::Overlaps(block));
        }
        if !is_member(owner) {
            return Err(PageRefused::NoMember(owner.clone()));
        }
        last = Some(block);
    }
    Ok(())
}

/// Who owns an address of a network.
pub fn owner_of(world: &World, network: &str, address: IpAddr) -> Option<String> {
    let mut owner = pages_around(address).find_map(|page| {
        let (page, _) = world.find::<PageRecord>(&page_key(network, page))?;
        let mut owners = page.owners.into_iter();
        let (_, owner) = owners.find(|(block, _)| block.contains(&address))?;
        Some(owner)
    });
    owner.take_if(|owner| is_member(world, owner))
}

/// Whether `host` may have an endpoint with an address: it owns it, or an agent of an older version claimed it.
pub fn has(world: &World, host: &str, network: &str, address: IpAddr) -> bool {
    let claimed = || {
        let claim = world.find::<Holder>(&format!("{ADDRESSES}{network}/{address}"));
        claim.is_some_and(|(claim, _)| claim.host == host)
    };
    owner_of(world, network, address).is_some_and(|owner| owner == host) || claimed()
}

/// The same page without what `host` owned; `None` where that is nothing.
pub fn forget_owner(page: &PageRecord, host: &str) -> Option<PageRecord> {
    let mut left = page.clone();
    left.owners.retain(|_, owner| owner != host);
    (left != *page).then_some(left)
}

/// The keys of pages whose network was removed by somebody who could not remove them with it.
pub fn orphans(world: &World) -> Vec<String> {
    let removed: BTreeSet<String> = removed(world).collect();
    let is_orphan = |entry: &&Entry| {
        network_of(entry).is_some_and(|network| {
            removed.contains(network) && !world.contains(&format!("{NETWORKS}{network}"))
        })
    };
    let pages = world.entries_under(BLOCKS).map(|(_, entry)| entry);
    pages
        .filter(is_orphan)
        .map(|entry| entry.key.clone())
        .collect()
}

pub fn page_key(network: &str, page: IpNet) -> String {
    format!("{BLOCKS}{network}/{}", page.network())
}

/// The blocks of one subnet of a network, as far as they are known.
#[derive(Clone, Debug)]
pub struct Blocks {
    network: String,
    subnet: IpNet,
    pages: BTreeMap<IpNet, (PageRecord, Before)>,
    /// The cluster's hosts, with their names.
    members: BTreeMap<String, String>,
}

impl Blocks {
    pub fn of(world: &World, network: &str, subnet: IpNet) -> Self {
        let subnet = subnet.trunc();
        let members = world.under::<HostRecord>(HOSTS);
        let members = members
            .filter(|(host, _)| is_member(world, host))
            .map(|(host, record)| (host.to_owned(), record.name));
        let mut blocks = Self {
            network: network.to_owned(),
            subnet,
            pages: BTreeMap::new(),
            members: members.collect(),
        };
        let prefix = format!("{BLOCKS}{network}/");
        for (first, entry) in world.entries_under(&prefix) {
            if let (Ok(first), Ok(record)) = (first.parse(), entry.decode())
                && subnet.contains::<&IpAddr>(&first)
            {
                let page = page_of(subnet, first);
                blocks.pages.insert(page, (record, Before::of(entry)));
            }
        }
        blocks
    }

    pub const fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// The cluster's hosts, with their names.
    pub const fn members(&self) -> &BTreeMap<String, String> {
        &self.members
    }

    /// Every block that a member owns.
    pub fn all(&self) -> impl Iterator<Item = (IpNet, &str)> {
        let pages = self.pages.values().flat_map(|(page, _)| &page.owners);
        pages
            .filter(|(_, owner)| self.members.contains_key(*owner))
            .map(|(block, owner)| (*block, owner.as_str()))
    }

    pub fn of_host(&self, host: &str) -> impl Iterator<Item = IpNet> {
        let of_it = self.all().filter(move |(_, owner)| *owner == host);
        of_it.map(|(block, _)| block)
    }

    pub(super) fn taken(&self) -> BTreeSet<IpNet> {
        self.all().map(|(block, _)| block).collect()
    }

    /// The block that an address is in, with its owner.
    pub fn around(&self, address: IpAddr) -> Option<(IpNet, &str)> {
        let mut all = self.all();
        all.find(|(block, _)| block.contains(&address))
    }

    /// By which transaction the page of a block was written last; zero where there is none.
    pub(super) fn revision(&self, block: IpNet) -> u64 {
        match self.pages.get(&page_of(self.subnet, block.addr())) {
            Some((_, Before::Written { revision, .. })) => *revision,
            Some((_, Before::Absent)) | None => 0,
        }
    }

    /// A block that nobody owns becomes `host`'s.
    pub fn take(&self, block: IpNet, host: &str) -> WritePage {
        self.assign(&[(block, host)])
            .pop()
            .unwrap_or_else(|| self.rewrite(block, |_| {}))
    }

    /// The same of several blocks and hosts: the pages that they are on.
    pub fn assign(&self, blocks: &[(IpNet, &str)]) -> Vec<WritePage> {
        let mut pages: BTreeMap<IpNet, Vec<(IpNet, &str)>> = BTreeMap::new();
        for (block, host) in blocks {
            let page = page_of(self.subnet, block.addr());
            pages.entry(page).or_default().push((*block, host));
        }
        let written = pages.into_iter().map(|(page, blocks)| {
            self.rewrite(page, |owners| {
                for (block, host) in &blocks {
                    // What is left there is of hosts that are gone.
                    owners.retain(|other, _| !overlap(*other, *block));
                    owners.insert(*block, (*host).to_owned());
                }
            })
        });
        written.collect()
    }

    /// A part of a block of its owner becomes another host's, or nobody's.
    pub fn give(&self, part: IpNet, to: Option<&str>) -> WritePage {
        let around = self.around(part.addr());
        let around = around.map(|(block, owner)| (block, owner.to_owned()));
        self.rewrite(part, |owners| {
            let Some((block, owner)) = around else {
                return;
            };
            owners.remove(&block);
            let left = without(block, part).into_iter();
            owners.extend(left.map(|left| (left, owner.clone())));
            owners.extend(to.map(|host| (part, host.to_owned())));
        })
    }

    /// The page of a block as it is: whoever replaces the page as it was before comes too late from then on.
    pub fn fence(&self, block: IpNet) -> WritePage {
        self.rewrite(block, |_| {})
    }

    fn rewrite(&self, on: IpNet, change: impl FnOnce(&mut BTreeMap<IpNet, String>)) -> WritePage {
        let page = page_of(self.subnet, on.addr());
        let known = self.pages.get(&page).cloned();
        let (mut record, before) = known.unwrap_or((PageRecord::default(), Before::Absent));
        change(&mut record.owners);
        record
            .owners
            .retain(|_, owner| self.members.contains_key(owner));
        WritePage {
            key: page_key(&self.network, page),
            record,
            before,
        }
    }
}

/// The network that an entry is a page of; `None` where it is none.
pub fn network_of(entry: &Entry) -> Option<&str> {
    let (network, _) = entry.key.strip_prefix(BLOCKS)?.split_once('/')?;
    Some(network)
}
