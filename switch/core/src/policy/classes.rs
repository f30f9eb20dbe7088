//! Who is meant by which rules.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::row::{BITS, Row};
use crate::bridge_port::BridgePort;
use crate::{Mac, PortId, PortKind};

/// Some rules of a list, by their places in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet(Row);

impl RuleSet {
    /// Those of `count` rules that are in it.
    pub fn of(count: usize, is_in: impl Fn(usize) -> bool) -> Self {
        Self(Row::of(count, is_in))
    }

    pub fn has(&self, rule: usize) -> bool {
        rule < BITS && self.0.has(rule)
    }
}

/// The rules that mean somebody as the one who sends, and as the one who receives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    pub from: RuleSet,
    pub to: RuleSet,
}

/// Who is meant by which rules of a list.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Containers, by their ports.
    pub ports: Vec<(PortId, Membership)>,
    /// Endpoints on other hosts, by their MACs.
    pub stations: Vec<(Mac, Membership)>,
    /// The gateway and what is beyond it.
    pub gateway: Membership,
    /// Whoever else there is.
    pub others: Membership,
}

#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) from: Row,
    pub(super) to: Row,
}

/// The same for looking up. The numbers of a network's ports are near each other, so their classes stand in a list.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    first_port: u32,
    ports: Vec<Option<Arc<Class>>>,
    stations: HashMap<Mac, Arc<Class>, FixedState>,
    gateway: Class,
    others: Class,
}

impl Classes {
    pub(super) fn new(members: &Members) -> Self {
        let class = |membership: &Membership| Class {
            from: membership.from.0.clone(),
            to: membership.to.0.clone(),
        };
        let mut known: HashMap<(Row, Row), Arc<Class>, FixedState> = HashMap::default();
        let mut shared = |membership: &Membership| {
            let rows = (membership.from.0.clone(), membership.to.0.clone());
            let made = known
                .entry(rows)
                .or_insert_with(|| Arc::new(class(membership)));
            Arc::clone(made)
        };
        let numbers = members.ports.iter().map(|(port, _)| port.0);
        let first_port = numbers.clone().min().unwrap_or_default();
        let last_port = numbers.max().unwrap_or_default();
        let len = match members.ports.is_empty() {
            true => 0,
            false => place(last_port - first_port) + 1,
        };
        let mut ports = vec![None; len];
        for (port, membership) in &members.ports {
            ports[place(port.0 - first_port)] = Some(shared(membership));
        }
        let stations = members.stations.iter();
        Self {
            first_port,
            ports,
            stations: stations
                .map(|(mac, membership)| (*mac, shared(membership)))
                .collect(),
            gateway: class(&members.gateway),
            others: class(&members.others),
        }
    }

    /// Of whoever has the MAC behind the port; `None` where nobody knows yet.
    #[inline]
    pub(super) fn of(&self, port: &BridgePort, mac: Mac) -> Option<&Class> {
        match port.config.kind {
            PortKind::Tap => {
                let place = place(port.id.0.checked_sub(self.first_port)?);
                self.ports.get(place)?.as_deref()
            }
            PortKind::Host | PortKind::Edge => Some(&self.gateway),
            PortKind::Tunnel => Some(self.stations.get(&mac).map_or(&self.others, |class| class)),
            PortKind::Uplink | PortKind::Patch => Some(&self.others),
        }
    }
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
