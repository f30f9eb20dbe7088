//! Networks that are joined.

use agent_api::LinkSettings;
use serde::{Deserialize, Serialize};

use super::PATCHES;

/// Two networks that are joined to one segment, by key `patch/<id>/<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchRecord {
    /// Their ids, the smaller one first.
    networks: [String; 2],
    /// What goes wrong between them: `to` is what goes to the second network, as if that were a container of the first.
    #[serde(default)]
    impairments: LinkSettings,
}

impl PatchRecord {
    /// Of two networks by id, in whatever order.
    pub fn new(one: &str, other: &str) -> Self {
        let mut networks = [one.to_owned(), other.to_owned()];
        networks.sort();
        Self {
            networks,
            impairments: LinkSettings::default(),
        }
    }

    /// What goes wrong, as a network sees it: `to` is what it sends to the other one.
    pub fn impairments(&self, seen_from: &str) -> LinkSettings {
        self.turned(seen_from, self.impairments)
    }

    /// The same patch with other impairments, as a network sees them.
    #[must_use]
    pub fn impaired(self, seen_from: &str, impairments: LinkSettings) -> Self {
        Self {
            impairments: self.turned(seen_from, impairments),
            ..self
        }
    }

    /// From what the first network sees to what another one does, and back.
    fn turned(&self, seen_from: &str, settings: LinkSettings) -> LinkSettings {
        let LinkSettings { to, from, seed } = settings;
        let (to, from) = match self.networks[0] == seen_from {
            true => (to, from),
            false => (from, to),
        };
        LinkSettings { to, from, seed }
    }

    /// Where the store has it.
    pub fn key(&self) -> String {
        let [one, other] = &self.networks;
        format!("{PATCHES}{one}/{other}")
    }

    /// Each network, and the one it is joined with.
    pub fn ways(&self) -> [(&str, &str); 2] {
        let [one, other] = &self.networks;
        [(one, other), (other, one)]
    }

    /// The network that this one is joined with, if it is by this patch.
    pub fn other(&self, id: &str) -> Option<&str> {
        let way = self.ways().into_iter().find(|(from, _)| *from == id);
        way.map(|(_, to)| to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_the_same_from_either_end() {
        let patch = PatchRecord::new("b", "a");
        assert_eq!(patch, PatchRecord::new("a", "b"));
        let mut slow = LinkSettings::default();
        slow.to.delay = Some("50ms".parse().unwrap());
        let patch = patch.impaired("b", slow);
        assert_eq!(patch.impairments("b"), slow);
        assert_eq!(patch.impairments("a").from, slow.to);
        assert_eq!(patch.impairments("a").to, slow.from);
        assert_eq!(patch.key(), "patch/a/b");
        assert_eq!((patch.other("a"), patch.other("b")), (Some("b"), Some("a")));
        assert_eq!(patch.other("c"), None);
    }
}
