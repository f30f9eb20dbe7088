//! What the packet filter dropped, by network and reason.
//!
//! One set per reason has the link of every network as an element, and each element a counter. A rule that drops looks the
//! link up there as its last condition, which counts. Replacing the table would begin at zero again, so the numbers are
//! read before and given to the new table.

use std::collections::BTreeMap;

use serde_json::Value;

/// Packets dropped so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops(BTreeMap<(FilterDrop, String), Count>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// Why the packet filter dropped a packet of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterDrop {
    /// From a container, with a source outside its network: it routes for others, or lies.
    Source,
    /// From a container, to the host's loopback.
    Loopback,
    /// From a container, to a port of tunnels or of the cluster.
    Underlay,
    /// To or from a container, and of no connection that is known or could begin.
    Invalid,
    /// To a container, from outside its network, and nothing that it asked for or published.
    Isolation,
}

impl FilterDrop {
    pub const ALL: [Self; 5] = [
        Self::Source,
        Self::Loopback,
        Self::Underlay,
        Self::Invalid,
        Self::Isolation,
    ];

    /// As people see it beside the reasons of the switch.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "filter_source",
            Self::Loopback => "filter_loopback",
            Self::Underlay => "filter_underlay",
            Self::Invalid => "filter_invalid",
            Self::Isolation => "filter_isolation",
        }
    }

    /// The set that counts it.
    pub(super) const fn set(self) -> &'static str {
        match self {
            Self::Source => "dropped_source",
            Self::Loopback => "dropped_loopback",
            Self::Underlay => "dropped_underlay",
            Self::Invalid => "dropped_invalid",
            Self::Isolation => "dropped_isolation",
        }
    }
}

impl Drops {
    /// What was dropped to or from the network behind `link`; reasons that never happened are left out.
    pub fn of(&self, link: &str) -> BTreeMap<FilterDrop, u64> {
        let counted = FilterDrop::ALL.map(|reason| (reason, self.count(reason, link).packets));
        counted
            .into_iter()
            .filter(|(_, packets)| *packets > 0)
            .collect()
    }

    pub(super) fn count(&self, reason: FilterDrop, link: &str) -> Count {
        let key = (reason, link.to_owned());
        self.0.get(&key).copied().unwrap_or_default()
    }

    /// From `nft -j list sets`.
    pub(super) fn read(listing: &Value) -> Self {
        let mut drops = Self::default();
        for set in super::nft::objects(listing, "set") {
            drops.add(set);
        }
        drops
    }

    fn add(&mut self, set: &Value) {
        let Some(reason) = FilterDrop::ALL
            .into_iter()
            .find(|reason| set["name"] == reason.set())
        else {
            return;
        };
        for element in set["elem"].as_array().into_iter().flatten() {
            let (link, counter) = (&element["elem"]["val"], &element["elem"]["counter"]);
            if let (Some(link), Some(packets), Some(bytes)) = (
                link.as_str(),
                counter["packets"].as_u64(),
                counter["bytes"].as_u64(),
            ) {
                self.0
                    .insert((reason, link.to_owned()), Count { packets, bytes });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_read_by_reason_and_link() {
        let counted = |link: &str, packets: u64| json!({"elem": {"val": link, "counter": {"packets": packets, "bytes": 30 * packets}}});
        let drops = Drops::read(&json!({"nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"set": {"name": "dropped_source", "elem": [counted("tsy1", 3), counted("tsy2", 0)]}},
            {"set": {"name": "dropped_invalid"}},
            {"set": {"name": "own4", "elem": [counted("tsy1", 7)]}},
            {"set": {"name": "dropped_underlay", "elem": [counted("tsy1", 1)]}},
        ]}));
        let expected = [(FilterDrop::Source, 3), (FilterDrop::Underlay, 1)];
        assert_eq!(drops.of("tsy1"), expected.into());
        assert!(drops.of("tsy2").is_empty());
        assert_eq!(drops.count(FilterDrop::Source, "tsy1").bytes, 90);
    }

    #[test]
    fn what_is_no_listing_counts_nothing() {
        for listing in [json!(null), json!([]), json!({"nftables": [{"set": 1}]})] {
            assert_eq!(Drops::read(&listing), Drops::default());
        }
    }
}
