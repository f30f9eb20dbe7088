//! Access lists: which frames may pass between whom.
//!
//! # Theory of operation
//!
//! A policy is a list of rules and what becomes of frames that none of them means. The first rule that means a frame decides; there
//! is no state. Every rule is about one direction. A policy is compiled when rules or endpoints change, and asked for every frame:
//! when its egress is known, at the ingress, and of a flood for every port that it goes to.
//!
//! *Bit vectors* (Lakshman and Stiliadis, 1998; aggregated: Baboescu and Varghese, 2001). A frame is looked at in a few *dimensions*:
//! who sends, who receives, what it is, ports, addresses. For each value that can be told apart in a dimension, a [`Row`] has one bit for
//! each rule that admits the value. The rules that mean a frame are those whose bit is in every row of it; the lowest is the first. A row
//! has a summary, one bit for each word that is not zero, so that of sixteen words a frame touches one or two, however many rules there
//! are. Rows are found by an index or by one search in sorted bounds.
//!
//! *Who* sends and receives is a class: endpoints that every rule treats alike are one. Which endpoints a rule means is decided by
//! whoever knows names, labels and addresses ([`Members`]). A local endpoint is known by its port, whatever MAC it uses, and one on another
//! host by its MAC. A container's port that has no class yet passes nothing ([`Policy::judge`]).
//!
//! *What cannot be read*: of a fragment that is not the first, ports are unknown, of a packet that is cut in its headers more. Such a frame
//! is denied by a rule that could mean it, and admitted by none that might not.
//!
//! *ARP and neighbor discovery* pass, unless a rule names their ethertype: without them nothing else is reached. The edge's own frames
//! pass, since they answer what was admitted. Tags are looked through: a VLAN hides nothing.

mod classes;
mod compile;
mod facts;
mod hits;
mod row;
mod rule;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::classes::{Class, Classes};
pub use self::classes::{Members, Membership, RuleSet};
use self::compile::Tables;
pub(crate) use self::facts::Facts;
use self::hits::Hits;
use self::row::first_match;
pub use self::rule::{Action, AddressRange, Rule};
use crate::bridge_port::BridgePort;
use crate::{Frame, PortKind};

/// The access list of one network.
#[derive(Debug)]
pub struct Policy {
    tables: Arc<Tables>,
    hits: Arc<Hits>,
    classes: Classes,
}

/// What a policy says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub action: Action,
    pub by: JudgedBy,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JudgedBy {
    /// The rule of that number.
    Rule(u32),
    /// No rule means it.
    Default,
    /// It is what the network itself needs: ARP, neighbor discovery, the gateway's answers.
    Exempt,
    /// A port that nobody has told anything of yet.
    Unknown,
}

impl Policy {
    /// Rules in a policy.
    pub const RULES_MAX: usize = row::BITS;

    /// Of `rules`, those beyond [`Self::RULES_MAX`] are left out.
    pub fn new(rules: &[Rule], default: Action, members: &Members) -> Self {
        let rules = &rules[..rules.len().min(Self::RULES_MAX)];
        Self {
            tables: Arc::new(Tables::new(rules, default)),
            hits: Arc::new(Hits::new(rules.len())),
            classes: Classes::new(members),
        }
    }

    /// The same rules with their counters, for other members.
    #[must_use]
    pub fn with_members(&self, members: &Members) -> Self {
        Self {
            tables: Arc::clone(&self.tables),
            hits: Arc::clone(&self.hits),
            classes: Classes::new(members),
        }
    }

    /// The same with counters of its own.
    pub(crate) fn copy(&self) -> Self {
        Self {
            tables: Arc::clone(&self.tables),
            hits: Arc::new(Hits::new(self.tables.rules.len())),
            classes: self.classes.clone(),
        }
    }

    /// How many frames each rule decided, by its number and in the rules' order, and how many none did.
    pub fn hits(&self) -> (Vec<(u32, u64)>, u64) {
        let (counts, none) = self.hits.read();
        let numbers = self.tables.rules.iter().map(|rule| rule.number);
        (numbers.zip(counts).collect(), none)
    }

    /// Judges a frame that came by `ingress` and would leave by `egress`, and counts it.
    #[inline]
    pub(crate) fn judge(
        &self,
        ingress: &BridgePort,
        egress: &BridgePort,
        frame: &Frame<'_>,
        facts: &Facts,
    ) -> Judgement {
        let (judged, counted) = self.weigh(ingress, egress, frame, facts);
        if let Some(index) = counted {
            self.hits.count(ingress.id.0, index);
        }
        judged
    }

    /// The same of a frame that has been counted.
    pub(crate) fn review(
        &self,
        ingress: &BridgePort,
        egress: &BridgePort,
        frame: &Frame<'_>,
        facts: &Facts,
    ) -> Judgement {
        self.weigh(ingress, egress, frame, facts).0
    }

    /// What is said of a frame, and which of the counters is that.
    #[inline]
    fn weigh(
        &self,
        ingress: &BridgePort,
        egress: &BridgePort,
        frame: &Frame<'_>,
        facts: &Facts,
    ) -> (Judgement, Option<usize>) {
        if ingress.config.kind == PortKind::Edge {
            return (Judgement::EXEMPT, None);
        }
        let classes = &self.classes;
        let ends = classes
            .of(ingress, frame.src())
            .zip(classes.of(egress, frame.dst()));
        let Some((from, to)) = ends else {
            return (Judgement::UNKNOWN, None);
        };
        self.decide((from, to), facts)
    }

    #[inline]
    fn decide(&self, (from, to): (&Class, &Class), facts: &Facts) -> (Judgement, Option<usize>) {
        let tables = &*self.tables;
        let [
            kind,
            state,
            ports,
            detail,
            source,
            destination,
            source_mac,
            destination_mac,
        ] = tables.rows(facts);
        let found = match tables.is_plain {
            true => first_match([&from.from, &to.to, kind, state, ports, detail]),
            false => first_match([
                &from.from,
                &to.to,
                kind,
                state,
                ports,
                detail,
                source,
                destination,
                source_mac,
                destination_mac,
            ]),
        };
        match found.and_then(|index| tables.rules.get(index).map(|rule| (index, rule))) {
            Some((index, rule)) => {
                let judged = Judgement {
                    action: rule.action,
                    by: JudgedBy::Rule(rule.number),
                };
                (judged, Some(index))
            }
            None if facts.is_exempt() => (Judgement::EXEMPT, None),
            None => {
                let judged = Judgement {
                    action: tables.default,
                    by: JudgedBy::Default,
                };
                (judged, Some(tables.rules.len()))
            }
        }
    }
}

impl Judgement {
    const EXEMPT: Self = Self {
        action: Action::Allow,
        by: JudgedBy::Exempt,
    };
    const UNKNOWN: Self = Self {
        action: Action::Deny,
        by: JudgedBy::Unknown,
    };
}
