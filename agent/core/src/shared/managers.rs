//! Who becomes a manager, and who is one no more.
//!
//! # Theory of operation
//!
//! A manager writes an *order* that names a host. By an order of promotion, that host may ask any manager for what a manager
//! needs, and when it is one it writes so in place of the order. By an order of demotion, a host that comes back after any time
//! finds that it is a member; it takes the order away when it has put down what a manager has.
//!
//! The managers' etcd works while more than half of its members do. So whoever is demoted must leave enough of them that live.

use serde::{Deserialize, Serialize};

use super::world::is_member;
use super::{ALIVE, MANAGERS, World};

/// An order to the host that its key names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRecord {
    /// The manager that gave it.
    pub by: String,
    /// Since 1970.
    pub ordered_s: u64,
    /// Why the host could not obey it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl OrderRecord {
    /// Whether `answer` is this order with a reason why it failed, and nothing else.
    pub fn is_answered_by(&self, answer: &Self) -> bool {
        let reason_len = answer.failed.as_ref().map_or(0, String::len);
        let is_same = Self {
            failed: answer.failed.clone(),
            ..self.clone()
        } == *answer;
        is_same && (1..=REASON_LEN_MAX).contains(&reason_len)
    }

    /// A reason as it may be written.
    pub fn reason(text: &str) -> String {
        let mut end = text.len().min(REASON_LEN_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    }
}

/// Why a host is not promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenyPromotion {
    #[error("is down; start its agent first")]
    Down,
    #[error(
        "would be one manager too many: a cluster has at most {MANAGERS_MAX}; demote another one first"
    )]
    TooMany,
}

/// Why a host is not demoted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenyDemotion {
    #[error("is the last manager, and the cluster needs one; promote another host first")]
    Last,
    #[error("is no manager")]
    NoManager,
    #[error(
        "is needed: of the {left} managers that would be left, {dead} are down, and their etcd works only while more than half are up; \
         demote those that are down first"
    )]
    Quorum { left: usize, dead: usize },
}

/// The hosts that are managers, by id.
pub fn managers(world: &World) -> Vec<String> {
    let managers = world.entries_under(MANAGERS);
    managers.map(|(host, _)| host.to_owned()).collect()
}

/// Whether a member may become a manager.
pub fn check_promotion(world: &World, host: &str) -> Result<(), DenyPromotion> {
    if managers(world).len() >= MANAGERS_MAX {
        return Err(DenyPromotion::TooMany);
    }
    match is_alive(world, host) && is_member(world, host) {
        true => Ok(()),
        false => Err(DenyPromotion::Down),
    }
}

/// Whether a manager may become a member. Where the managers run etcd, enough of the others must be up.
pub fn check_demotion(world: &World, host: &str, runs_etcd: bool) -> Result<(), DenyDemotion> {
    let mut others = managers(world);
    let before = others.len();
    others.retain(|manager| manager != host);
    if others.len() == before {
        return Err(DenyDemotion::NoManager);
    }
    if others.is_empty() {
        return Err(DenyDemotion::Last);
    }
    let (left, up) = (
        others.len(),
        others.iter().filter(|other| is_alive(world, other)),
    );
    let up = up.count();
    match runs_etcd && up <= left / 2 {
        true => Err(DenyDemotion::Quorum {
            left,
            dead: left - up,
        }),
        false => Ok(()),
    }
}

fn is_alive(world: &World, host: &str) -> bool {
    world.contains(&format!("{ALIVE}{host}"))
}

/// Every write waits for more than half of them.
pub const MANAGERS_MAX: usize = 5;
const REASON_LEN_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Entry, HOSTS};
    use super::*;

    /// Managers are `m...`, of which `up` are alive; `a` is a member.
    fn world(managers: usize, up: usize) -> World {
        let entry = |key: String| Entry {
            key,
            value: json!({}),
            revision: 1,
        };
        let mut entries = vec![entry(format!("{HOSTS}a")), entry(format!("{ALIVE}a"))];
        for n in 0..managers {
            entries.push(entry(format!("{MANAGERS}m{n}")));
        }
        for n in 0..up {
            entries.push(entry(format!("{ALIVE}m{n}")));
        }
        World::of(entries)
    }

    #[test]
    fn the_last_manager_stays() {
        assert_eq!(
            check_demotion(&world(1, 1), "m0", true),
            Err(DenyDemotion::Last)
        );
        assert_eq!(
            check_demotion(&world(2, 2), "a", true),
            Err(DenyDemotion::NoManager)
        );
        assert_eq!(check_demotion(&world(2, 2), "m0", true), Ok(()));
    }

    #[test]
    fn a_demotion_leaves_more_than_half_of_the_managers_alive() {
        // One of three is dead: that one goes, and no other.
        let three = world(3, 2);
        assert_eq!(check_demotion(&three, "m2", true), Ok(()));
        assert_eq!(
            check_demotion(&three, "m0", true),
            Err(DenyDemotion::Quorum { left: 2, dead: 1 })
        );
        assert_eq!(check_demotion(&world(5, 4), "m0", true), Ok(()));
        assert!(check_demotion(&world(5, 3), "m0", true).is_err());
        // An etcd that was given is none of theirs.
        assert_eq!(check_demotion(&three, "m0", false), Ok(()));
    }

    #[test]
    fn who_is_down_is_not_promoted_and_five_managers_are_enough() {
        assert_eq!(check_promotion(&world(4, 4), "a"), Ok(()));
        assert_eq!(
            check_promotion(&world(5, 5), "a"),
            Err(DenyPromotion::TooMany)
        );
        assert_eq!(check_promotion(&world(1, 1), "b"), Err(DenyPromotion::Down));
    }

    #[test]
    fn an_order_is_answered_with_a_reason_and_nothing_else() {
        let order = OrderRecord {
            by: "m0".into(),
            ordered_s: 1,
            failed: None,
        };
        let answer = |reason: &str| OrderRecord {
            failed: Some(reason.to_owned()),
            ..order.clone()
        };
        assert!(order.is_answered_by(&answer("no etcd")));
        assert!(!order.is_answered_by(&order));
        assert!(!order.is_answered_by(&answer(&"x".repeat(REASON_LEN_MAX + 1))));
        let other = OrderRecord {
            by: "a".into(),
            ..answer("no etcd")
        };
        assert!(!order.is_answered_by(&other));
        let long = "ä".repeat(REASON_LEN_MAX);
        assert!(order.is_answered_by(&answer(&OrderRecord::reason(&long))));
    }
}
