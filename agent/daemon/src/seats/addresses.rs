//! The addresses of a network, as far as they are this host's to give out.

use agent_core::ipam::Pools;
use agent_core::shared::holdings::Withheld;
use ipnet::IpNet;

use super::{Seats, Table};
use crate::journal::{Journal, Kept};
use crate::locks::lock;

impl Seats {
    /// What this host owns of a network that it shares, as an agent before left it on record.
    pub(crate) fn own(&self, blocks: &[IpNet]) {
        lock(&self.table).pools.own(blocks);
    }

    /// Looks at the addresses, or has them be different.
    pub(crate) fn with_pools<T>(&self, ask: impl FnOnce(&mut Pools, &mut Withheld) -> T) -> T {
        let Table {
            pools, withheld, ..
        } = &mut *lock(&self.table);
        ask(pools, withheld)
    }

    /// Has `settle` say what this host owns, and keeps that under a key where it is news.
    pub(crate) fn settle_blocks(
        &self,
        (journal, key): (&Journal, &str),
        settle: impl FnOnce(&mut Pools, &mut Withheld),
    ) -> Option<Kept> {
        let Table {
            pools, withheld, ..
        } = &mut *lock(&self.table);
        let before = pools.owned();
        settle(pools, withheld);
        let own = pools.owned();
        (own != before).then(|| journal.put(key, &own))
    }

    /// Whether an endpoint has an address that this host does not own, and nobody has noted it; or the other way round.
    pub(crate) fn are_out_of_place(&self) -> bool {
        let table = lock(&self.table);
        let own = table.pools.owned();
        table.endpoints.values().any(|endpoint| {
            let addresses = endpoint.record.addresses();
            let mut addresses = addresses.iter();
            let is_own = addresses.all(|address| own.iter().any(|block| block.contains(address)));
            is_own == endpoint.cut_off.is_some()
        })
    }
}
