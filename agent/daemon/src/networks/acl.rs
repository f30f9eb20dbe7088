//! Access lists of networks.
//!
//! # Theory of operation
//!
//! A list is a record of this host beside the network's own, and a [`Policy`] in its bridge. The policy knows who is behind each port;
//! so it is made anew whenever an endpoint comes, or changes what it is called, before the first frame of its port is read
//! ([`Networks::settle_acl`]): until then such a port passes nothing. Those who make it take turns, so that the last one knows all.
//!
//! What the rules counted goes on when the list changes, as far as a rule stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_api::{AclAction, AclAdd, AclRuleView, AclView, ApiError};
use agent_core::acl::{AclRecord, ChangeAcl, Station};
use agent_core::events::Notice;
use agent_core::shared::{ENDPOINTS, EndpointShared};
use switch_core::Mac;
use switch_core::policy::Policy;

use super::{Networks, Place, Segment};
use crate::locks::lock;

/// A network's list, and what its rules have counted before the policy that is in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Acl {
    record: Arc<AclRecord>,
    counted: BTreeMap<u32, u64>,
    counted_default: u64,
}

impl Networks {
    /// Adds a rule, and gives its priority.
    pub(crate) fn add_rule(&self, called: &str, add: &AclAdd) -> Result<u32, ApiError> {
        let mut given = 0;
        let record = self.change_acl(called, |record, network| {
            let (after, priority) = record.with(add, network)?;
            given = priority;
            Ok(after)
        })?;
        let told = Notice::network(&record, "acl-add").with("priority", given);
        self.tell(told.with("rule", &add.rule));
        Ok(given)
    }

    pub(crate) fn remove_rule(&self, called: &str, priority: u32) -> Result<(), ApiError> {
        let record =
            self.change_acl(called, |record, network| record.without(priority, network))?;
        self.tell(Notice::network(&record, "acl-rm").with("priority", priority));
        Ok(())
    }

    pub(crate) fn set_acl_default(&self, called: &str, default: AclAction) -> Result<(), ApiError> {
        let record = self.change_acl(called, |record, _| {
            Ok(AclRecord {
                default,
                ..record.clone()
            })
        })?;
        self.tell(Notice::network(&record, "acl-default").with("action", default));
        Ok(())
    }

    /// The network's list, with what was counted.
    pub(crate) fn acl(&self, called: &str) -> Result<AclView, ApiError> {
        let place = self.find(called)?;
        let acl = self.acl_of(&place.record.id);
        let counted = counted(&acl, policy(&place).as_deref());
        let rules = acl.record.rules.iter().map(|(priority, rule)| AclRuleView {
            priority: *priority,
            text: rule.to_string(),
            rule: rule.clone(),
            hits: counted.0.get(priority).copied().unwrap_or_default(),
        });
        Ok(AclView {
            rules: rules.collect(),
            default: acl.record.default,
            default_hits: counted.1,
        })
    }

    /// What the list's rules decided, by priority, and what none of them did; empty where there is no list.
    pub(super) fn acl_counts(&self, id: &str, segment: &Segment) -> Vec<(Option<u32>, u64)> {
        let Some(policy) = segment.bridge.policy() else {
            return Vec::new();
        };
        let (rules, default) = counted(&self.acl_of(id), Some(&policy));
        let rules = rules
            .into_iter()
            .map(|(priority, hits)| (Some(priority), hits));
        rules.chain([(None, default)]).collect()
    }

    /// The rules of the network with that very id, as they are written.
    pub(super) fn rule_texts(&self, id: &str) -> BTreeMap<u32, String> {
        let acl = self.acl_of(id);
        let rules = acl.record.rules.iter();
        rules
            .map(|(priority, rule)| (*priority, rule.to_string()))
            .collect()
    }

    /// Has the bridge know who is there now. Nothing where the network has no list.
    pub(crate) fn settle_acl(&self, id: &str) {
        if !lock(&self.table).acls.contains_key(id) {
            return;
        }
        let _turn = self.lists.take(id.to_owned());
        if let Some(place) = self.place(id) {
            self.enforce(&place, false);
        }
    }

