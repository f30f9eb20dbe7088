//! Ports: how the switch treats what is behind one.
//!
//! The words are the kernel bridge's, as `bridge link set` and `ip link set ... type bridge_slave` have them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the switch treats an endpoint's port. What is absent is as the network has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PortSettings {
    /// Whether it exchanges nothing with other ports that are isolated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolated: Option<bool>,
    /// Whether only stations that are configured there may send from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
    /// Whether the stations that send from it are learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning: Option<bool>,
    /// Whether it gets unicast that nobody knows the station of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flood: Option<bool>,
    /// Whether it gets multicast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcast_flood: Option<bool>,
    /// Whether it gets broadcast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bcast_flood: Option<bool>,
    /// In a network that snoops, whether a multicast router is behind it: it gets every group and every report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcast_router: Option<bool>,
    /// How many stations are learned there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learn_limit: Option<u32>,
}

impl PortSettings {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What is set here, and of the rest what was set `before`.
    #[must_use]
    pub fn over(&self, before: &Self) -> Self {
        Self {
            isolated: self.isolated.or(before.isolated),
            locked: self.locked.or(before.locked),
            learning: self.learning.or(before.learning),
            flood: self.flood.or(before.flood),
            mcast_flood: self.mcast_flood.or(before.mcast_flood),
            bcast_flood: self.bcast_flood.or(before.bcast_flood),
            mcast_router: self.mcast_router.or(before.mcast_router),
            learn_limit: self.learn_limit.or(before.learn_limit),
        }
    }

    /// What several words come to; the last of a repeated one counts.
    pub fn of(words: &[Self]) -> Self {
        let none = Self::default();
        words.iter().fold(none, |before, word| word.over(&before))
    }
}

/// Why a word is no setting of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no setting of ports; write isolated, locked, learning, flood, mcast_flood, bcast_flood or mcast_router with =on or =off, or learn_limit=N"
)]
pub struct BadPortSetting(String);

impl FromStr for PortSettings {
    type Err = BadPortSetting;

    /// One word: `isolated`, `isolated=on`, `learning=off`, `learn_limit=8`.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let bad = || BadPortSetting(word.to_owned());
        let (name, value) = word.split_once('=').unwrap_or((word, "on"));
        let switch = match value {
            "on" | "true" | "1" => Some(true),
            "off" | "false" | "0" => Some(false),
            _ => None,
        };
        let mut settings = Self::default();
        let place = match name {
            "learn_limit" if word != name => {
                settings.learn_limit = Some(value.parse().map_err(|_| bad())?);
                return Ok(settings);
            }
            "isolated" => &mut settings.isolated,
            "locked" => &mut settings.locked,
            "learning" => &mut settings.learning,
            "flood" => &mut settings.flood,
            "mcast_flood" => &mut settings.mcast_flood,
            "bcast_flood" => &mut settings.bcast_flood,
            "mcast_router" => &mut settings.mcast_router,
            _ => return Err(bad()),
        };
        *place = Some(switch.ok_or_else(bad)?);
        Ok(settings)
    }
}

impl fmt::Display for PortSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switches = [
            ("isolated", self.isolated),
            ("locked", self.locked),
            ("learning", self.learning),
            ("flood", self.flood),
            ("mcast_flood", self.mcast_flood),
            ("bcast_flood", self.bcast_flood),
            ("mcast_router", self.mcast_router),
        ];
        let set = switches.into_iter().filter_map(|(name, on)| {
            let word = if on? { "on" } else { "off" };
            Some(format!("{name}={word}"))
        });
        let limit = self.learn_limit.map(|limit| format!("learn_limit={limit}"));
        let words: Vec<_> = set.chain(limit).collect();
        f.write_str(&words.join(" "))
    }
}

/// `GET /v1/endpoints/{id}/port`: an endpoint's port, and how the switch treats it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortDetail {
    /// The endpoint's id.
    pub endpoint: String,
    /// The container, or the name given at creation.
    pub name: String,
    pub network: String,
    /// The link's name in the sandbox.
    pub link: String,
    /// Its number, as `port ls` shows it.
    pub port: Option<u32>,
    /// As that of `port ls`.
    pub state: String,
    /// What was asked for at this port.
    pub asked: PortSettings,
    /// What that and the network's options come to.
    pub settings: PortSettings,
    /// How many stations are learned there now.
    pub learned: u64,
    /// Seconds that a port stays blocked which sent a BPDU, zero for until it is opened; absent where nobody minds.
    pub bpdu_guard_s: Option<u64>,
    /// What it may send, in frames a second; absent where there is no such budget.
    pub storm: StormBudget,
}

/// Frames a second that a port may send to everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct StormBudget {
    /// Of all kinds together, by what they reach (`-o bum`).
    pub bum: Option<u32>,
    pub broadcast: Option<u32>,
    pub multicast: Option<u32>,
    pub unknown: Option<u32>,
}

/// `POST /v1/networks/{name}/fdb`: a station that the switch shall not have to learn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FdbEntryCreate {
    pub mac: String,
    /// The port behind which it is: its number, who is behind it, or both of owner and link, as in `web:eth0`.
    pub port: String,
    /// Whether it never moves; otherwise it follows its station to another port.
    #[serde(default)]
    pub sticky: bool,
}

/// Which entries of a forwarding table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FdbPart {
    Learned,
    /// Those that somebody configured, sticky ones too. Not those of endpoints.
    Static,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_are_written() {
        let words = ["isolated", "locked=off", "learning=off", "learn_limit=8"];
        let words = words.map(|word| word.parse::<PortSettings>().unwrap());
        let settings = PortSettings::of(&words);
        let told = "isolated=on locked=off learning=off learn_limit=8";
        assert_eq!(settings.to_string(), told);
        let again: Vec<PortSettings> = told.split(' ').map(|word| word.parse().unwrap()).collect();
        assert_eq!(PortSettings::of(&again), settings);
        assert!(PortSettings::default().is_default());
        for bad in [
            "isolate",
            "locked=maybe",
            "learn_limit",
            "learn_limit=x",
            "",
        ] {
            let refused = bad.parse::<PortSettings>().unwrap_err().to_string();
            assert!(refused.contains("learn_limit=N"), "{refused}");
        }
    }
}
