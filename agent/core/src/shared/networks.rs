//! Networks of the cluster in the store: who may make one, how one goes, and when its VNI may be another's.
//!
//! # Theory of operation
//!
//! A network's identity is its id, which is never given twice. Its name and its VNI are keys that one network has at a time, and its
//! subnets lie apart from those of the others. Two hosts that make networks at one moment must not both get what only one can
//! have. Names and VNIs are keys of their own, so the store sees to them; subnets overlap without being equal, so that no key of
//! theirs could. Therefore every creation rewrites one key, [`NETWORKS_MADE`], and says at which revision it read that: of several
//! creations at one moment one is done, and the others look at the world again. A claim for each prefix would not do: it takes 32
//! keys to say that no shorter prefix covers an address. What is written there is a digest of all creations so far, since the
//! store may be set back between a host's plan and its transaction: then revisions come again, and a count would too, but
//! not that digest.
//!
//! A VNI is all that a frame says of its network. While one host still takes VNI 4096 for the old network, no other may send
//! frames of a new one by it. So the key of a VNI stays when its network goes: as a *tombstone*, which says that the network was
//! removed. It may be overwritten when it has [rested](Rest) and every member has [followed](to_acknowledge) the store to it.
//!
//! The tombstone has a second use. A network that is not in the store any more, and has no tombstone there, was not removed: the
//! store was set back to an older state. Then whoever has the network [puts it back](put_back).

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switch_core::Vni;

use super::before::Before;
use super::checks::check_network;
use super::vnis::tombstones;
pub use super::vnis::{VniRecord, removed};
use super::{
    ALIVE, AliveRecord, Entry, FOLLOWED, HOSTS, HostRecord, NAMES, NETWORKS, NETWORKS_MADE,
    REVOKED, VNIS, World,
};
use crate::ipam::{SubnetInUse, check_free};
use crate::network::CreateNetwork;
use crate::record::NetworkRecord;

/// How far a host has followed the store, by key `followed/<host>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowedRecord {
    /// Of the newest tombstone whose network the host has no more.
    pub revision: u64,
}

/// One key's part of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub key: String,
    /// `None`: whatever there is.
    pub before: Option<Before>,
    /// `None` deletes.
    pub value: Option<Value>,
}

/// Now, and how long a VNI rests after its network was removed.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// Since 1970.
    pub now_s: u64,
    pub length: Duration,
}

/// Whether a network may have a VNI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VniState {
    /// If its key is so.
    Free(Before),
    /// By id.
    Taken(String),
    /// Of a network that was removed.
    Resting {
        for_s: u64,
        /// Members that may have the old network still, by name.
        awaited: Vec<String>,
    },
}

/// What makes `record` a network of the cluster, if all that the world says is so: with the VNI that is `wished` for, or a free one.
/// Returns the record as it is written.
pub fn create(
    world: &World,
    mut record: NetworkRecord,
    wished: Option<u32>,
    rest: Rest,
) -> Result<(NetworkRecord, Vec<Write>), CreateNetwork> {
    let name_key = format!("{NAMES}{}", record.name);
    if world.contains(&name_key) {
        return Err(CreateNetwork::NameTaken(record.name));
    }
    check_apart(world, &record)?;
    let (vni, before) = match wished {
        Some(vni) => (vni, wished_vni(world, vni, rest)?),
        None => free_vni(world, rest).ok_or(CreateNetwork::NoVni)?,
    };
    if let Some(overlay) = &mut record.overlay {
        overlay.vni = vni;
    }
    let vni_record = VniRecord {
        network: record.id.clone(),
        removed_s: None,
    };
    let made = world.entry(NETWORKS_MADE);
    let digest = digest_with(made, &record.id);
    let made = made.map_or(Before::Absent, Before::of);
    let network_key = format!("{NETWORKS}{}", record.id);
    let writes = vec![
        put(name_key, &record.id, Before::Absent)?,
        put(format!("{VNIS}{vni}"), &vni_record, before)?,
        put(network_key, &record, Before::Absent)?,
        // The last one: who has heard of this has heard of the network.
        put(NETWORKS_MADE.to_owned(), &digest, made)?,
    ];
    Ok((record, writes))
}

