//! A manager gives another host what a manager needs.
//!
//! # Theory of operation
//!
//! A host gets the CA's key where an order of promotion names it, or where it is on record as a manager. Both are asked of the
//! store itself, not of a copy of it. Everybody else is refused, logged and counted. So is a host that is to be a manager and is not
//! reached where it would serve ([`crate::doorstep`]).
//!
//! Where the managers run etcd, a host that is to be one gets a place as a learner, which has no vote, so that nothing depends on
//! it until it is in step. A place that nobody has an order for any more is taken away first: etcd has one learner at a time.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use agent_core::shared::{ALIVE, AliveRecord, DEMOTE, MANAGERS, OrderRecord, PROMOTE};
use agent_store::{ChangeMembers, EtcdMember, EtcdStore, StoreError};

use crate::admission::Admission;
use crate::authority::signing_key;
use crate::doorstep::{NotReached, visit};
use crate::error::UseCluster;
use crate::etcd_access::given_credentials;
use crate::handover::{EtcdGiven, Handover, ManageRequest, PlaceGiven};
use crate::lock::lock;
use crate::settings::{EtcdPeer, peer_url};

/// Why a host gets nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Appoint {
    #[error("no order makes this host a manager; run `tapestry cluster promote` on one")]
    NoOrder,
    #[error("this host has not said where it is")]
    NoPlace,
    #[error("this manager does not speak to the cluster's etcd")]
    NoEtcd,
    #[error(transparent)]
    NotReached(#[from] NotReached),
    #[error(transparent)]
    Members(#[from] ChangeMembers),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cluster(#[from] UseCluster),
}

impl Admission {
    /// For the host that has shown its certificate. May block for some seconds.
    pub(crate) fn hand_over(
        &self,
        host: &str,
        request: &ManageRequest,
    ) -> Result<Handover, Appoint> {
        let is_manager = self.is_manager(host)?;
        let is_ordered = self.is_ordered(host)?;
        if !is_manager && !is_ordered {
            let times = self.keys_denied.fetch_add(1, Ordering::Relaxed) + 1;
            // Nobody fills the log.
            if times.is_power_of_two() {
                tracing::warn!(
                    host,
                    times,
                    "a member asked for the CA's key without an order"
                );
            }
            return Err(Appoint::NoOrder);
        }
        let authority = self.authority();
        let certificate = request
            .ca
            .as_ref()
            .unwrap_or(&authority.record().certificate);
        let ca_key = signing_key(&self.files, certificate)?;
        let place = match is_ordered && request.ca.is_none() {
            true => Some(self.make_place(host, request.word.as_deref())?),
            false => None,
        };
        tracing::info!(host, "a manager was given the CA's key");
        Ok(Handover {
            ca_key,
            ca: authority.record().clone(),
            place,
        })
    }

    /// Whether a host is on record as a manager, and was not demoted.
    pub(crate) fn is_manager(&self, host: &str) -> Result<bool, StoreError> {
        let has = |kind: &str| {
            let found = self.managed.store.get(&format!("{kind}{host}"));
            found.map(|found| found.is_some())
        };
        Ok(has(MANAGERS)? && !has(DEMOTE)?)
    }

    fn is_ordered(&self, host: &str) -> Result<bool, StoreError> {
        let order = self.managed.store.get(&format!("{PROMOTE}{host}"))?;
        let order: Option<OrderRecord> = order.map(|entry| entry.decode()).transpose()?;
        Ok(order.is_some_and(|order| order.failed.is_none()))
    }

    fn make_place(&self, host: &str, word: Option<&str>) -> Result<PlaceGiven, Appoint> {
        let settings = lock(&self.settings).clone();
        let alive = self.managed.store.get(&format!("{ALIVE}{host}"))?;
        let alive: AliveRecord = alive.ok_or(Appoint::NoPlace)?.decode()?;
        let address = SocketAddr::new(alive.address, settings.signer.port());
        if let Some(word) = word {
            visit(address, word, settings.duty.etcd_managed)?;
        }
        let etcd = match settings.duty.etcd_managed {
            false => EtcdGiven::Outside {
                credentials: given_credentials(&self.options, &self.files)?,
                urls: settings.duty.etcd,
            },
            true => {
                let etcd = self.etcd_store.as_ref().ok_or(Appoint::NoEtcd)?;
                self.place_learner(etcd, host, &peer_url(address))?
            }
        };
        Ok(PlaceGiven { address, etcd })
    }

    fn place_learner(&self, etcd: &EtcdStore, host: &str, url: &str) -> Result<EtcdGiven, Appoint> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let others = self.others_ordered(host)?;
            for member in etcd.members()? {
                if is_left_over(&member, (host, url), others) {
                    etcd.remove_member(member.id)?;
                }
            }
            match etcd.add_learner(url) {
                Ok(id) => {
                    let members = etcd.members()?;
                    let members = members.iter().filter_map(|member| peer(member, (id, host)));
                    return Ok(EtcdGiven::Member {
                        members: members.collect(),
                    });
                }
                // Those that were promoted last are connected for long enough soon.
                Err(
                    ChangeMembers::Unhealthy | ChangeMembers::Busy | ChangeMembers::JustRemoved,
                ) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether an order makes another host a manager just now.
    fn others_ordered(&self, host: &str) -> Result<bool, StoreError> {
        let own = format!("{PROMOTE}{host}");
        let orders = self.managed.store.list(PROMOTE)?;
        Ok(orders.iter().any(|order| {
            let pending = order.decode::<OrderRecord>();
            order.key != own && pending.is_ok_and(|order| order.failed.is_none())
        }))
    }
}

/// Whether a member of etcd stands in the way of the host that is to be one at `url`: its own place of a try before, or a
/// learner's that nobody has an order for.
fn is_left_over(member: &EtcdMember, (host, url): (&str, &str), others_ordered: bool) -> bool {
    let is_own = member.name == host || member.peer_urls.iter().any(|known| known == url);
    is_own || (member.is_learner && !others_ordered)
}

/// As etcd wants its members listed. Where one has no name yet, any will do.
fn peer(member: &EtcdMember, (id, host): (u64, &str)) -> Option<EtcdPeer> {
    let name = match (member.id == id, member.name.is_empty()) {
        (true, _) => host.to_owned(),
        (false, true) => format!("member-{:x}", member.id),
        (false, false) => member.name.clone(),
    };
    let url = member.peer_urls.first()?.clone();
    Some(EtcdPeer { name, url })
}

/// Less than the host that asks waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str, url: &str, is_learner: bool) -> EtcdMember {
        EtcdMember {
            id,
            name: name.into(),
            peer_urls: vec![url.into()],
            is_learner,
        }
    }

    #[test]
    fn places_of_tries_before_are_taken_away_and_no_others() {
        let asks = ("b", "https://192.0.2.2:4792");
        let own = member(2, "", asks.1, true);
        let moved = member(2, "b", "https://192.0.2.9:4792", false);
        let voter = member(1, "a", "https://192.0.2.1:4792", false);
        let learner = member(3, "", "https://192.0.2.3:4792", true);
        for others_ordered in [true, false] {
            assert!(is_left_over(&own, asks, others_ordered));
            assert!(is_left_over(&moved, asks, others_ordered));
            assert!(!is_left_over(&voter, asks, others_ordered));
            assert_eq!(
                is_left_over(&learner, asks, others_ordered),
                !others_ordered
            );
        }
    }

    #[test]
    fn every_member_is_listed_with_some_name() {
        let own = peer(&member(2, "", "u2", true), (2, "b")).unwrap();
        assert_eq!((own.name.as_str(), own.url.as_str()), ("b", "u2"));
        assert_eq!(
            peer(&member(1, "a", "u1", false), (2, "b")).unwrap().name,
            "a"
        );
        let nameless = peer(&member(10, "", "u3", false), (2, "b")).unwrap();
        assert_eq!(nameless.name, "member-a");
    }
}
