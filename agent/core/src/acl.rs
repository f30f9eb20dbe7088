//! Access lists: what is kept of them, and what they come to for the switch.
//!
//! # Theory of operation
//!
//! A list is a network's, on this host; it is kept by the words of its rules. For the switch it becomes rules of numbers, and for each
//! endpoint the rules that mean it. A rule for both directions is two, of one priority. Names, labels and the gateway are decided here, so
//! that the switch never hears of them; addresses and MACs are looked up in the frame, since stations use others than they were given.
//!
//! Endpoints on other hosts are known by what those tell of them: names, aliases and addresses, no labels.

use std::collections::BTreeMap;
use std::net::IpAddr;

use agent_api::{AclAction, AclAdd, AclParty, AclRule, ApiError, BadAclRule, ErrorKind};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use switch_core::policy::{Action, AddressRange, Members, Membership, Policy, Rule, RuleSet};
use switch_core::{Mac, PortId};

/// The access list of a network, by key `acl/<network>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclRecord {
    /// By id.
    pub network: String,
    /// By priority.
    pub rules: BTreeMap<u32, AclRule>,
    pub default: AclAction,
}

/// What stands in the way of a change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeAcl {
    #[error("{0}")]
    Rule(#[from] BadAclRule),
    #[error(
        "a rule of network {network:?} has priority {priority} already; `tapestry acl ls {network}` lists its rules"
    )]
    Taken { network: String, priority: u32 },
    #[error(
        "network {network:?} has no rule of priority {priority}; `tapestry acl ls {network}` lists its rules"
    )]
    NotThere { network: String, priority: u32 },
    #[error("network {network:?} has {max} rules already, those for both directions counted twice; remove some", max = Policy::RULES_MAX)]
    Many { network: String },
    #[error("network {0:?} has no switch: its driver leaves all to the host")]
    NoSwitch(String),
    #[error("the access list of network {network:?} does not get to the disk: {why}")]
    Host { network: String, why: String },
}

impl From<ChangeAcl> for ApiError {
    fn from(error: ChangeAcl) -> Self {
        let kind = match &error {
            ChangeAcl::Rule(_) => ErrorKind::Invalid,
            ChangeAcl::Taken { .. } | ChangeAcl::NoSwitch(_) => ErrorKind::Conflict,
            ChangeAcl::NotThere { .. } => ErrorKind::NotFound,
            ChangeAcl::Many { .. } => ErrorKind::Exhausted,
            ChangeAcl::Host { .. } => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// Who may be meant, as far as this host knows.
#[derive(Clone, Debug)]
pub struct Station<'a> {
    pub name: &'a str,
    pub aliases: &'a [String],
    pub labels: &'a BTreeMap<String, String>,
}

impl AclRecord {
    pub fn key(network: &str) -> String {
        format!("{ACLS}{network}")
    }

    /// Whether it is as if there were none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.default == AclAction::Allow
    }

    /// The list with one more rule, and its priority. `network` is for whoever reads errors.
    pub fn with(&self, add: &AclAdd, network: &str) -> Result<(Self, u32), ChangeAcl> {
        add.rule.check()?;
        let network = network.to_owned();
        let last = self.rules.last_key_value().map_or(0, |(last, _)| *last);
        let next = last.saturating_sub(last % STEP).saturating_add(STEP);
        let priority = add.priority.unwrap_or(next);
        let mut after = self.clone();
        if after.rules.insert(priority, add.rule.clone()).is_some() {
            return Err(ChangeAcl::Taken { network, priority });
        }
        match after.directed().count() > Policy::RULES_MAX {
            true => Err(ChangeAcl::Many { network }),
            false => Ok((after, priority)),
        }
    }

    pub fn without(&self, priority: u32, network: &str) -> Result<Self, ChangeAcl> {
        let mut after = self.clone();
        match after.rules.remove(&priority) {
            Some(_) => Ok(after),
            None => Err(ChangeAcl::NotThere {
                network: network.to_owned(),
                priority,
            }),
        }
    }

    /// Each rule in each of its directions.
    fn directed(&self) -> impl Iterator<Item = (u32, AclRule)> + '_ {
        self.rules.iter().flat_map(|(priority, rule)| {
            let other = rule.both.then(|| rule.reversed());
            let both = std::iter::once(rule.clone()).chain(other);
            both.map(move |rule| (*priority, rule))
        })
    }

    /// What the switch looks for in frames.
    pub fn rules(&self) -> Vec<Rule> {
        self.directed()
            .map(|(priority, rule)| in_numbers(priority, &rule))
            .collect()
    }

    pub const fn default_action(&self) -> Action {
        action(self.default)
    }