    /// The list that is on record for a network, before any port of that is read.
    pub(super) fn restore_acl(&self, place: &Place) -> Result<(), agent_store::StoreError> {
        let id = &place.record.id;
        let kept: Option<AclRecord> = self.ground.journal.get(&AclRecord::key(id))?;
        if let Some(record) = kept {
            let acl = Acl {
                record: Arc::new(record),
                ..Acl::default()
            };
            lock(&self.table).acls.insert(id.clone(), acl);
            self.enforce(place, true);
        }
        Ok(())
    }

    /// The network is about to go.
    pub(super) fn forget_acl(&self, id: &str) {
        if lock(&self.table).acls.remove(id).is_some() {
            drop(self.ground.journal.forget(&AclRecord::key(id)));
        }
    }

    /// Keeps what `change` makes of a list, and has it in force.
    fn change_acl(
        &self,
        called: &str,
        change: impl FnOnce(&AclRecord, &str) -> Result<AclRecord, ChangeAcl>,
    ) -> Result<Arc<agent_core::record::NetworkRecord>, ApiError> {
        let place = self.find(called)?;
        let (id, name) = (&place.record.id, &place.record.name);
        if place.segment.is_none() {
            return Err(ChangeAcl::NoSwitch(name.clone()).into());
        }
        let _turn = self.lists.take(id.clone());
        let before = self.acl_of(id);
        let record = AclRecord {
            network: id.clone(),
            ..change(&before.record, name)?
        };
        let kept = self.ground.journal.put(&AclRecord::key(id), &record);
        kept.wait().map_err(|error| ChangeAcl::Host {
            network: name.clone(),
            why: error.to_string(),
        })?;
        let (counted, counted_default) = counted(&before, policy(&place).as_deref());
        let after = Acl {
            counted: counted
                .into_iter()
                .filter(|(priority, _)| {
                    record.rules.get(priority) == before.record.rules.get(priority)
                })
                .collect(),
            counted_default,
            record: Arc::new(record),
        };
        lock(&self.table).acls.insert(id.clone(), after);
        self.enforce(&place, true);
        tracing::info!(network = name, "access list changed");
        Ok(Arc::clone(&place.record))
    }

    fn acl_of(&self, id: &str) -> Acl {
        lock(&self.table).acls.get(id).cloned().unwrap_or_default()
    }

    /// In the list's turn: makes the policy, of other rules where `is_changed`.
    fn enforce(&self, place: &Place, is_changed: bool) {
        let Some(segment) = &place.segment else {
            return;
        };
        let record = self.acl_of(&place.record.id).record;
        if record.is_empty() {
            return segment.bridge.set_policy(None);
        }
        let plugged = place.seats.plugged();
        let ports = plugged.iter().filter_map(|(endpoint, plug)| {
            let station = Station {
                name: &endpoint.name,
                aliases: &endpoint.aliases,
                labels: &endpoint.labels,
            };
            Some((plug.port?, station))
        });
        let remotes = self.remote_stations(place);
        let none = BTreeMap::new();
        let stations = remotes.iter().map(|shared| {
            let station = Station {
                name: &shared.name,
                aliases: &shared.aliases,
                labels: &none,
            };
            (Mac::new(shared.mac), station)
        });
        let members = record.members(ports, stations);
        let policy = match segment.bridge.policy().filter(|_| !is_changed) {
            Some(policy) => policy.with_members(&members),
            None => Policy::new(&record.rules(), record.default_action(), &members),
        };
        segment.bridge.set_policy(Some(Arc::new(policy)));
    }

    /// The endpoints on other hosts, as those tell of them.
    fn remote_stations(&self, place: &Place) -> Vec<EndpointShared> {
        let member = self.sharing.member();
        let Some(member) = member.filter(|_| place.record.shared().is_some()) else {
            return Vec::new();
        };
        let prefix = format!("{ENDPOINTS}{}/", place.record.id);
        let world = member.world();
        let shared = world.under::<EndpointShared>(&prefix);
        shared.map(|(_, shared)| shared).collect()
    }
}

fn policy(place: &Place) -> Option<Arc<Policy>> {
    place.segment.as_ref()?.bridge.policy()
}

/// By priority, and of frames that no rule meant.
fn counted(acl: &Acl, policy: Option<&Policy>) -> (BTreeMap<u32, u64>, u64) {
    let (mut counted, mut default) = (acl.counted.clone(), acl.counted_default);
    let (hits, none) = policy.map(Policy::hits).unwrap_or_default();
    for (priority, count) in hits {
        *counted.entry(priority).or_default() += count;
    }
    default += none;
    (counted, default)
}
