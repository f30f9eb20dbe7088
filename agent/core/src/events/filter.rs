//! Which events a reader wants, in Docker's words.

use std::collections::BTreeMap;

use agent_api::{Event, EventFilters, EventType};

use crate::find::DIGITS_MIN;

/// Values of one key are alternatives, and keys add up; only labels all have to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(BTreeMap<Key, Vec<String>>);

/// What cannot be filtered by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    #[error("there is no filter {key:?}; filter by {}", known().join(", "))]
    Key { key: String },
    #[error("there is no type {value:?}; take {}", types().join(", "))]
    Type { value: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Container,
    Endpoint,
    Event,
    Host,
    Label,
    Network,
    Type,
}

impl Filter {
    pub fn new(given: &EventFilters) -> Result<Self, BadFilter> {
        let mut filter = Self::default();
        for (name, values) in given {
            let key = KEYS.iter().find(|(known, _)| known == name);
            let Some((_, key)) = key else {
                return Err(BadFilter::Key { key: name.clone() });
            };
            let is_type = |value: &&String| types().contains(&value.as_str());
            if *key == Key::Type
                && let Some(value) = values.iter().find(|value| !is_type(value))
            {
                let value = value.clone();
                return Err(BadFilter::Type { value });
            }
            if !values.is_empty() {
                filter.0.insert(*key, values.clone());
            }
        }
        Ok(filter)
    }

    pub fn accepts(&self, event: &Event) -> bool {
        self.0.iter().all(|(key, values)| match key {
            Key::Label => values.iter().all(|wanted| has_label(event, wanted)),
            key => values.iter().any(|wanted| fits(event, *key, wanted)),
        })
    }
}

fn fits(event: &Event, key: Key, wanted: &str) -> bool {
    match key {
        Key::Type => event.kind.name() == wanted,
        Key::Event => event.action == wanted,
        Key::Container => is_about(event, EventType::Container, wanted),
        Key::Network => is_about(event, EventType::Network, wanted),
        Key::Endpoint => is_about(event, EventType::Endpoint, wanted),
        Key::Host => is_about(event, EventType::Node, wanted) || is_of(event, "host", wanted),
        Key::Label => has_label(event, wanted),
    }
}

/// Whether it happened to the thing called so, or names it.
fn is_about(event: &Event, kind: EventType, wanted: &str) -> bool {
    let is_itself =
        event.kind == kind && (is_id(&event.actor.id, wanted) || is_of(event, "name", wanted));
    is_itself || is_of(event, kind.name(), wanted)
}

fn is_of(event: &Event, key: &str, wanted: &str) -> bool {
    let attributes = &event.actor.attributes;
    // What a container is called is also what its endpoints are called, and whoever is behind their ports.
    let names: &[&str] = match key {
        "container" => &["container", "endpoint", "owner"],
        "endpoint" => &["endpoint", "owner"],
        _ => &[key],
    };
    let mut found = names.iter().filter_map(|name| attributes.get(*name));
    found.any(|found| found == wanted || is_id(found, wanted))
}

fn is_id(id: &str, wanted: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    id == wanted
        || wanted.len() >= DIGITS_MIN
            && id.len() == ID_LEN
            && is_hex(wanted)
            && id.starts_with(wanted)
}

fn has_label(event: &Event, wanted: &str) -> bool {
    let attributes = &event.actor.attributes;
    match wanted.split_once('=') {
        Some((key, value)) => attributes.get(key).is_some_and(|found| found == value),
        None => attributes.contains_key(wanted),
    }
}

fn known() -> Vec<&'static str> {
    KEYS.iter().map(|(name, _)| *name).collect()
}

fn types() -> Vec<&'static str> {
    EventType::ALL.iter().map(|kind| kind.name()).collect()
}

const KEYS: [(&str, Key); 7] = [
    ("container", Key::Container),
    ("endpoint", Key::Endpoint),
    ("event", Key::Event),
    ("host", Key::Host),
    ("label", Key::Label),
    ("network", Key::Network),
    ("type", Key::Type),
];
/// Hexadecimal digits.
const ID_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Notice;

    fn filter(given: &[(&str, &str)]) -> Result<Filter, BadFilter> {
        let mut filters = EventFilters::new();
        for (key, value) in given {
            let values = filters.entry((*key).to_owned()).or_default();
            values.push((*value).to_owned());
        }
        Filter::new(&filters)
    }

    fn accepts(event: &Event, given: &[(&str, &str)]) -> bool {
        filter(given).unwrap().accepts(event)
    }

    #[test]
    fn keys_add_up_and_values_are_alternatives() {
        let id = "ab12".repeat(16);
        let event = Notice::new(EventType::Container, "die", &id)
            .with("name", "web")
            .with("tier", "front")
            .told(0);
        for fitting in [
            &[][..],
            &[("type", "container")],
            &[("type", "network"), ("type", "container")],
            &[("event", "die"), ("container", "web")],
            &[("container", "ab12ab")],
            &[("container", &id)],
            &[("label", "tier"), ("label", "tier=front")],
        ] {
            assert!(accepts(&event, fitting), "{fitting:?}");
        }
        for other in [
            &[("type", "network")][..],
            &[("event", "start"), ("container", "web")],
            &[("container", "we")],
            &[("container", "ab1")],
            &[("network", "web")],
            &[("label", "tier"), ("label", "tier=back")],
        ] {
            assert!(!accepts(&event, other), "{other:?}");
        }
    }

    #[test]
    fn whoever_is_named_in_an_event_is_meant_too() {
        let connect = Notice::new(EventType::Network, "connect", "cd".repeat(32))
            .with("name", "lab")
            .with("container", "ab12".repeat(16))
            .with("endpoint", "web")
            .told(0);
        for fitting in [
            [("network", "lab")],
            [("container", "web")],
            [("container", "ab12")],
            [("endpoint", "web")],
        ] {
            assert!(accepts(&connect, &fitting), "{fitting:?}");
        }
        let storm = Notice::port("storm", 3, ("lab", "web")).told(0);
        assert!(accepts(&storm, &[("network", "lab"), ("event", "storm")]));
        assert!(accepts(&storm, &[("container", "web")]));
        let tunnel = Notice::new(EventType::Tunnel, "up", "h1").with("host", "east");
        assert!(accepts(&tunnel.told(0), &[("host", "east")]));
    }

    #[test]
    fn what_nobody_knows_is_refused_with_what_there_is() {
        let refused = |given| filter(&[given]).unwrap_err().to_string();
        assert_eq!(
            refused(("image", "x")),
            "there is no filter \"image\"; filter by container, endpoint, event, host, label, network, type"
        );
        assert_eq!(
            refused(("type", "image")),
            "there is no type \"image\"; take container, daemon, endpoint, network, node, port, tunnel"
        );
    }
}
