//! Who sends and who receives, as rules name them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use switch_core::Mac;

use super::error::BadAclRule;

/// One end of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AclParty {
    #[default]
    Any,
    /// The endpoint of that name.
    Name(String),
    /// Endpoints with such labels.
    Label(LabelSelector),
    /// The gateway, the host, and what is beyond it.
    Gateway,
    /// Whoever has an address of these.
    Net(IpNet),
    /// Whoever uses the MAC.
    Mac(Mac),
}

/// All of these hold, as those of a Kubernetes podSelector do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector(Vec<LabelTerm>);

/// One condition on labels, as kubectl writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelTerm {
    /// `tier=web`
    Is(String, String),
    /// `tier!=web`, which holds without the label too
    IsNot(String, String),
    /// `tier`
    Has(String),
    /// `!tier`
    HasNot(String),
}

impl AclParty {
    pub fn is_any(&self) -> bool {
        *self == Self::Any
    }

    /// Whether it is found by names or labels, and not in the frame.
    pub const fn is_by_endpoint(&self) -> bool {
        matches!(self, Self::Name(_) | Self::Label(_) | Self::Gateway)
    }
}

impl LabelSelector {
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|term| match term {
            LabelTerm::Is(key, value) => labels.get(key) == Some(value),
            LabelTerm::IsNot(key, value) => labels.get(key) != Some(value),
            LabelTerm::Has(key) => labels.contains_key(key),
            LabelTerm::HasNot(key) => !labels.contains_key(key),
        })
    }
}

impl FromStr for LabelTerm {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let named = |key: &str| match key.is_empty() || key.contains(['=', '!', ' ']) {
            true => Err(()),
            false => Ok(key.to_owned()),
        };
        if let Some((key, value)) = text.split_once("!=") {
            return Ok(Self::IsNot(named(key)?, value.to_owned()));
        }
        if let Some((key, value)) = text.split_once('=') {
            return Ok(Self::Is(named(key)?, value.to_owned()));
        }
        match text.strip_prefix('!') {
            Some(key) => Ok(Self::HasNot(named(key)?)),
            None => Ok(Self::Has(named(text)?)),
        }
    }
}

impl fmt::Display for LabelTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(key, value) => write!(f, "{key}={value}"),
            Self::IsNot(key, value) => write!(f, "{key}!={value}"),
            Self::Has(key) => f.write_str(key),
            Self::HasNot(key) => write!(f, "!{key}"),
        }
    }
}

impl FromStr for AclParty {
    type Err = BadAclRule;

    fn from_str(text: &str) -> Result<Self, BadAclRule> {
        let bad = || BadAclRule::Party(text.to_owned());
        match (text, text.split_once(':')) {
            ("any", _) => Ok(Self::Any),
            ("gateway", _) => Ok(Self::Gateway),
            (_, Some(("name", name))) if !name.is_empty() => Ok(Self::Name(name.to_owned())),
            (_, Some(("mac", mac))) => Ok(Self::Mac(mac.parse().map_err(|_| bad())?)),
            (_, Some(("label", terms))) => {
                let terms = terms.split(',').map(str::parse::<LabelTerm>);
                let terms: Result<Vec<_>, ()> = terms.collect();
                Ok(Self::Label(LabelSelector(terms.map_err(|()| bad())?)))
            }
            _ => {
                let net = text.parse::<IpNet>().ok();
                let net = net.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
                Ok(Self::Net(net.ok_or_else(bad)?.trunc()))
            }
        }
    }
}

impl fmt::Display for AclParty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Name(name) => write!(f, "name:{name}"),
            Self::Label(LabelSelector(terms)) => {
                let terms: Vec<_> = terms.iter().map(ToString::to_string).collect();
                write!(f, "label:{}", terms.join(","))
            }
            Self::Gateway => f.write_str("gateway"),
            Self::Net(net) if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(f),
            Self::Net(net) => net.fmt(f),
            Self::Mac(mac) => write!(f, "mac:{mac}"),
        }
    }
}

impl TryFrom<String> for AclParty {
    type Error = BadAclRule;

    fn try_from(text: String) -> Result<Self, BadAclRule> {
        text.parse()
    }
}

impl From<AclParty> for String {
    fn from(party: AclParty) -> Self {
        party.to_string()
    }
}
