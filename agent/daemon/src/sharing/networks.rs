//! Networks of the cluster: made and removed for all hosts at once. What is written is said in [`agent_core::shared::networks`].

use agent_cluster::{
    ADDRESSES, ALIVE, ASKS, FOLLOWED, HOSTS, Member, NAMES, NETWORKS, REVOKED, VNIS,
};
use agent_core::network::CreateNetwork;
use agent_core::record::NetworkRecord;
use agent_core::shared::asks::Ask;
use agent_core::shared::networks::{self, Rest, Write};
use agent_core::shared::{Entry, NETWORKS_MADE, World};
use agent_store::{Change, Expected, Pause, StoreError};

use super::blocks::{expected, pages_prefix};

/// What a network is planned by: what the cluster has of networks, and when VNIs have rested.
pub(crate) struct Known {
    pub(crate) world: World,
    pub(crate) rest: Rest,
}

/// Does what `plan` says, by what is known here; where another host was faster, by what the store has then. Asks etcd.
pub(crate) fn decide<T>(
    member: &Member,
    mut plan: impl FnMut(&Known) -> Result<(T, Vec<Write>), CreateNetwork>,
) -> Result<T, CreateNetwork> {
    let mut pause = Pause::default();
    let mut known = known(member);
    for attempt in 0..ATTEMPTS_MAX {
        match plan(&known) {
            Ok((done, writes)) if writes.is_empty() => return Ok(done),
            Ok((done, writes)) => match member.store().transact(&changes(writes)) {
                Ok(_) => return Ok(done),
                Err(
                    StoreError::Exists { .. }
                    | StoreError::Changed { .. }
                    | StoreError::Missing { .. },
                ) => {}
                Err(error) => return Err(CreateNetwork::Store(error.to_string())),
            },
            // What is known here may be a moment old.
            Err(error) if attempt == 0 && !error.is_of_store() => {}
            Err(error) => return Err(error),
        }
        if attempt > 0 {
            std::thread::sleep(pause.take());
        }
        known.world = read(member).map_err(|error| CreateNetwork::Store(error.to_string()))?;
    }
    Err(CreateNetwork::Race)
}

/// Takes a network from all hosts. Asks etcd.
pub(crate) fn unshare_network(
    member: &Member,
    record: &NetworkRecord,
) -> Result<(), CreateNetwork> {
    decide(member, |known| {
        let writes = networks::remove(&known.world, record, known.rest.now_s)?;
        Ok(((), writes))
    })?;
    // Where the store had lost it, another host may have put it back meanwhile.
    let key = format!("{NETWORKS}{}", record.id);
    let left = member.store().get(&key);
    if left.is_ok_and(|left| left.is_some()) {
        return Err(CreateNetwork::Race);
    }
    // It is gone; what is left of it goes with the next beginning.
    if let Err(error) = forget_addresses(member, record) {
        tracing::warn!(network = record.name, %error, "blocks of a removed network are left for now");
        member.say_again();
    }
    Ok(())
}

/// Puts a network back that the store has lost: as it was, but for its VNI where that is another's by now. Asks etcd.
pub(crate) fn put_network_back(
    member: &Member,
    record: &NetworkRecord,
) -> Result<NetworkRecord, CreateNetwork> {
    decide(member, |known| {
        // Another host may have been faster.
        let key = format!("{NETWORKS}{}", record.id);
        match known.world.find::<NetworkRecord>(&key) {
            Some((back, _)) => Ok((back, Vec::new())),
            None => networks::put_back(&known.world, record, known.rest),
        }
    })
}

fn forget_addresses(member: &Member, record: &NetworkRecord) -> Result<(), StoreError> {
    let store = member.store();
    let mut held = store.list(&pages_prefix(&record.id))?;
    held.extend(store.list(&format!("{ADDRESSES}{}/", record.id))?);
    held.extend(store.list(ASKS)?.into_iter().filter(|entry| {
        let ask = Ask::of_key(&entry.key);
        ask.is_some_and(|ask| ask.network == record.id)
    }));
    for some in held.chunks(CHANGES_MAX) {
        let deletions = some
            .iter()
            .map(|entry| Change::delete(&entry.key, Expected::Anything));
        store.transact(&deletions.collect::<Vec<_>>())?;
    }
    Ok(())
}

fn changes(writes: Vec<Write>) -> Vec<Change> {
    let change = |write: Write| Change {
        key: write.key,
        expected: expected(write.before),
        value: write.value,
        lease: None,
    };
    writes.into_iter().map(change).collect()
}

fn known(member: &Member) -> Known {
    let kinds = [HOSTS, ALIVE, REVOKED, FOLLOWED];
    let of_networks = [NETWORKS_MADE, NETWORKS, NAMES, VNIS];
    let world = member.world();
    let entries = kinds
        .iter()
        .chain(&of_networks)
        .flat_map(|kind| under(&world, kind));
    Known {
        world: World::of(entries.collect()),
        rest: member.rest(),
    }
}

/// The same with networks as the store has them. The digest is read first: if it is still so when something is written, no
/// network came after it was read.
fn read(member: &Member) -> Result<World, StoreError> {
    let store = member.store();
    let mut entries: Vec<_> = store.get(NETWORKS_MADE)?.into_iter().collect();
    for kind in [NETWORKS, NAMES, VNIS, FOLLOWED] {
        entries.extend(store.list(kind)?);
    }
    let mut entries: Vec<_> = entries.into_iter().map(as_known).collect();
    let world = member.world();
    for kind in [HOSTS, ALIVE, REVOKED] {
        entries.extend(under(&world, kind));
    }
    Ok(World::of(entries))
}

fn under<'w>(world: &'w World, kind: &'w str) -> impl Iterator<Item = Entry> + 'w {
    world.entries_under(kind).map(|(_, entry)| entry.clone())
}

fn as_known(entry: agent_store::Entry) -> Entry {
    Entry {
        key: entry.key,
        value: entry.value,
        revision: entry.revision,
    }
}

/// Of several hosts that make networks at one moment, each time one is done.
const ATTEMPTS_MAX: usize = 64;
/// Of one transaction; etcd takes 128.
const CHANGES_MAX: usize = 64;
