//! What a host does about its blocks: which it takes, gives to others and gives back, and whom it asks.
//!
//! # Theory of operation
//!
//! A host keeps half a block's addresses free, as long as it has no more than its share of the range and nobody owns the rest
//! of it; a block that nobody uses it gives back where it has others. Where nothing is left that nobody owns, a host without a
//! free address [asks](super::AskRecord) the one with most of them, which gives half of an unused part away.
//!
//! A host must not give out what it has given away, whether or not it has heard how that ended, and whether or not it was killed
//! meanwhile. So a part is [withheld](Withheld) first, and put on record as nobody's of this host. It comes back when the page
//! has been written since: the page is [fenced](Blocks::fence) where nobody knows whether it was.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::blocks::{Blocks, WritePage};
use super::{ALIVE, World};
use crate::ipam::block::{
    BLOCKS_A_HOST, around, block_bits, find_free, overlap, size, upper_half, without,
};
use crate::ipam::{Pool, Pools};

/// What a host asks another one for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Address(IpAddr),
    /// Any address of the family.
    Any {
        is_ipv4: bool,
    },
}

/// How a host gets what it wishes for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It owns it already.
    Own,
    /// Nobody owns it.
    Take(IpNet),
    /// Others own all there is; those to ask, the best first.
    Ask(Vec<String>),
}

impl Wish {
    pub const fn is_ipv4(self) -> bool {
        match self {
            Self::Address(address) => address.is_ipv4(),
            Self::Any { is_ipv4 } => is_ipv4,
        }
    }
}

/// What a block is to have that `host` takes to be comfortable; `None` where it has enough, or there is none.
pub fn wanted(blocks: &Blocks, pool: &Pool, host: &str) -> Option<IpNet> {
    let block_size = usual_size(blocks, pool);
    let owned: u128 = blocks.of_host(host).map(size).sum();
    let share = block_size.saturating_mul(BLOCKS_A_HOST as u128);
    let is_low = pool.spare(false) < (block_size / 2).max(1);
    (owned == 0 || (is_low && owned < share))
        .then(|| free(blocks, pool))
        .flatten()
}

/// A block that `host` needs no more.
pub fn surplus(blocks: &Blocks, pool: &Pool, host: &str) -> Option<IpNet> {
    let block_size = usual_size(blocks, pool);
    let spare = pool.spare(false);
    let mut own = blocks.of_host(host).filter(|_| pool.owned().len() > 1);
    own.find(|block| {
        let rest = spare.saturating_sub(pool.useful(*block));
        pool.is_unused(*block, false) && rest >= block_size
    })
}

/// How `host` gets what it wishes for.
pub fn way(blocks: &Blocks, world: &World, pool: &Pool, host: &str, wish: Wish) -> Way {
    match wish {
        Wish::Address(address) => match blocks.around(address) {
            Some((_, owner)) if owner == host => Way::Own,
            Some((_, owner)) => Way::Ask(vec![owner.to_owned()]),
            None => Way::Take(free_around(blocks, pool, address)),
        },
        Wish::Any { .. } if pool.spare(true) > 0 => Way::Own,
        Wish::Any { .. } => match free(blocks, pool) {
            Some(block) => Way::Take(block),
            None => Way::Ask(with_most_free(blocks, world, pool, host)),
        },
    }
}

/// The part of its blocks that a host gives to one that asked.
pub fn part_to_give(blocks: &Blocks, pool: &Pool, host: &str, wish: Wish) -> Option<IpNet> {
    match wish {
        Wish::Address(address) => {
            let (_, owner) = blocks.around(address)?;
            let is_free = owner == host && pool.tenant(address).is_none();
            is_free.then(|| around(blocks.subnet(), address, 0))
        }
        Wish::Any { .. } => [false, true]
            .into_iter()
            .find_map(|may_rest| idle_part(blocks, pool, host, may_rest)),
    }
}

/// The largest part that nobody uses, or half of it where the host has no other like it.
fn idle_part(blocks: &Blocks, pool: &Pool, host: &str, may_rest: bool) -> Option<IpNet> {
    let parts = blocks
        .of_host(host)
        .filter_map(|block| largest_idle(pool, block, may_rest));
    let part = parts.max_by_key(|part| pool.useful(*part))?;
    let others = pool.spare(true).saturating_sub(pool.useful(part));
    let half = upper_half(part).filter(|_| others < pool.useful(part));
    let Some(half) = half else {
        return Some(part);
    };
    let lower = without(part, half).into_iter().next();
    [Some(half), lower]
        .into_iter()
        .flatten()
        .find(|half| pool.useful(*half) > 0)
}

fn largest_idle(pool: &Pool, block: IpNet, may_rest: bool) -> Option<IpNet> {
    if pool.useful(block) == 0 {
        return None;
    }
    if pool.is_unused(block, may_rest) {
        return Some(block);
    }
    let upper = upper_half(block)?;
    let lower = without(block, upper).into_iter().next()?;
    let halves = [lower, upper].into_iter();
    let idle = halves.filter_map(|half| largest_idle(pool, half, may_rest));
    idle.max_by_key(|part| pool.useful(*part))
}

