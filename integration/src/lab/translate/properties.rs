//! What a node says, what its group, its kind and the defaults say for it.

use std::collections::BTreeMap;

use crate::lab::fault::{Fault, Read, unknown};
use crate::lab::wire::clab::{Clab, DNS_LISTS, Properties, Said};

/// All that holds for a node.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) kind: Said,
    pub(super) group: Option<String>,
    said: Properties,
}

impl Held {
    /// The nearest says a text: node, group, kind, defaults. Lists go on from each other, maps add to each other.
    pub(super) fn of(clab: &Clab, name: &Said, own: &Properties) -> Read<Self> {
        let mut layers = vec![own];
        let group = own.texts.get("group").or_else(|| {
            let kind = own
                .texts
                .get("kind")
                .or_else(|| clab.defaults.texts.get("kind"))?;
            let kind = clab.kinds.get(&kind.1)?;
            kind.texts
                .get("group")
                .or_else(|| clab.defaults.texts.get("group"))
        });
        // A group that nobody describes is a word to sort by.
        layers.extend(group.and_then(|(_, group)| clab.groups.get(group)));
        let kind = layers.iter().find_map(|layer| layer.texts.get("kind"));
        let Some(kind) = kind.or_else(|| clab.defaults.texts.get("kind")) else {
            return Err(Fault::new(
                name.0,
                format!(
                    "node {} has no kind; write kind: linux below it, or below defaults:",
                    name.1
                ),
            ));
        };
        layers.extend(clab.kinds.get(&kind.1));
        layers.push(&clab.defaults);
        Ok(Self {
            kind: kind.clone(),
            group: group.map(|(_, group)| group.clone()),
            said: merged(&layers),
        })
    }

    pub(super) fn text(&self, key: &str) -> Option<&Said> {
        self.said.texts.get(key)
    }

    pub(super) fn list(&self, key: &str) -> &[Said] {
        self.said.lists.get(key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn map(&self, key: &str) -> impl Iterator<Item = (&String, &Said)> {
        self.said.maps.get(key).into_iter().flatten()
    }

    /// Refuses kinds that need a vendor's image.
    pub(super) fn check_kind(&self) -> Read<()> {
        let (at, kind) = &self.kind;
        if KINDS.contains(&kind.as_str()) {
            return Ok(());
        }
        let message = match kind.as_str() {
            "ovs-bridge" | "ext-container" | "k8s-kind" => {
                format!(
                    "kind {kind} is containerlab's, and not taken here yet; take bridge or linux"
                )
            }
            _ if VENDORS.iter().any(|vendor| kind.contains(vendor)) => format!(
                "kind {kind} needs its vendor's image; deploy it with containerlab on Docker, or take linux, bridge or host"
            ),
            _ => unknown("kind", kind, &KINDS, "of a node"),
        };
        Err(Fault::new(*at, message))
    }
}

/// The first layer is the nearest.
fn merged(layers: &[&Properties]) -> Properties {
    let mut all = Properties::default();
    for layer in layers.iter().rev() {
        for (key, said) in &layer.texts {
            all.texts.insert(key, said.clone());
        }
        for (key, list) in &layer.lists {
            let known = all.lists.entry(key).or_default();
            if DNS_LISTS.contains(key) {
                known.clear();
            }
            known.extend(list.iter().cloned());
        }
        for (key, map) in &layer.maps {
            let known: &mut BTreeMap<String, Said> = all.maps.entry(key).or_default();
            known.extend(map.iter().map(|(name, said)| (name.clone(), said.clone())));
        }
    }
    all
}

const KINDS: [&str; 3] = ["linux", "bridge", "host"];
/// Parts of the names of kinds that are a vendor's.
const VENDORS: [&str; 20] = [
    "srl",
    "sros",
    "nokia",
    "ceos",
    "arista",
    "vr-",
    "cisco",
    "juniper",
    "crpd",
    "xrd",
    "sonic",
    "cvx",
    "rare",
    "ipinfusion",
    "dell",
    "huawei",
    "mikrotik",
    "fortinet",
    "checkpoint",
    "keysight",
];