/// Refuses a network that is malformed, or has what another one has. For whoever decides on the writes of [`create`].
pub fn check_new(
    world: &World,
    id: &str,
    record: &NetworkRecord,
    rest: Rest,
) -> Result<(), CreateNetwork> {
    check_network(id, record).map_err(|error| CreateNetwork::Record(error.to_string()))?;
    let vni = record.overlay.as_ref().map(|overlay| overlay.vni);
    create(world, record.clone(), vni, rest).map(drop)
}

/// What takes a network out of the cluster, as far as its keys are still its own: its name and its VNI may be another's, in a store
/// that was set back. Nothing where it is not there.
pub fn remove(
    world: &World,
    record: &NetworkRecord,
    now_s: u64,
) -> Result<Vec<Write>, CreateNetwork> {
    let network_key = format!("{NETWORKS}{}", record.id);
    let Some((present, network)) = found::<NetworkRecord>(world, &network_key) else {
        return Ok(Vec::new());
    };
    let mut writes = Vec::new();
    let vni = present.overlay.as_ref().map(|overlay| overlay.vni);
    let vni_key = format!("{VNIS}{}", vni.unwrap_or_default());
    if let Some((owner, vni)) = found::<VniRecord>(world, &vni_key)
        && owner.network == record.id
    {
        let tombstone = VniRecord {
            network: owner.network,
            removed_s: Some(now_s),
        };
        // The first one: who hears that the network is gone has heard that it was removed.
        writes.push(put(vni_key, &tombstone, Before::of(vni))?);
    }
    let name_key = format!("{NAMES}{}", present.name);
    if let Some((id, name)) = found::<String>(world, &name_key)
        && id == record.id
    {
        writes.push(delete(name));
    }
    writes.push(delete(network));
    Ok(writes)
}

/// Whether the store says that a network was removed.
pub fn was_removed(world: &World, record: &NetworkRecord) -> bool {
    removed(world).any(|id| id == record.id)
}

/// What brings a network back that the store has lost: with the VNI that it had, or another one where that is taken by now.
pub fn put_back(
    world: &World,
    record: &NetworkRecord,
    rest: Rest,
) -> Result<(NetworkRecord, Vec<Write>), CreateNetwork> {
    let vni = record.overlay.as_ref().map(|overlay| overlay.vni);
    let again = create(world, record.clone(), vni, rest);
    match again {
        Err(CreateNetwork::VniTaken { .. } | CreateNetwork::VniResting { .. }) => {
            create(world, record.clone(), None, rest)
        }
        again => again,
    }
}

/// Whose a VNI is.
pub fn vni_state(world: &World, vni: u32, rest: Rest) -> VniState {
    let key = format!("{VNIS}{vni}");
    let Some(entry) = world.entry(&key) else {
        return VniState::Free(Before::Absent);
    };
    let Ok(owner) = entry.decode::<VniRecord>() else {
        return VniState::Taken(String::new());
    };
    let Some(removed_s) = owner.removed_s else {
        return VniState::Taken(owner.network);
    };
    let awaited = awaited(world, entry);
    let rested_s = rest.now_s.saturating_sub(removed_s);
    let for_s = rest.length.as_secs().saturating_sub(rested_s);
    match for_s == 0 && awaited.is_empty() {
        true => VniState::Free(Before::of(entry)),
        false => VniState::Resting { for_s, awaited },
    }
}