/// The first block that nobody owns, as large as is usual or, where there is none, smaller.
pub fn free(blocks: &Blocks, pool: &Pool) -> Option<IpNet> {
    let (range, taken) = (pool.range(), blocks.taken());
    let is_useful = |block| pool.useful(block) > 0 && pool.is_no_others(block);
    let bits = block_bits(range, blocks.members().len());
    (0..=bits)
        .rev()
        .find_map(|bits| find_free(range, &taken, bits, is_useful))
}

/// The largest block around an address that nobody owns, of a usual size at most.
fn free_around(blocks: &Blocks, pool: &Pool, address: IpAddr) -> IpNet {
    let taken = blocks.taken();
    let is_free = |block: &IpNet| {
        pool.is_no_others(*block) && !taken.iter().any(|other| overlap(*other, *block))
    };
    let bits = block_bits(pool.range(), blocks.members().len());
    let sizes = (0..=bits).rev();
    let around = |bits| around(blocks.subnet(), address, bits);
    sizes.map(around).find(is_free).unwrap_or(around(0))
}

/// A block for each host of a network that is new.
pub fn first_blocks<'h>(
    blocks: &Blocks,
    pool: &Pool,
    hosts: &'h [String],
) -> Vec<(IpNet, &'h str)> {
    let range = pool.range();
    let bits = block_bits(range, hosts.len());
    let mut taken = blocks.taken();
    let mut first = Vec::new();
    for host in hosts {
        let Some(block) = find_free(range, &taken, bits, |block| pool.useful(block) > 0) else {
            break;
        };
        taken.insert(block);
        first.push((block, host.as_str()));
    }
    first
}

/// Other hosts that are there and have free addresses, those with most of them first.
fn with_most_free(blocks: &Blocks, world: &World, pool: &Pool, host: &str) -> Vec<String> {
    let mut free: BTreeMap<&str, u128> = BTreeMap::new();
    for (block, owner) in blocks.all() {
        let is_there = || world.contains(&format!("{ALIVE}{owner}"));
        let in_it = pool.free_in(block);
        if owner != host && in_it > 0 && is_there() {
            *free.entry(owner).or_default() += in_it;
        }
    }
    let mut hosts: Vec<_> = free.into_iter().collect();
    hosts.sort_by_key(|(_, free)| std::cmp::Reverse(*free));
    hosts.into_iter().map(|(host, _)| host.to_owned()).collect()
}

/// Who owns how much, for people.
pub fn holders(blocks: &Blocks, pool: &Pool) -> String {
    let mut held: BTreeMap<&str, (u128, u128)> = BTreeMap::new();
    for (block, owner) in blocks.all() {
        let name = blocks.members().get(owner).map_or(owner, String::as_str);
        let (useful, free) = (pool.useful(block), pool.free_in(block));
        let sum = held.entry(name).or_default();
        sum.0 += useful;
        sum.1 += useful.saturating_sub(free);
    }
    let mut said = String::new();
    for (name, (owned, used)) in held.iter().take(HOLDERS_SHOWN_MAX) {
        let separator = if said.is_empty() { "" } else { ", " };
        let _ = write!(said, "{separator}{name} has {owned} and uses {used}");
    }
    if held.len() > HOLDERS_SHOWN_MAX {
        let _ = write!(said, ", {} more hosts", held.len() - HOLDERS_SHOWN_MAX);
    }
    said
}

fn usual_size(blocks: &Blocks, pool: &Pool) -> u128 {
    1 << block_bits(pool.range(), blocks.members().len())
}

/// Parts that a host has given away, as far as it does not know how that ended.
#[derive(Clone, Debug, Default)]
pub struct Withheld(BTreeMap<IpNet, u64>);

impl Withheld {
    /// The part is nobody's of this host until its page is written again.
    pub fn hold_back(&mut self, pools: &mut Pools, blocks: &Blocks, part: IpNet) {
        self.0.insert(part, blocks.revision(part));
        let own = pools.owned().into_iter();
        let left: Vec<_> = own.flat_map(|block| without(block, part)).collect();
        pools.own(&left);
    }

    /// It was not given away.
    pub fn take_back(&mut self, part: IpNet) {
        self.0.remove(&part);
    }

    /// What `host` may give out of a subnet.
    pub fn own(&mut self, blocks: &Blocks, host: &str) -> Vec<IpNet> {
        let subnet = blocks.subnet();
        self.0
            .retain(|part, revision| !subnet.contains(part) || blocks.revision(*part) == *revision);
        let mut own: Vec<_> = blocks.of_host(host).collect();
        for part in self.0.keys().filter(|part| subnet.contains(*part)) {
            own = own
                .into_iter()
                .flat_map(|block| without(block, *part))
                .filter(|block| !part.contains(block))
                .collect();
        }
        own
    }

    /// What makes known whether parts of a subnet were given away.
    pub fn fences(&self, blocks: &Blocks) -> Vec<WritePage> {
        let subnet = blocks.subnet();
        let parts = self.0.keys().filter(|part| subnet.contains(*part));
        let mut fences: Vec<_> = parts.map(|part| blocks.fence(*part)).collect();
        fences.dedup();
        fences
    }
}

const HOLDERS_SHOWN_MAX: usize = 8;
