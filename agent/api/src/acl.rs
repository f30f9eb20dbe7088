//! Access lists: which frames may pass between whom on a network.
//!
//! A rule is written in one line, `deny from label:tier=web to name:db proto tcp port 5432`; its words are near those of `ip rule` and
//! nft. A list of them is asked in the order of their priorities, and the first that means a frame decides.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod error;
mod party;
mod words;

pub use self::error::BadAclRule;
pub use self::party::{AclParty, LabelSelector, LabelTerm};
pub use self::words::PortRange;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AclAction {
    #[default]
    Allow,
    Deny,
}

/// One rule. What is absent means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AclRule {
    pub action: AclAction,
    /// `any`, `name:web`, `label:tier=web,env!=test`, `mac:02:42:ac:11:00:02`, `gateway`, an address or a subnet.
    #[serde(default, skip_serializing_if = "AclParty::is_any")]
    #[schema(value_type = String)]
    pub from: AclParty,
    #[serde(default, skip_serializing_if = "AclParty::is_any")]
    #[schema(value_type = String)]
    pub to: AclParty,
    /// Of the frame, beneath its tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ethertype: Option<u16>,
    /// The IP protocol, by its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// `53` or `8000-8010`, of TCP, UDP or SCTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub source_ports: Option<PortRange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ports: Option<PortRange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// Segments of TCP with ACK or RST only: those of a connection that the other side began.
    #[serde(default, skip_serializing_if = "is_no")]
    pub established: bool,
    /// The other direction too, with ends and ports swapped.
    #[serde(default, skip_serializing_if = "is_no")]
    pub both: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_no(flag: &bool) -> bool {
    !*flag
}

impl AclRule {
    /// The rule for the other direction.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            from: self.to.clone(),
            to: self.from.clone(),
            source_ports: self.ports,
            ports: self.source_ports,
            ..self.clone()
        }
    }
}

/// `POST /v1/networks/{name}/acl`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AclAdd {
    /// Lower ones are asked first; after all others where absent. One rule has it.
    #[serde(default)]
    pub priority: Option<u32>,
    pub rule: AclRule,
}

/// `POST /v1/networks/{name}/acl/default`: what becomes of frames that no rule means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AclDefault {
    pub action: AclAction,
}

/// `GET /v1/networks/{name}/acl`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AclView {
    /// In the order in which they are asked.
    pub rules: Vec<AclRuleView>,
    pub default: AclAction,
    /// Frames that no rule meant, since the agent started or the list changed.
    pub default_hits: u64,
}

/// A rule as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AclRuleView {
    pub priority: u32,
    pub rule: AclRule,
    /// As it is written.
    pub text: String,
    /// Frames that it decided, since the agent started; of a superframe one.
    pub hits: u64,
}

impl fmt::Display for AclAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}
