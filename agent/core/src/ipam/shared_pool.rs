//! What a host owns of a subnet that it shares with others.

use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;

use super::block::{first, last};
use super::holding::Holding;
use super::pool::narrowed;
use super::{Pool, Tenant};

impl Pool {
    /// What this host owns of the subnet, from now on.
    pub fn own(&mut self, blocks: Vec<IpNet>) {
        self.holding.get_or_insert_default().own(blocks);
    }

    /// The blocks that this host owns of the subnet, in order.
    pub fn owned(&self) -> &[IpNet] {
        self.holding.as_ref().map_or(&[], Holding::blocks)
    }

    /// An address that was used is given out after others until then.
    pub(super) fn rest(&mut self, address: IpAddr, until: Instant) {
        let number = self.number_of(address);
        if let (Some(holding), Ok(number)) = (&mut self.holding, number) {
            holding.rest(number, until);
        }
    }

    /// Forgets who rested until `now`.
    pub(super) fn wake(&mut self, now: Instant) {
        if let Some(holding) = &mut self.holding {
            holding.wake(now);
        }
    }

    /// How many of a block's addresses containers can have at all.
    pub fn useful(&self, block: IpNet) -> u128 {
        let (first, last) = narrowed((self.first, self.last), block);
        let taken = (first <= last).then(|| self.taken.range(first..=last));
        let kept = taken.into_iter().flatten();
        let kept = kept.filter(|(_, tenant)| tenant.is_kept()).count();
        length(first, last).saturating_sub(wide(kept))
    }

    /// How many of this host's addresses nobody has; those that rest count where they are asked for.
    pub fn spare(&self, with_resting: bool) -> u128 {
        let Some(holding) = &self.holding else {
            return 0;
        };
        let blocks = holding.blocks().iter();
        blocks
            .map(|block| {
                let (first, last) = narrowed((self.first, self.last), *block);
                let resting = match with_resting {
                    true => 0,
                    false => self.resting(first, last),
                };
                self.free_in(*block).saturating_sub(resting)
            })
            .sum()
    }

    /// Whether nobody has an address of the block, or had one a moment ago.
    pub fn is_unused(&self, block: IpNet, may_rest: bool) -> bool {
        let (first, last) = (first(block), last(block));
        let is_endpoint = |tenant: &Tenant| matches!(tenant, Tenant::Endpoint(_));
        let mut taken = self.taken.range(first..=last);
        let mut elsewhere = self.elsewhere.range(first..=last);
        !taken.any(|(_, tenant)| is_endpoint(tenant))
            && elsewhere.next().is_none()
            && (may_rest || self.resting(first, last) == 0)
    }

    /// Whether no other host has an endpoint in the block.
    pub fn is_no_others(&self, block: IpNet) -> bool {
        let mut elsewhere = self.elsewhere.range(first(block)..=last(block));
        elsewhere.next().is_none()
    }

    /// How many of a block's addresses nobody has, whosever it is.
    pub fn free_in(&self, block: IpNet) -> u128 {
        let (first, last) = narrowed((self.first, self.last), block);
        if first > last {
            return 0;
        }
        let taken = self.taken.range(first..=last).count();
        let elsewhere = self.elsewhere.range(first..=last);
        let elsewhere = elsewhere.filter(|(number, _)| !self.taken.contains_key(number));
        length(first, last).saturating_sub(wide(taken + elsewhere.count()))
    }

    fn resting(&self, first: u128, last: u128) -> u128 {
        let Some(holding) = &self.holding else {
            return 0;
        };
        let free = |number: &u128| !self.taken.contains_key(number);
        let resting = holding.resting(first, last).filter(free).count();
        wide(resting)
    }
}

fn length(first: u128, last: u128) -> u128 {
    match first <= last {
        true => (last - first).saturating_add(1),
        false => 0,
    }
}

fn wide(count: usize) -> u128 {
    u128::try_from(count).unwrap_or(u128::MAX)
}
