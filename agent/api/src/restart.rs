//! Whether containers are started again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What happens when a container's command ends, in Docker's words. A container that somebody has stopped stays stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RestartPolicy {
    #[default]
    No,
    /// It is started again where it failed, at most so often in a row; without a bound where that is zero.
    OnFailure {
        most: u32,
    },
    /// It is always started again; at a start of the agent even where somebody had stopped it.
    Always,
    UnlessStopped,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no restart policy; write no, on-failure[:TIMES], always or unless-stopped")]
pub struct ParseRestartPolicy(String);

impl FromStr for RestartPolicy {
    type Err = ParseRestartPolicy;

    fn from_str(text: &str) -> Result<Self, ParseRestartPolicy> {
        let wrong = || ParseRestartPolicy(text.chars().take(40).collect());
        match text {
            "no" | "" => Ok(Self::No),
            "always" => Ok(Self::Always),
            "unless-stopped" => Ok(Self::UnlessStopped),
            "on-failure" => Ok(Self::OnFailure { most: 0 }),
            _ => {
                let most = text.strip_prefix("on-failure:").ok_or_else(wrong)?;
                let most = most.parse().map_err(|_| wrong())?;
                Ok(Self::OnFailure { most })
            }
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::OnFailure { most: 0 } => f.write_str("on-failure"),
            Self::OnFailure { most } => write!(f, "on-failure:{most}"),
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
        }
    }
}

impl TryFrom<String> for RestartPolicy {
    type Error = ParseRestartPolicy;

    fn try_from(text: String) -> Result<Self, ParseRestartPolicy> {
        text.parse()
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> Self {
        policy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_is_shown() {
        for text in [
            "no",
            "always",
            "unless-stopped",
            "on-failure",
            "on-failure:3",
        ] {
            assert_eq!(text.parse::<RestartPolicy>().unwrap().to_string(), text);
        }
        for wrong in [
            "never",
            "on-failure:",
            "on-failure:-1",
            "always:3",
            "Always",
        ] {
            let refused = wrong.parse::<RestartPolicy>().unwrap_err().to_string();
            assert!(refused.contains("unless-stopped"), "{refused}");
        }
    }
}