    /// Whom its rules mean, of endpoints of this host by their ports and of others by their MACs.
    pub fn members<'a>(
        &self,
        ports: impl Iterator<Item = (PortId, Station<'a>)>,
        stations: impl Iterator<Item = (Mac, Station<'a>)>,
    ) -> Members {
        let ends: Vec<_> = self
            .directed()
            .map(|(_, rule)| (rule.from, rule.to))
            .collect();
        let membership = |means: &dyn Fn(&AclParty) -> bool| Membership {
            from: RuleSet::of(ends.len(), |index| means(&ends[index].0)),
            to: RuleSet::of(ends.len(), |index| means(&ends[index].1)),
        };
        let of = |station: &Station<'_>| membership(&|party| means(party, station));
        let is_anybody = |party: &AclParty| !party.is_by_endpoint();
        Members {
            ports: ports.map(|(port, station)| (port, of(&station))).collect(),
            stations: stations.map(|(mac, station)| (mac, of(&station))).collect(),
            gateway: membership(&|party| is_anybody(party) || *party == AclParty::Gateway),
            others: membership(&is_anybody),
        }
    }
}

fn means(party: &AclParty, station: &Station<'_>) -> bool {
    match party {
        AclParty::Name(name) => station.name == name || station.aliases.contains(name),
        AclParty::Label(selector) => selector.selects(station.labels),
        AclParty::Gateway => false,
        // The frame says whether it is so.
        AclParty::Any | AclParty::Net(_) | AclParty::Mac(_) => true,
    }
}

fn in_numbers(priority: u32, rule: &AclRule) -> Rule {
    let mac = |party: &AclParty| match party {
        AclParty::Mac(mac) => Some(*mac),
        _ => None,
    };
    let net = |party: &AclParty| match party {
        AclParty::Net(net) => Some(range(net)),
        _ => None,
    };
    Rule {
        source_mac: mac(&rule.from),
        destination_mac: mac(&rule.to),
        source: net(&rule.from),
        destination: net(&rule.to),
        ethertype: rule.ethertype,
        protocol: rule.protocol,
        source_ports: rule.source_ports.map(|ports| ports.first..=ports.last),
        destination_ports: rule.ports.map(|ports| ports.first..=ports.last),
        icmp_type: rule.icmp_type,
        established: rule.established,
        ..Rule::new(priority, action(rule.action))
    }
}

/// With network and broadcast address.
fn range(net: &IpNet) -> AddressRange {
    let (first, last): (IpAddr, IpAddr) = (net.network(), net.broadcast());
    AddressRange { first, last }
}

const fn action(action: AclAction) -> Action {
    match action {
        AclAction::Allow => Action::Allow,
        AclAction::Deny => Action::Deny,
    }
}

/// What the keys of [`AclRecord`]s begin with.
pub const ACLS: &str = "acl/";
/// Between the priorities of rules that ask for none.
const STEP: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn add(
        record: &AclRecord,
        priority: Option<u32>,
        rule: &str,
    ) -> Result<(AclRecord, u32), ChangeAcl> {
        let rule = rule.parse().unwrap();
        record.with(&AclAdd { priority, rule }, "lab")
    }

    #[test]
    fn rules_stand_in_the_order_of_their_priorities() {
        let (list, first) = add(&AclRecord::default(), None, "deny from name:web").unwrap();
        let (list, second) = add(&list, None, "allow").unwrap();
        assert_eq!((first, second), (10, 20));
        let (list, _) = add(&list, Some(15), "deny to name:db both").unwrap();
        let numbers: Vec<_> = list.rules().iter().map(|rule| rule.number).collect();
        assert_eq!(numbers, [10, 15, 15, 20]);
        let (list, last) = add(&list, Some(33), "allow")
            .and_then(|(list, _)| add(&list, None, "allow"))
            .unwrap();
        assert_eq!(last, 40);
        let taken = add(&list, Some(15), "allow").unwrap_err().to_string();
        assert!(taken.contains("priority 15 already"), "{taken}");
        let list = list.without(15, "lab").unwrap();
        assert!(list.without(15, "lab").is_err());
        assert!(!list.is_empty() && AclRecord::default().is_empty());
        let kept = serde_json::to_string(&list).unwrap();
        assert_eq!(serde_json::from_str::<AclRecord>(&kept).unwrap(), list);
    }

    #[test]
    fn a_list_has_as_many_rules_as_the_switch_takes() {
        let rule: AclRule = "allow both".parse().unwrap();
        let rules = (0..512).map(|priority| (priority, rule.clone()));
        let list = AclRecord {
            rules: rules.collect(),
            ..AclRecord::default()
        };
        assert_eq!(list.rules().len(), Policy::RULES_MAX);
        assert!(matches!(
            add(&list, None, "allow"),
            Err(ChangeAcl::Many { .. })
        ));
    }

    #[test]
    fn endpoints_are_meant_by_name_alias_and_labels_and_everybody_by_addresses() {
        let mut list = AclRecord::default();
        for rule in [
            "deny from name:web to name:data",
            "deny from label:tier=front to gateway",
            "deny from 10.0.0.0/24 to mac:02:00:00:00:00:09",
        ] {
            list = add(&list, None, rule).unwrap().0;
        }
        let (labels, none) = (
            [("tier".to_owned(), "front".to_owned())].into(),
            BTreeMap::new(),
        );
        let web = Station {
            name: "web",
            aliases: &[],
            labels: &labels,
        };
        let db = Station {
            name: "db",
            aliases: &["data".to_owned()],
            labels: &none,
        };
        let here = [(PortId(3), web), (PortId(4), db.clone())];
        let there = [(Mac::BROADCAST, db)];
        let members = list.members(here.into_iter(), there.into_iter());
        let told = |member: &Membership| {
            let bits = |set: &RuleSet| (0..3).map(|rule| set.has(rule)).collect::<Vec<_>>();
            (bits(&member.from), bits(&member.to))
        };
        let (yes, no) = (true, false);
        let web = (vec![yes, yes, yes], vec![no, no, yes]);
        let db = (vec![no, no, yes], vec![yes, no, yes]);
        assert_eq!(told(&members.ports[0].1), web);
        assert_eq!(told(&members.ports[1].1), db);
        assert_eq!(told(&members.stations[0].1), db);
        assert_eq!(
            told(&members.gateway),
            (vec![no, no, yes], vec![no, yes, yes])
        );
        assert_eq!(
            told(&members.others),
            (vec![no, no, yes], vec![no, no, yes])
        );
        let rule = &list.rules()[2];
        let range = rule.source.unwrap();
        assert_eq!(range.last, IpAddr::from([10, 0, 0, 255]));
        assert!(rule.destination_mac.is_some());
    }
}
