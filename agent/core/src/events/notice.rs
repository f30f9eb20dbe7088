//! What somebody tells, before it is an event.

use std::collections::BTreeMap;
use std::fmt::Display;

use agent_api::{Driver, Event, EventActor, EventType};

use crate::record::{ContainerRecord, EndpointRecord, NetworkRecord};

/// Something that happened, in Docker's words where Docker has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    kind: EventType,
    action: &'static str,
    actor: EventActor,
}

impl Notice {
    pub fn new(kind: EventType, action: &'static str, id: impl Display) -> Self {
        Self {
            kind,
            action,
            actor: EventActor {
                id: id.to_string(),
                attributes: BTreeMap::new(),
            },
        }
    }

    /// Something about a container.
    pub fn container(record: &ContainerRecord, action: &'static str) -> Self {
        let of = Self::new(EventType::Container, action, &record.id);
        of.labelled(&record.create.labels)
            .with("name", &record.name)
    }

    /// Something about a network.
    pub fn network(record: &NetworkRecord, action: &'static str) -> Self {
        let driver = match record.driver {
            Driver::Bridge => "bridge",
            Driver::Overlay => "overlay",
            Driver::Macvlan => "macvlan",
            Driver::Ipvlan => "ipvlan",
            Driver::Host => "host",
            Driver::Null => "null",
        };
        let of = Self::new(EventType::Network, action, &record.id);
        of.labelled(&record.labels)
            .with("name", &record.name)
            .with("type", driver)
    }

    /// Something about an endpoint of the network.
    pub fn endpoint(
        network: &NetworkRecord,
        record: &EndpointRecord,
        action: &'static str,
    ) -> Self {
        Self::new(EventType::Endpoint, action, &record.id)
            .with("name", &record.name)
            .with("network", &network.name)
    }

    /// Something about a port of the switch, of the network called so, with `owner` behind it.
    pub fn port(action: &'static str, port: u32, (network, owner): (&str, &str)) -> Self {
        Self::new(EventType::Port, action, port)
            .with("network", network)
            .with("owner", owner)
    }

    /// Something about the agent.
    pub fn daemon(action: &'static str) -> Self {
        Self::new(EventType::Daemon, action, "agent")
    }

    /// Says more of what it happened to. The latest word for a key counts.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Display) -> Self {
        let value = shortened(value.to_string());
        self.actor.attributes.insert(key.to_owned(), value);
        self
    }

    #[must_use]
    fn labelled(mut self, labels: &BTreeMap<String, String>) -> Self {
        let labels = labels.iter().take(LABELS_MAX);
        for (key, value) in labels.filter(|(key, _)| key.len() <= KEY_LEN_MAX) {
            self = self.with(key, value);
        }
        self
    }

    /// The event, told at that time.
    pub fn told(self, at_ms: u64) -> Event {
        Event {
            kind: self.kind,
            action: self.action.to_owned(),
            actor: self.actor,
            at_ms,
            missed: 0,
        }
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > VALUE_LEN_MAX {
        text.truncate(text.floor_char_boundary(VALUE_LEN_MAX));
        text.push('…');
    }
    text
}

/// Bytes. What people tell by labels may be long, and every event has all of it.
const VALUE_LEN_MAX: usize = 1024;
const KEY_LEN_MAX: usize = 256;
const LABELS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_bounded() {
        let long = "ü".repeat(VALUE_LEN_MAX);
        let labels = (0..2 * LABELS_MAX).map(|n| (format!("label-{n:03}"), long.clone()));
        let notice = Notice::daemon("warn").labelled(&labels.collect());
        assert_eq!(notice.actor.attributes.len(), LABELS_MAX);
        let value = &notice.actor.attributes["label-000"];
        assert!(value.len() <= VALUE_LEN_MAX + '…'.len_utf8() && value.ends_with('…'));
    }
}