/// What tells the others that `host` has followed the store to the newest tombstone. Only for a host that has none of the networks
/// any more. Nothing where they know.
pub fn to_acknowledge(world: &World, host: &str) -> Option<(FollowedRecord, String)> {
    let key = format!("{FOLLOWED}{host}");
    let followed = world.find::<FollowedRecord>(&key);
    let followed = followed.map_or(0, |(followed, _)| followed.revision);
    let newest = tombstones(world).map(|(_, entry)| entry.revision).max()?;
    (newest > followed).then_some((FollowedRecord { revision: newest }, key))
}

/// Members that have not followed to a tombstone, by name.
fn awaited(world: &World, tombstone: &Entry) -> Vec<String> {
    let is_behind = |host: &str| {
        let followed = world.find::<FollowedRecord>(&format!("{FOLLOWED}{host}"));
        followed.is_none_or(|(followed, _)| followed.revision < tombstone.revision)
    };
    let members = world.under::<HostRecord>(HOSTS);
    members
        .filter(|(host, _)| !world.contains(&format!("{REVOKED}{host}")) && is_behind(host))
        .map(|(_, record)| record.name)
        .collect()
}

fn wished_vni(world: &World, vni: u32, rest: Rest) -> Result<Before, CreateNetwork> {
    match vni_state(world, vni, rest) {
        VniState::Free(before) => Ok(before),
        VniState::Taken(id) => {
            let owner = world.find::<NetworkRecord>(&format!("{NETWORKS}{id}"));
            let name = owner.map(|(owner, _)| owner.name).unwrap_or(id);
            Err(CreateNetwork::VniTaken { vni, name })
        }
        VniState::Resting { for_s, awaited } => Err(CreateNetwork::VniResting {
            vni,
            for_s,
            awaited: awaited.join(", "),
        }),
    }
}

/// The lowest that no network has or had lately; low ones are for people who choose.
fn free_vni(world: &World, rest: Rest) -> Option<(u32, Before)> {
    let known: BTreeSet<u32> = world
        .entries_under(VNIS)
        .filter_map(|(vni, _)| vni.parse().ok())
        .collect();
    let mut candidates = (FIRST_VNI..=Vni::MAX).map(|vni| match known.contains(&vni) {
        true => (vni, vni_state(world, vni, rest)),
        false => (vni, VniState::Free(Before::Absent)),
    });
    candidates.find_map(|(vni, state)| match state {
        VniState::Free(before) => Some((vni, before)),
        _ => None,
    })
}

/// Refuses a network whose subnets overlap another one's, or cover a host of the cluster. Those of internal networks may be anybody's:
/// nothing leads there from a host.
pub fn check_apart(world: &World, record: &NetworkRecord) -> Result<(), CreateNetwork> {
    if record.internal {
        return Ok(());
    }
    let in_use = in_use(world, &record.id);
    for subnet in &record.subnets {
        check_free(subnet.net, &in_use)?;
    }
    Ok(())
}

/// Subnets of the cluster's networks but `own` that are not internal, and where its hosts are.
pub fn in_use(world: &World, own: &str) -> Vec<SubnetInUse> {
    let networks = world.under::<NetworkRecord>(NETWORKS);
    let others = networks.filter(|(id, other)| *id != own && !other.internal);
    let subnets = others.flat_map(|(_, other)| {
        let by = format!("network {:?} of the cluster", other.name);
        let subnets = other.subnets.into_iter();
        subnets.map(move |subnet| SubnetInUse {
            subnet: subnet.net,
            by: by.clone(),
        })
    });
    subnets.chain(hosts(world)).collect()
}

/// Where the cluster's hosts are.
pub fn hosts(world: &World) -> Vec<SubnetInUse> {
    let members = world.under::<HostRecord>(HOSTS).flat_map(|(id, host)| {
        let alive = world.find::<AliveRecord>(&format!("{ALIVE}{id}"));
        let now = alive.map(|(alive, _)| alive.address);
        let places: BTreeSet<_> = now.into_iter().chain([host.address]).collect();
        places.into_iter().map(move |address| SubnetInUse {
            subnet: address.into(),
            by: format!("host {:?}", host.name),
        })
    });
    members.collect()
}

