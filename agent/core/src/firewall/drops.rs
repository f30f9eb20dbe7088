//! What the packet filter dropped, by network and reason.
//!
//! One set per reason has the link of every network as an element, and each element a counter. A rule that drops looks the
//! link up there as its last condition, which counts. Replacing the table would begin at zero again, so the numbers are
//! read before and given to the new table.

use std::collections::BTreeMap;

/// Packets dropped so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops(BTreeMap<(FilterDrop, String), Count>);

/// What one counter of the packet filter says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
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
    /// In the order of the table.
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
    pub const fn set(self) -> &'static str {
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

    /// Zero where nothing was counted.
    pub fn count(&self, reason: FilterDrop, link: &str) -> Count {
        let key = (reason, link.to_owned());
        self.0.get(&key).copied().unwrap_or_default()
    }

    /// Notes what was counted for a reason behind `link`.
    pub fn note(&mut self, reason: FilterDrop, link: &str, count: Count) {
        self.0.insert((reason, link.to_owned()), count);
    }
}
