//! Docker's chain for others, and our rule in it.

use serde_json::Value;

use super::nft::{FirewallError, Nft, objects};

/// The chain of one address family, as it is now.
pub(super) struct DockerUser {
    family: String,
    /// Handles of our rules in it.
    ours: Vec<u64>,
}

impl DockerUser {
    /// Those that are among `chains`, as `nft -j list chains` lists them.
    pub(super) fn among(chains: &Value, nft: &Nft) -> Result<Vec<Self>, FirewallError> {
        let with_rules = families(chains).map(|family| {
            let rules = nft.list(&["list", "chain", family, "filter", DOCKER_USER])?;
            let ours = objects(&rules, "rule")
                .filter(|rule| rule["comment"] == COMMENT)
                .filter_map(|rule| rule["handle"].as_u64())
                .collect();
            let family = family.to_owned();
            Ok(Self { family, ours })
        });
        with_rules.collect()
    }

    /// The commands that take our rules out.
    pub(super) fn without_ours(&self) -> String {
        let family = &self.family;
        let delete =
            |handle| format!("delete rule {family} filter {DOCKER_USER} handle {handle}\n");
        self.ours.iter().map(delete).collect()
    }

    /// The command that puts ours in.
    pub(super) fn with_ours(&self, mark_bit: u32) -> String {
        let family = &self.family;
        format!(
            "insert rule {family} filter {DOCKER_USER} \
             meta mark & {mark_bit:#010x} == {mark_bit:#010x} accept comment \"{COMMENT}\"\n"
        )
    }
}

/// The address families in which Docker has its chain for others.
pub(super) fn families(chains: &Value) -> impl Iterator<Item = &str> {
    objects(chains, "chain")
        .filter(|chain| chain["table"] == "filter" && chain["name"] == DOCKER_USER)
        .filter_map(|chain| chain["family"].as_str())
        .filter(|family| ["ip", "ip6"].contains(family))
}

pub(super) const DOCKER_USER: &str = "DOCKER-USER";
const COMMENT: &str = "tapestry";
