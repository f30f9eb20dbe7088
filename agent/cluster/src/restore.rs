//! Taking up a cluster whose managers are lost, from a backup.
//!
//! # Theory of operation
//!
//! This host becomes the cluster's only manager, with the CA of the backup and an id of its own. It fills its store before it
//! serves members, so that nobody sees half of it. Members know it by the CA, and notice by the record of the cluster that
//! the store is another one: what they have is theirs again, and what was made since the backup they put back.
//!
//! An etcd that was given may have outlived the managers. Then its records stand, being newer than the backup's, and this host
//! is one more manager.
//!
//! Until members reach it, this host goes by the places of the backup: it knows where they were.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agent_core::shared::restoration::{Held, managers, restored};
use agent_core::shared::{
    CLUSTER, ClusterRecord, Entry as Known, HOSTS, HostRecord, MANAGERS, ManagerRecord,
};
use agent_store::{Change, Expected, StoreError};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::authority::Authority;
use crate::backup::Backup;
use crate::ca::{Ca, ca_hash};
use crate::clock::now_s;
use crate::entry::known;
use crate::error::{Refusal, UseCluster};
use crate::files::{Files, WORLD};
use crate::found::{Seat, check_url, empty_files, wait_for_store, way_out};
use crate::identity::pinned_asking;
use crate::manager_port::{AskManager, Reply, Request, ask};
use crate::member::Member;
use crate::place::wanted;
use crate::unrecorded::on_record;
use crate::{ClusterOptions, hex};

/// `cluster restore`.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// What [`Member::backup`] made.
    pub backup: String,
    /// Where other hosts reach this one. Where absent, the address from which this host reaches the outside.
    pub address: Option<IpAddr>,
    /// That of the manager that made the backup where absent.
    pub tcp_port: Option<u16>,
    /// URLs of an etcd that is there already.
    pub etcd: Vec<String>,
    /// Though a manager of the cluster lives.
    pub force: bool,
    /// What this host gives out of networks that the backup may know.
    pub held: Vec<Held>,
}

impl Member {
    /// Makes this host the only manager of the cluster in the backup. A failure leaves nothing behind. Blocks until etcd
    /// answers; where it does not, for some 20 s.
    pub fn restore(
        options: &ClusterOptions,
        request: &RestoreRequest,
        runtime: &Handle,
    ) -> Result<Arc<Self>, UseCluster> {
        let backup = Backup::decode(&request.backup)?;
        for url in &request.etcd {
            check_url(url)?;
        }
        let files = empty_files(options)?;
        if !request.force {
            refuse_living(&backup, runtime)?;
        }
        let member = restore(options, &files, &backup, request, runtime);
        if member.is_err() {
            let _ = files.remove();
        }
        member
    }
}

fn restore(
    options: &ClusterOptions,
    files: &Files,
    backup: &Backup,
    request: &RestoreRequest,
    runtime: &Handle,
) -> Result<Arc<Member>, UseCluster> {
    let port = request.tcp_port.unwrap_or(backup.tcp_port);
    let (address, advertised) = wanted(request.address, way_out, port).ok_or(Refusal::NoWayOut)?;
    let ca = Ca::load(backup.ca.certificate.clone(), &backup.ca_key)?;
    let seat = Seat {
        cluster: backup.cluster.clone(),
        authority: Authority::new(ca, backup.ca.clone()),
        ca_key: backup.ca_key.clone(),
        signer: SocketAddr::new(address, port),
        advertised,
        etcd: request.etcd.clone(),
    };
    let entries: Vec<Known> = backup.entries.iter().cloned().map(known).collect();
    let world = Files::text_of(entries.iter());
    files.write(WORLD, &world.map_err(|error| files.garbled(WORLD, error))?)?;
    let member = seat.take(options, files, runtime)?;
    let filled = member
        .serve_store()
        .and_then(|()| wait_for_store(&member))
        .and_then(|()| fill(&member, &entries, (&request.held, options)))
        .and_then(|()| member.listen());
    if let Err(error) = filled {
        member.stop();
        return Err(error);
    }
    Ok(member)
}

/// Fails where a manager of the cluster answers: a second one with a store of its own would split it.
fn refuse_living(backup: &Backup, runtime: &Handle) -> Result<(), UseCluster> {
    let ca_hash = ca_hash(&backup.ca.certificate)?;
    let entries: Vec<Known> = backup.entries.iter().cloned().map(known).collect();
    let addresses = managers(&entries).filter_map(|host| {
        let key = format!("{MANAGERS}{host}");
        let entry = entries.iter().find(|entry| entry.key == key)?;
        Some(entry.decode::<ManagerRecord>().ok()?.address)
    });
    match living(addresses, ca_hash, runtime)? {
        Some(address) => Err(Refusal::Lives(address).into()),
        None => Ok(()),
    }
}

