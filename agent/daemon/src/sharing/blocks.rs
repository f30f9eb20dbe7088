//! Blocks of shared networks: written to the store, and kept on record here. What may be written is decided in
//! [`agent_core::shared::holdings`].

use std::time::Instant;

use agent_cluster::{ALIVE, BLOCKS, Member};
use agent_core::ipam::{CreatePool, Pools};
use agent_core::record::{NetworkRecord, blocks_key};
use agent_core::shared::World;
use agent_core::shared::before::Before;
use agent_core::shared::blocks::{Blocks, WritePage};
use agent_core::shared::holdings::{first_blocks, surplus, wanted};
use agent_store::{Change, Expected, StoreError};
use ipnet::IpNet;

use super::Sharing;
use crate::locks::hold_nothing;
use crate::seats::Seated;

/// How writing a page ended.
pub(crate) enum Written {
    Yes,
    /// Somebody else was faster: this host knows the page now as that left it.
    No,
}

impl Sharing {
    /// What this host owns of a network is what the world says.
    pub(crate) fn settle_blocks(&self, member: &Member, place: &Seated) {
        let key = blocks_key(&place.record.id);
        let kept = place
            .seats
            .settle_blocks((&self.ground.journal, &key), |pools, withheld| {
                let world = member.world();
                let mut own = Vec::new();
                for blocks in both(&world, &place.record) {
                    own.extend(withheld.own(&blocks, member.host()));
                }
                pools.own(&own);
            });
        // A record with less is as good: it is what this host gives out after a start without the store.
        drop(kept);
    }

    /// Knows at once which blocks a network came with.
    pub(crate) fn learn_blocks(&self, member: &Member, place: &Seated) {
        // Otherwise the watch tells it.
        for page in member
            .store()
            .list(&pages_prefix(&place.record.id))
            .unwrap_or_default()
        {
            member.learn_now(page);
        }
        self.settle_blocks(member, place);
    }

    /// Puts a page where all hosts see it, with whatever else is to happen at once.
    pub(crate) fn write_page(
        &self,
        member: &Member,
        place: &Seated,
        page: WritePage,
        more: &[Change],
    ) -> Result<Written, StoreError> {
        hold_nothing();
        let change = Change::encode(&page.key, &page.record, expected(Some(page.before)))?;
        let value = change.value.clone();
        let changes = [&[change], more].concat();
        let written = match member.store().transact(&changes) {
            Ok(revision) => {
                if let Some(value) = value {
                    member.learn_now(agent_store::Entry {
                        key: page.key,
                        value,
                        revision,
                    });
                }
                Written::Yes
            }
            Err(
                StoreError::Exists { .. } | StoreError::Changed { .. } | StoreError::Missing { .. },
            ) => {
                match member.store().get(&page.key)? {
                    Some(entry) => member.learn_now(entry),
                    // The network has gone.
                    None => return Err(StoreError::Missing { key: page.key }),
                }
                Written::No
            }
            Err(error) => return Err(error),
        };
        self.settle_blocks(member, place);
        Ok(written)
    }

    /// Takes the blocks that this host wants, gives back what it needs no more, and makes sure what became of the others.
    pub(crate) fn tend_blocks(&self, member: &Member, place: &Seated) -> Result<(), StoreError> {
        for _ in 0..TENDED_MAX {
            let host = member.host();
            let next = place.seats.with_pools(|pools, withheld| {
                pools.wake(Instant::now());
                let world = member.world();
                let mut all = both(&world, &place.record);
                all.find_map(|blocks| {
                    if let Some(fence) = withheld.fences(&blocks).into_iter().next() {
                        return Some((fence, None));
                    }
                    let pool = pools.of_family(blocks.subnet().addr().is_ipv4())?;
                    if let Some(block) = wanted(&blocks, pool, host) {
                        return Some((blocks.take(block, host), None));
                    }
                    let block = surplus(&blocks, pool, host)?;
                    withheld.hold_back(pools, &blocks, block);
                    Some((blocks.give(block, None), Some(block)))
                })
            });
            let Some((page, given)) = next else {
                return Ok(());
            };
            if let Some(given) = given {
                self.give(member, place, given, page, &[])?;
            } else {
                self.write_page(member, place, page, &[])?;
            }
        }
        Ok(())
    }

    /// Gives a part away that is withheld already: nothing of it is given out from the moment that this is on disk.
    pub(crate) fn give(
        &self,
        member: &Member,
        place: &Seated,
        part: IpNet,
        page: WritePage,
        more: &[Change],
    ) -> Result<Written, StoreError> {
        let own = place.seats.with_pools(|pools, _| pools.owned());
        let key = blocks_key(&place.record.id);
        self.ground.journal.put(&key, &own).wait()?;
        let written = self.write_page(member, place, page, more)?;
        if matches!(written, Written::No) {
            place
                .seats
                .with_pools(|_, withheld| withheld.take_back(part));
            self.settle_blocks(member, place);
        }
        Ok(written)
    }
}

/// A block of each family for each host that is alive: the pages that come with a new network. The others take theirs when they
/// are back.
pub(crate) fn first_pages(
    member: &Member,
    record: &NetworkRecord,
) -> Result<Vec<WritePage>, CreatePool> {
    let pools = Pools::of(record)?;
    let world = member.world();
    let pages = both(&world, record).flat_map(|blocks| {
        let members = blocks.members().keys();
        let is_alive = |host: &&String| world.contains(&format!("{ALIVE}{host}"));
        let hosts: Vec<_> = members.filter(is_alive).cloned().collect();
        let pool = pools.of_family(blocks.subnet().addr().is_ipv4());
        let first = pool.map(|pool| first_blocks(&blocks, pool, &hosts));
        blocks.assign(&first.unwrap_or_default())
    });
    Ok(pages.collect())
}

/// What a transaction expects of a key.
pub(crate) fn expected(before: Option<Before>) -> Expected {
    match before {
        None => Expected::Anything,
        Some(Before::Absent) => Expected::Absent,
        Some(Before::Written { revision, value }) => Expected::Written { revision, value },
    }
}

/// The keys of a network's pages.
pub(crate) fn pages_prefix(network: &str) -> String {
    format!("{BLOCKS}{network}/")
}

/// The blocks of each of a network's subnets.
pub(crate) fn both<'a>(
    world: &'a World,
    record: &'a NetworkRecord,
) -> impl Iterator<Item = Blocks> + 'a {
    let subnets = record.subnets.iter();
    subnets.map(|subnet| Blocks::of(world, &record.id, subnet.net))
}

/// What a host may write in one go.
const TENDED_MAX: usize = 64;
