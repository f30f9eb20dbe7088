//! How etcd is started that the agent runs.
//!
//! # Theory of operation
//!
//! A manager's etcd has the two TCP ports after that of the manager: the first for clients, the second for the other members of
//! etcd. It listens at the host's own address, and the others know it by the one that is told ([`crate::place`]). Where its
//! connections come from says nothing: behind a translator that may be a third address. Both speak TLS, and both admit nobody but who shows the managers' certificate for etcd ([`ETCD_NAME`]).
//!
//! What an etcd begins with counts only while it has no data; from then on it goes by what its members agreed on. It is part of
//! the command line all the same, since an agent knows its etcd again by that. So it is kept with the settings.

use std::ffi::OsString;
use std::net::SocketAddr;

use crate::ca::ETCD_NAME;
use crate::files::{CA_CERTIFICATE, Files, SERVICE_CERTIFICATE, SERVICE_KEY};
use crate::settings::{EtcdPeer, Settings, client_url, peer_url};

/// All that the command line follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EtcdPlan {
    /// Its name among the members: the host's id.
    pub(crate) name: String,
    /// Of the manager, where it listens; etcd has the next two ports.
    pub(crate) address: SocketAddr,
    /// Where the others reach it.
    pub(crate) told: SocketAddr,
    /// Those whose cluster it joins, itself among them; empty where it begins one.
    pub(crate) joins: Vec<EtcdPeer>,
}

impl EtcdPlan {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            name: settings.host.clone(),
            address: settings.signer,
            told: settings.served(),
            joins: settings.duty.etcd_joins.clone(),
        }
    }

    pub(crate) fn arguments(&self, files: &Files) -> Vec<OsString> {
        let (client, peer) = (client_url(self.address), peer_url(self.address));
        let (client_told, peer_told) = (client_url(self.told), peer_url(self.told));
        let (initial, state) = match self.joins.as_slice() {
            [] => (format!("{}={peer_told}", self.name), "new"),
            members => (listed(members), "existing"),
        };
        let mut arguments: Vec<OsString> = [
            "--name",
            &self.name,
            "--initial-cluster",
            &initial,
            "--initial-cluster-state",
            state,
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client_told,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer_told,
            "--client-cert-auth",
            "--client-cert-allowed-hostname",
            ETCD_NAME,
            "--peer-client-cert-auth",
            "--peer-cert-allowed-hostname",
            ETCD_NAME,
            "--experimental-peer-skip-client-san-verification",
            "--heartbeat-interval",
            HEARTBEAT_MS,
            "--auto-compaction-mode",
            "periodic",
            "--auto-compaction-retention",
            "10m",
            "--logger",
            "zap",
            "--log-level",
            "warn",
        ]
        .map(OsString::from)
        .into();
        for (option, file) in [
            ("--data-dir", DATA_DIR),
            ("--trusted-ca-file", CA_CERTIFICATE),
            ("--cert-file", SERVICE_CERTIFICATE),
            ("--key-file", SERVICE_KEY),
            ("--peer-trusted-ca-file", CA_CERTIFICATE),
            ("--peer-cert-file", SERVICE_CERTIFICATE),
            ("--peer-key-file", SERVICE_KEY),
        ] {
            arguments.extend([option.into(), files.path(file).into()]);
        }
        arguments
    }
}

fn listed(members: &[EtcdPeer]) -> String {
    let members = members
        .iter()
        .map(|member| format!("{}={}", member.name, member.url));
    members.collect::<Vec<_>>().join(",")
}

/// etcd's data, in the cluster's directory.
pub(crate) const DATA_DIR: &str = "etcd";

/// Milliseconds between the words of a leader to its followers: as many as etcd takes with its election timeout of a second, which
/// stays. Twice its default, and half the packets of a cluster that has nothing to say.
const HEARTBEAT_MS: &str = "200";

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(joins: Vec<EtcdPeer>) -> Vec<String> {
        arguments_at("192.0.2.1:4790", joins)
    }

    fn arguments_at(told: &str, joins: Vec<EtcdPeer>) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let plan = EtcdPlan {
            name: "0a0b".into(),
            address: "192.0.2.1:4790".parse().unwrap(),
            told: told.parse().unwrap(),
            joins,
        };
        let arguments = plan.arguments(&Files::new(dir.path()));
        let text = |argument: OsString| argument.into_string().unwrap();
        arguments.into_iter().map(text).collect()
    }

    fn after<'a>(arguments: &'a [String], option: &str) -> &'a str {
        let at = arguments.iter().position(|argument| argument == option);
        &arguments[at.unwrap() + 1]
    }

    #[test]
    fn an_etcd_by_itself_can_be_reached_by_others_later() {
        let own = arguments(Vec::new());
        let peer = "https://192.0.2.1:4792";
        assert_eq!(after(&own, "--listen-peer-urls"), peer);
        assert_eq!(after(&own, "--initial-advertise-peer-urls"), peer);
        assert_eq!(after(&own, "--initial-cluster"), format!("0a0b={peer}"));
        assert_eq!(after(&own, "--initial-cluster-state"), "new");
        assert_eq!(after(&own, "--peer-cert-allowed-hostname"), ETCD_NAME);
    }

    #[test]
    fn an_etcd_behind_a_translator_listens_here_and_is_known_elsewhere() {
        let own = arguments_at("203.0.113.7:4790", Vec::new());
        let (peer, client) = ("https://203.0.113.7:4792", "https://203.0.113.7:4791");
        assert_eq!(after(&own, "--listen-peer-urls"), "https://192.0.2.1:4792");
        assert_eq!(
            after(&own, "--listen-client-urls"),
            "https://192.0.2.1:4791"
        );
        assert_eq!(after(&own, "--initial-advertise-peer-urls"), peer);
        assert_eq!(after(&own, "--advertise-client-urls"), client);
        assert_eq!(after(&own, "--initial-cluster"), format!("0a0b={peer}"));
    }

    #[test]
    fn an_etcd_that_joins_names_all_members() {
        let peer = |name: &str, n: u8| EtcdPeer {
            name: name.into(),
            url: format!("https://192.0.2.{n}:4792"),
        };
        let joining = arguments(vec![peer("0a00", 9), peer("0a0b", 1)]);
        assert_eq!(
            after(&joining, "--initial-cluster"),
            "0a00=https://192.0.2.9:4792,0a0b=https://192.0.2.1:4792"
        );
        assert_eq!(after(&joining, "--initial-cluster-state"), "existing");
    }
}