/// The first of the addresses at which a manager answers, if one does.
pub(crate) fn living(
    addresses: impl Iterator<Item = SocketAddr>,
    ca_hash: [u8; 32],
    runtime: &Handle,
) -> Result<Option<SocketAddr>, UseCluster> {
    let mut asked = JoinSet::new();
    for address in addresses {
        let asking = pinned_asking(ca_hash)?;
        let answers = async move {
            let asking = ask(address, asking, |_| Request::Greet);
            let asked = timeout(ANSWER_LIMIT, asking).await;
            asked.is_ok_and(|asked| is_there(&asked)).then_some(address)
        };
        asked.spawn_on(answers, runtime);
    }
    Ok(runtime.block_on(async {
        while let Some(answered) = asked.join_next().await {
            if let Ok(Some(address)) = answered {
                return Some(address);
            }
        }
        None
    }))
}

/// Whether a manager of the cluster has answered.
const fn is_there(asked: &Result<Reply, AskManager>) -> bool {
    match asked {
        Ok(_)
        | Err(
            AskManager::Rotated
            | AskManager::Clocks(_)
            | AskManager::OutOfDate { .. }
            | AskManager::Refused(_),
        ) => true,
        Err(
            AskManager::Connect { .. } | AskManager::Stranger { .. } | AskManager::BrokeOff { .. },
        ) => false,
    }
}

/// Puts the backup into the store, unless the store has the cluster still.
fn fill(
    member: &Member,
    backup: &[Known],
    means: (&[Held], &ClusterOptions),
) -> Result<(), UseCluster> {
    let store = member.store();
    let present = store.get(CLUSTER)?;
    let present: Option<ClusterRecord> = present.map(|entry| entry.decode()).transpose()?;
    let mut claim = Vec::new();
    match present {
        Some(present) if present.id != member.settings.cluster => {
            return Err(Refusal::ClusterExists.into());
        }
        Some(_) => tracing::info!("the store has the cluster's records still: they stand"),
        None => {
            put_back(member, backup, means)?;
            claim.push(Change::encode(
                CLUSTER,
                &begun_again(member, backup),
                Expected::Absent,
            )?);
        }
    }
    let key = |kind: &str| format!("{kind}{}", member.settings.host);
    let host = HostRecord {
        name: member.settings.name.clone(),
        address: member.told().ip(),
        joined_s: now_s(),
    };
    let manager = ManagerRecord {
        address: member.signer_told(),
    };
    claim.push(Change::encode(key(HOSTS), &host, Expected::Absent)?);
    claim.push(Change::encode(key(MANAGERS), &manager, Expected::Absent)?);
    match store.transact(&claim) {
        Ok(_) => Ok(()),
        // Another host has restored it at this moment.
        Err(StoreError::Exists { .. }) => Err(Refusal::ClusterExists.into()),
        Err(error) => Err(error.into()),
    }
}

fn put_back(
    member: &Member,
    backup: &[Known],
    (held, options): (&[Held], &ClusterOptions),
) -> Result<(), UseCluster> {
    let store = member.store();
    let certificates = store.grant(on_record(options.certificate_lifetime))?;
    let changes: Vec<_> = restored(backup, now_s(), (member.host(), held))
        .into_iter()
        .map(|record| {
            let is_certificate = record.is_certificate();
            let change = Change::put(record.key, record.value, Expected::Anything);
            match is_certificate {
                true => change.under(certificates),
                false => change,
            }
        })
        .collect();
    for some in changes.chunks(CHANGES_MAX) {
        store.transact(some)?;
    }
    Ok(())
}

/// The record of the cluster, by which members notice that its store is another one.
fn begun_again(member: &Member, backup: &[Known]) -> ClusterRecord {
    let before = backup.iter().find(|entry| entry.key == CLUSTER);
    let before = before.and_then(|entry| entry.decode::<ClusterRecord>().ok());
    let before = before.unwrap_or_else(|| ClusterRecord {
        id: String::new(),
        created_s: now_s(),
        restored: None,
        generation: 0,
    });
    ClusterRecord {
        id: member.settings.cluster.clone(),
        ..before.begin_again(hex::encode(&hex::random::<8>()))
    }
}

/// Whoever lives has answered by then.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// Of one transaction; etcd takes 128.
const CHANGES_MAX: usize = 64;
