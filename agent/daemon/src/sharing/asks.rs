//! Addresses that other hosts are asked for, and what they are told.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use agent_cluster::{ALIVE, ASKS, AskRecord, Member, Session};
use agent_core::shared::Entry;
use agent_core::shared::asks::Ask;
use agent_core::shared::before::Before;
use agent_core::shared::blocks::{Blocks, WritePage};
use agent_core::shared::holdings::{Way, Wish, holders, part_to_give, way};
use agent_core::shared::others::name_of;
use agent_store::{Change, Expected, StoreError};
use ipnet::IpNet;

use super::Sharing;
use super::blocks::{Written, both, expected, pages_prefix};
use crate::locks::{lock, wait_for};
use crate::seats::Seated;

/// Rings when the world is different.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<u64>,
    told: Condvar,
}

/// What came of a wish for addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Obtained {
    /// It is this host's now.
    Own,
    /// The host that owns the address.
    Refused { host: String, is_silent: bool },
    /// Nobody has any; with who has how many.
    Full { holders: String },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Given,
    Refused,
    Silent,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *lock(&self.rung) += 1;
        self.told.notify_all();
    }

    fn rung(&self) -> u64 {
        *lock(&self.rung)
    }

    /// Waits for a ring after that one, or until `patience` is over.
    fn wait(&self, after: u64, patience: Duration) {
        let rung = lock(&self.rung);
        if *rung == after {
            drop(wait_for(&self.told, rung, patience));
        }
    }
}

impl Sharing {
    /// Makes addresses this host's: of what nobody owns, or of another host's that is asked. One at a time in each network.
    pub(crate) fn obtain(
        &self,
        (member, session): (&Member, Session),
        place: &Seated,
        wish: Wish,
    ) -> Result<Obtained, StoreError> {
        let _turn = self.obtaining.take(place.record.id.clone());
        let mut asked: Vec<(String, bool)> = Vec::new();
        for _ in 0..OBTAINED_MAX {
            let (way, page, said) = self.look_for(member, place, wish);
            match way {
                Way::Own => return Ok(Obtained::Own),
                Way::Take(_) => {
                    if let Some(page) = page {
                        self.write_page(member, place, page, &[])?;
                    }
                }
                Way::Ask(hosts) => {
                    let next = hosts
                        .into_iter()
                        .filter(|host| asked.iter().all(|(asked, _)| asked != host))
                        .take(ASKED_MAX.saturating_sub(asked.len()))
                        .next();
                    let Some(host) = next else {
                        return Ok(refusal(member, wish, asked, said));
                    };
                    let answer = self.ask((member, session), place, &host, wish)?;
                    if answer != Answer::Given {
                        asked.push((host, answer == Answer::Silent));
                    }
                    self.settle_blocks(member, place);
                }
            }
        }
        Ok(Obtained::Full {
            holders: "other hosts take them faster".to_owned(),
        })
    }

    /// How this host gets what it wishes for; with the page to write where nobody owns it, and who has how many.
    pub(crate) fn look_for(
        &self,
        member: &Member,
        place: &Seated,
        wish: Wish,
    ) -> (Way, Option<WritePage>, String) {
        let host = member.host();
        place.seats.with_pools(|pools, _| {
            let world = member.world();
            let blocks = both(&world, &place.record)
                .find(|blocks| blocks.subnet().addr().is_ipv4() == wish.is_ipv4());
            let (Some(blocks), Some(pool)) = (blocks, pools.of_family(wish.is_ipv4())) else {
                return (Way::Ask(Vec::new()), None, String::new());
            };
            let way = way(&blocks, &world, pool, host, wish);
            let page = match &way {
                Way::Take(block) => Some(blocks.take(*block, host)),
                Way::Own | Way::Ask(_) => None,
            };
            (way, page, holders(&blocks, pool))
        })
    }

