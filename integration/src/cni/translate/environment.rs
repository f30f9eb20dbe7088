//! What the runtime says by environment variables.

use crate::cni::wire::{Failure, INVALID_ENVIRONMENT};

/// Not every command needs everything.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub container_id: String,
    pub netns: String,
    pub ifname: String,
    /// `KEY=VALUE;KEY=VALUE`, in any order.
    pub args: String,
    /// Where plugins are, directories with `:` between them.
    pub path: String,
}

impl Environment {
    pub(super) fn arg(&self, key: &str) -> Option<&str> {
        let pairs = self.args.split(';').filter_map(|pair| pair.split_once('='));
        let mut values = pairs.filter(|(name, _)| *name == key);
        values
            .next()
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
    }

    /// Refuses what ADD cannot do without, and arguments that are unknown, unless whoever gave them says that this may be.
    pub(super) fn check(&self) -> Result<(), Failure> {
        for (name, value) in [
            ("CNI_CONTAINERID", &self.container_id),
            ("CNI_NETNS", &self.netns),
            ("CNI_IFNAME", &self.ifname),
        ] {
            if value.is_empty() {
                let message = format!("{name} is missing; a runtime sets it for ADD");
                return Err(Failure::new(INVALID_ENVIRONMENT, message));
            }
        }
        let pairs = self.args.split(';').filter(|pair| !pair.is_empty());
        for pair in pairs {
            let Some((key, _)) = pair.split_once('=') else {
                let message = format!("CNI_ARGS: {pair:?} is no pair; write KEY=VALUE");
                return Err(Failure::new(INVALID_ENVIRONMENT, message));
            };
            if !ARGS.contains(&key) && !self.ignores_unknown() {
                let message = format!(
                    "CNI_ARGS: {key} is unknown; write IgnoreUnknown=1 to have it passed over, or leave it out"
                );
                return Err(Failure::new(INVALID_ENVIRONMENT, message));
            }
        }
        Ok(())
    }

    /// In the spellings that CNI's own library takes.
    fn ignores_unknown(&self) -> bool {
        let value = self.arg("IgnoreUnknown").unwrap_or_default();
        value == "1" || value.eq_ignore_ascii_case("true")
    }
}

/// Those of Kubernetes' that matter name the pod; the others say nothing of a network.
const ARGS: &[&str] = &[
    "IgnoreUnknown",
    "IP",
    "MAC",
    POD,
    NAMESPACE,
    "K8S_POD_UID",
    "K8S_POD_INFRA_CONTAINER_ID",
];
pub(super) const POD: &str = "K8S_POD_NAME";
pub(super) const NAMESPACE: &str = "K8S_POD_NAMESPACE";

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(args: &str) -> Option<String> {
        let env = Environment {
            container_id: "c1".into(),
            netns: "/run/netns/c1".into(),
            ifname: "eth0".into(),
            args: args.into(),
            path: String::new(),
        };
        env.check().err().map(|failure| failure.message)
    }

    #[test]
    fn unknown_arguments_are_refused_by_name_unless_that_may_be() {
        assert_eq!(refused(""), None);
        assert_eq!(refused("K8S_POD_NAME=web;IP=10.1.0.9;K8S_POD_UID=7"), None);
        assert!(refused("COLOR=red").unwrap().contains("COLOR"));
        assert!(refused("COLOR=red;IgnoreUnknown=0").is_some());
        assert_eq!(refused("COLOR=red;IgnoreUnknown=1"), None);
        assert_eq!(refused("IgnoreUnknown=True;COLOR=red;"), None);
        assert!(refused("IgnoreUnknown=1;red").unwrap().contains("red"));
    }

    #[test]
    fn what_add_needs_is_missed_by_name() {
        let failure = Environment::default().check().unwrap_err();
        assert_eq!(failure.code, INVALID_ENVIRONMENT);
        assert!(failure.message.starts_with("CNI_CONTAINERID"));
    }
}
