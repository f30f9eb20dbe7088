//! Networks of the cluster: made and removed for all hosts at once.

use std::collections::BTreeSet;

use agent_cluster::{ADDRESSES, Member, NAMES, NETWORKS, VNIS};
use agent_core::network::CreateNetwork;
use agent_core::record::NetworkRecord;
use agent_store::{Change, Expected, Store, StoreError};
use switch_core::Vni;

use super::claims::CLAIMS_MAX;

/// Puts a network that was just planned where all hosts see it. The VNI is a free one where none is wished for. Asks etcd.
pub(crate) fn share_network(
    member: &Member,
    mut record: NetworkRecord,
    wished: Option<u32>,
) -> Result<NetworkRecord, CreateNetwork> {
    for _ in 0..CLAIMS_MAX {
        let vni = match wished {
            Some(vni) => vni,
            None => free_vni(member),
        };
        if let Some(overlay) = &mut record.overlay {
            overlay.vni = vni;
        }
        let changes = network_changes(&record, vni)?;
        match member.store().transact(&changes) {
            Ok(_) => return Ok(record),
            Err(StoreError::Exists { key }) if key.starts_with(NAMES) => {
                return Err(CreateNetwork::NameTaken(record.name));
            }
            Err(StoreError::Exists { .. }) if wished.is_some() => {
                return Err(vni_taken(member, vni));
            }
            Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(out_of_reach(&record, &error)),
        }
    }
    Err(CreateNetwork::Host {
        name: record.name,
        why: "other hosts are taking VNIs faster; try again".to_owned(),
    })
}

/// Takes a network from all hosts. Asks etcd.
pub(crate) fn unshare_network(member: &Member, record: &NetworkRecord) -> Result<(), StoreError> {
    let vni = record.shared().map(|shared| shared.vni).unwrap_or_default();
    let mut changes = vec![
        Change::delete(format!("{NETWORKS}{}", record.id), Expected::Anything),
        Change::delete(format!("{NAMES}{}", record.name), Expected::Anything),
        Change::delete(format!("{VNIS}{vni}"), Expected::Anything),
    ];
    let store = member.store();
    for entry in store.list(&format!("{ADDRESSES}{}/", record.id))? {
        changes.push(Change::delete(entry.key, Expected::Anything));
    }
    for some in changes.chunks(CHANGES_MAX) {
        store.transact(some)?;
    }
    Ok(())
}

fn network_changes(record: &NetworkRecord, vni: u32) -> Result<Vec<Change>, CreateNetwork> {
    let changes = || -> Result<Vec<Change>, StoreError> {
        Ok(vec![
            Change::encode(
                format!("{NAMES}{}", record.name),
                &record.id,
                Expected::Absent,
            )?,
            Change::encode(format!("{VNIS}{vni}"), &record.id, Expected::Absent)?,
            Change::encode(format!("{NETWORKS}{}", record.id), record, Expected::Absent)?,
        ])
    };
    changes().map_err(|error| out_of_reach(record, &error))
}

/// The lowest that no network has; low ones are for people who choose.
fn free_vni(member: &Member) -> u32 {
    let world = member.world();
    let taken: BTreeSet<u32> = world
        .under::<String>(VNIS)
        .filter_map(|(vni, _)| vni.parse().ok())
        .collect();
    (FIRST_VNI..=Vni::MAX)
        .find(|vni| !taken.contains(vni))
        .unwrap_or(FIRST_VNI)
}

fn vni_taken(member: &Member, vni: u32) -> CreateNetwork {
    let world = member.world();
    let id = world
        .find::<String>(&format!("{VNIS}{vni}"))
        .map(|(id, _)| id);
    let network = id.and_then(|id| world.find::<NetworkRecord>(&format!("{NETWORKS}{id}")));
    CreateNetwork::VniTaken {
        vni,
        name: network.map(|(network, _)| network.name).unwrap_or_default(),
    }
}

fn out_of_reach(record: &NetworkRecord, error: &StoreError) -> CreateNetwork {
    CreateNetwork::Host {
        name: record.name.clone(),
        why: error.to_string(),
    }
}

const FIRST_VNI: u32 = 4096;
/// Of one transaction; etcd takes 128.
const CHANGES_MAX: usize = 64;