/// The digest of all creations before, which is what the entry says, and of one more.
fn digest_with(made: Option<&Entry>, id: &str) -> u64 {
    let mut digest = DefaultHasher::new();
    made.and_then(|made| made.value.as_u64()).hash(&mut digest);
    id.hash(&mut digest);
    digest.finish()
}

/// A key of its type, as it is written.
fn found<'w, T: DeserializeOwned>(world: &'w World, key: &str) -> Option<(T, &'w Entry)> {
    let entry = world.entry(key)?;
    Some((entry.decode().ok()?, entry))
}

fn put<T: Serialize>(key: String, value: &T, before: Before) -> Result<Write, CreateNetwork> {
    let value = serde_json::to_value(value);
    Ok(Write {
        value: Some(value.map_err(|error| CreateNetwork::Record(error.to_string()))?),
        before: Some(before),
        key,
    })
}

fn delete(known: &Entry) -> Write {
    Write {
        key: known.key.clone(),
        before: Some(Before::of(known)),
        value: None,
    }
}

const FIRST_VNI: u32 = 4096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::Moment;
    use super::*;
    use crate::name::id_of;
    use crate::record::{Encap, OverlayRecord};
    use crate::sample;

    /// A store with revisions, as `agent-store` promises it.
    #[derive(Clone, Default)]
    struct Store {
        entries: BTreeMap<String, Entry>,
        revision: u64,
    }

    impl Store {
        fn transact(&mut self, writes: Vec<Write>) -> Result<(), String> {
            for write in &writes {
                let present = self.entries.get(&write.key);
                let is_so = |before: &Before| before.is_so(present);
                if !write.before.as_ref().is_none_or(is_so) {
                    return Err(write.key.clone());
                }
            }
            self.revision += 1;
            for Write { key, value, .. } in writes {
                match value {
                    Some(value) => drop(self.entries.insert(
                        key.clone(),
                        Entry {
                            key,
                            value,
                            revision: self.revision,
                        },
                    )),
                    None => drop(self.entries.remove(&key)),
                }
            }
            Ok(())
        }

        fn set(&mut self, key: &str, value: Value) {
            let write = Write {
                key: key.to_owned(),
                before: None,
                value: Some(value),
            };
            self.transact(vec![write]).unwrap();
        }

        fn world(&self) -> World {
            let mut world = World::default();
            #[expect(clippy::disallowed_methods, reason = "any moment will do")]
            let now = std::time::Instant::now();
            let entries = self.entries.values().cloned().collect();
            world.replace(entries, &Moment::alone(now));
            world
        }

        fn member(&mut self, host: &str) {
            let record = json!({"name": host, "address": "192.0.2.1", "joined_s": 1});
            self.set(&format!("{HOSTS}{host}"), record);
        }

        fn acknowledge(&mut self, host: &str) {
            if let Some((followed, key)) = to_acknowledge(&self.world(), host) {
                self.set(&key, serde_json::to_value(followed).unwrap());
            }
        }

        fn create(&mut self, record: NetworkRecord) -> NetworkRecord {
            let (record, writes) = create(&self.world(), record, None, at(0)).unwrap();
            self.transact(writes).unwrap();
            record
        }

        fn remove(&mut self, record: &NetworkRecord, now_s: u64) {
            let writes = remove(&self.world(), record, now_s).unwrap();
            self.transact(writes).unwrap();
        }
    }

    fn at(now_s: u64) -> Rest {
        Rest {
            now_s,
            length: Duration::from_secs(600),
        }
    }

    fn network(number: u8, subnet: &str) -> NetworkRecord {
        NetworkRecord {
            id: id_of([number; 32]),
            driver: agent_api::Driver::Overlay,
            overlay: Some(OverlayRecord {
                vni: 0,
                encap: Encap::Quic,
                remotes: Vec::new(),
            }),
            ..sample::network(&format!("n{number}"), &[subnet])
        }
    }

    fn vni_of(record: &NetworkRecord) -> u32 {
        record.overlay.as_ref().unwrap().vni
    }

    #[test]
    fn of_creations_at_one_moment_one_is_done() {
        let mut store = Store::default();
        let world = store.world();
        let one = create(&world, network(1, "10.9.0.0/16"), Some(5000), at(0)).unwrap();
        let two = create(&world, network(2, "10.9.5.0/24"), Some(5001), at(0)).unwrap();
        store.transact(one.1).unwrap();
        assert_eq!(store.transact(two.1), Err(NETWORKS_MADE.to_owned()));
        let again = create(&store.world(), network(2, "10.9.5.0/24"), Some(5001), at(0));
        let refused = again.unwrap_err();
        assert!(refused.to_string().contains("10.9.0.0/16"), "{refused}");
        let apart = create(&store.world(), network(2, "10.8.0.0/24"), Some(5001), at(0));
        store.transact(apart.unwrap().1).unwrap();
    }

    #[test]
    fn what_was_planned_before_the_store_was_set_back_is_not_done_after_it() {
        let mut store = Store::default();
        store.create(network(1, "10.7.0.0/24"));
        let snapshot = store.clone();
        store.create(network(2, "10.8.0.0/24"));
        let planned = create(&store.world(), network(3, "10.9.5.0/24"), None, at(0)).unwrap();
        // As many networks by as many transactions, and not the same ones.
        let mut store = snapshot;
        store.create(network(4, "10.9.0.0/16"));
        assert_eq!(store.transact(planned.1), Err(NETWORKS_MADE.to_owned()));
    }

    #[test]
    fn a_name_a_vni_and_a_subnet_are_one_networks() {
        let mut store = Store::default();
        store.member("node-1");
        let taken = store.create(network(1, "10.9.0.0/24"));
        let world = store.world();
        let refused = |record: NetworkRecord, vni| {
            let refused = create(&world, record, vni, at(0)).unwrap_err();
            refused.to_string()
        };
        let named = NetworkRecord {
            name: taken.name.clone(),
            ..network(2, "10.8.0.0/24")
        };
        assert!(refused(named, None).contains("n1"));
        let said = refused(network(2, "10.8.0.0/24"), Some(vni_of(&taken)));
        assert!(said.contains("n1"), "{said}");
        let said = refused(network(2, "10.0.0.0/8"), None);
        assert!(said.contains("10.9.0.0/24"), "{said}");
        let said = refused(network(2, "192.0.2.0/24"), None);
        assert!(said.contains("host \"node-1\""), "{said}");
        // Nothing leads into an internal network.
        let internal = NetworkRecord {
            internal: true,
            ..network(2, "10.9.0.0/24")
        };
        let id = internal.id.clone();
        assert!(create(&world, internal.clone(), None, at(0)).is_ok());
        let made_up = NetworkRecord {
            mtu: 1,
            overlay: taken.overlay,
            ..internal
        };
        assert!(check_new(&world, &id, &made_up, at(0)).is_err());
    }

    #[test]
    fn a_vni_rests_until_its_time_is_over_and_every_member_has_followed() {
        let mut store = Store::default();
        store.member("a");
        store.member("b");
        let old = store.create(network(1, "10.9.0.0/24"));
        let vni = vni_of(&old);
        store.remove(&old, 1000);
        store.acknowledge("a");
        let state = |store: &Store, now_s| vni_state(&store.world(), vni, at(now_s));
        let resting = |for_s, awaited: &[&str]| VniState::Resting {
            for_s,
            awaited: awaited.iter().map(|host| (*host).to_owned()).collect(),
        };
        assert_eq!(state(&store, 1010), resting(590, &["b"]));
        assert_eq!(state(&store, 9999), resting(0, &["b"]));
        // The next network gets another one, and who wishes for it is told why not.
        let next = store.create(network(2, "10.9.0.0/24"));
        assert_ne!(vni_of(&next), vni);
        let wish = create(
            &store.world(),
            network(3, "10.8.0.0/24"),
            Some(vni),
            at(9999),
        );
        let refused = wish.unwrap_err().to_string();
        assert!(refused.contains('b'), "{refused}");
        // Of a host that is gone for good nobody waits for a word.
        let mut without = store.clone();
        without.entries.remove(&format!("{HOSTS}b"));
        assert!(matches!(state(&without, 9999), VniState::Free(_)));
        store.acknowledge("b");
        assert_eq!(state(&store, 1010), resting(590, &[]));
        let VniState::Free(before) = state(&store, 1600) else {
            panic!("it has rested")
        };
        assert!(matches!(before, Before::Written { .. }));
        let (again, writes) =
            create(&store.world(), network(3, "10.8.0.0/24"), None, at(1600)).unwrap();
        assert_eq!(vni_of(&again), vni);
        store.transact(writes).unwrap();
        assert!(!was_removed(&store.world(), &old));
        assert_eq!(to_acknowledge(&store.world(), "a"), None);
    }

    #[test]
    fn a_removal_takes_no_key_of_another_network() {
        let mut store = Store::default();
        let one = store.create(network(1, "10.9.0.0/24"));
        // As after a store was set back: both keys are another network's.
        let other = id_of([9; 32]);
        store.set(&format!("{NAMES}{}", one.name), json!(other));
        store.set(&format!("{VNIS}{}", vni_of(&one)), json!(other));
        store.remove(&one, 5);
        let world = store.world();
        assert!(!world.contains(&format!("{NETWORKS}{}", one.id)));
        assert!(world.contains(&format!("{NAMES}{}", one.name)));
        assert_eq!(
            vni_state(&world, vni_of(&one), at(5)),
            VniState::Taken(other)
        );
        assert_eq!(remove(&world, &one, 5).unwrap(), []);
    }

    #[test]
    fn a_store_that_was_set_back_gets_back_what_nobody_removed() {
        let mut store = Store::default();
        let old = store.create(network(1, "10.9.0.0/24"));
        let snapshot = store.clone();
        store.remove(&old, 0);
        let removed = store.world();
        assert!(was_removed(&removed, &old));
        let reused = create(&removed, network(2, "10.8.0.0/24"), None, at(600)).unwrap();
        let new = reused.0;
        assert_eq!(vni_of(&new), vni_of(&old));

        let mut store = snapshot;
        assert!(!was_removed(&store.world(), &new));
        let (back, writes) = put_back(&store.world(), &new, at(600)).unwrap();
        store.transact(writes).unwrap();
        assert_ne!(vni_of(&back), vni_of(&old), "each has a VNI of its own");
        assert_eq!((back.id, back.name), (new.id.clone(), new.name.clone()));
        let world = store.world();
        for record in [
            &old,
            &world.find(&format!("{NETWORKS}{}", new.id)).unwrap().0,
        ] {
            let owner = vni_state(&world, vni_of(record), at(600));
            assert_eq!(owner, VniState::Taken(record.id.clone()));
        }
        // And with its VNI, where that is free.
        let mut empty = Store::default();
        let (back, writes) = put_back(&empty.world(), &new, at(600)).unwrap();
        empty.transact(writes).unwrap();
        assert_eq!(vni_of(&back), vni_of(&new));
    }

    #[test]
    fn an_older_agents_key_of_a_vni_is_understood() {
        let owner: VniRecord = serde_json::from_value(json!("abc")).unwrap();
        assert_eq!((owner.network.as_str(), owner.removed_s), ("abc", None));
        let tombstone = VniRecord {
            removed_s: Some(7),
            ..owner
        };
        let written = serde_json::to_value(&tombstone).unwrap();
        assert_eq!(
            serde_json::from_value::<VniRecord>(written).unwrap(),
            tombstone
        );
    }
}