    fn ask(
        &self,
        (member, session): (&Member, Session),
        place: &Seated,
        host: &str,
        wish: Wish,
    ) -> Result<Answer, StoreError> {
        if !member.world().contains(&format!("{ALIVE}{host}")) {
            return Ok(Answer::Silent);
        }
        let ask = Ask {
            asker: member.host().to_owned(),
            network: place.record.id.clone(),
            wish,
        };
        let record = AskRecord {
            host: host.to_owned(),
        };
        let key = ask.key();
        let change = Change::encode(&key, &record, Expected::Anything)?.under(session.lease);
        let before = owned_blocks(member, place);
        member.store().transact(&[change])?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rung = self.bell.rung();
            if owned_blocks(member, place) != before {
                return Ok(Answer::Given);
            }
            if member.store().get(&key)?.is_none() {
                // The answer came with what was given.
                let prefix = pages_prefix(&place.record.id);
                for page in member.store().list(&prefix)? {
                    member.learn_now(page);
                }
                return Ok(match owned_blocks(member, place) != before {
                    true => Answer::Given,
                    false => Answer::Refused,
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                member.store().delete(&key, Expected::Anything)?;
                return Ok(Answer::Silent);
            }
            self.bell.wait(rung, left.min(LOOK_AGAIN));
        }
    }

    /// Answers what another host asks of this one in the entry: gives a part of a block away, or says no.
    pub(crate) fn answer(
        &self,
        member: &Member,
        entry: &Entry,
        place: impl FnOnce(&str) -> Option<Seated>,
    ) -> Result<(), StoreError> {
        let Some(ask) = Ask::of_entry(entry, member.host()) else {
            return Ok(());
        };
        let done = Change::delete(&entry.key, expected(Some(Before::of(entry))));
        let place = place(&ask.network);
        for _ in 0..ANSWERED_MAX {
            let part = place.as_ref().and_then(|place| {
                place.seats.with_pools(|pools, withheld| {
                    let world = member.world();
                    let blocks = both(&world, &place.record).find(|blocks: &Blocks| {
                        blocks.subnet().addr().is_ipv4() == ask.wish.is_ipv4()
                    })?;
                    let pool = pools.of_family(ask.wish.is_ipv4())?;
                    let part = part_to_give(&blocks, pool, member.host(), ask.wish)?;
                    withheld.hold_back(pools, &blocks, part);
                    Some((part, blocks.give(part, Some(&ask.asker))))
                })
            });
            let (Some((part, page)), Some(place)) = (part, &place) else {
                return match member.store().transact(std::slice::from_ref(&done)) {
                    // It was given up meanwhile.
                    Err(StoreError::Changed { .. } | StoreError::Missing { .. }) => Ok(()),
                    done => done.map(drop),
                };
            };
            let written = self.give(member, place, part, page, std::slice::from_ref(&done))?;
            if matches!(written, Written::Yes) {
                tracing::info!(network = place.record.name, block = %part, to = ask.asker, "a block is given to another host");
                return Ok(());
            }
            if member.store().get(&entry.key)?.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Everything that is asked of hosts.
pub(crate) fn open_asks(member: &Member) -> Vec<Entry> {
    let world = member.world();
    let asks = world.entries().filter(|entry| entry.key.starts_with(ASKS));
    asks.cloned().collect()
}

fn refusal(member: &Member, wish: Wish, asked: Vec<(String, bool)>, holders: String) -> Obtained {
    match (wish, asked.into_iter().next()) {
        (Wish::Address(_), Some((host, is_silent))) => Obtained::Refused {
            host: name_of(&member.world(), &host),
            is_silent,
        },
        _ => Obtained::Full { holders },
    }
}

fn owned_blocks(member: &Member, place: &Seated) -> Vec<IpNet> {
    let world = member.world();
    let blocks = both(&world, &place.record);
    let own = blocks.flat_map(|blocks| blocks.of_host(member.host()).collect::<Vec<_>>());
    own.collect()
}

/// How long a host may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// An answer that nobody rings for is seen then.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Hosts that are asked for one address.
const ASKED_MAX: usize = 4;
const OBTAINED_MAX: usize = 256;
const ANSWERED_MAX: usize = 16;
