//! Why something with the cluster does not work.

use std::net::SocketAddr;

use crate::ca::UseCa;
use crate::etcd_process::StartEtcd;
use crate::files::UseFile;
use crate::identity::UseIdentity;
use crate::signer::AskSigner;
use agent_store::{ConnectEtcd, StoreError};

/// Why something with the cluster does not work.
#[derive(Debug, thiserror::Error)]
pub enum UseCluster {
    #[error("{0}")]
    File(#[from] FileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Connect(#[from] ConnectEtcd),
    #[error("{0}")]
    Etcd(String),
    #[error("{0}")]
    Identity(String),
    #[error("cannot listen on {address}: {source}; another --advertise IP:PORT may be free")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("{0}")]
    Ask(String),
    #[error("{0}")]
    Refused(String),
    #[error("no host {0:?} in the cluster; `tapestry cluster ls` lists them")]
    NoHost(String),
    #[error("{0:?} fits more than one host; write its id")]
    Ambiguous(String),
}

/// Hides which file it was about in the type, not in the words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FileError(String);

impl From<UseFile> for UseCluster {
    fn from(error: UseFile) -> Self {
        Self::File(FileError(error.to_string()))
    }
}

impl From<UseIdentity> for UseCluster {
    fn from(error: UseIdentity) -> Self {
        Self::Identity(error.to_string())
    }
}

impl From<UseCa> for UseCluster {
    fn from(error: UseCa) -> Self {
        Self::Identity(error.to_string())
    }
}

impl From<StartEtcd> for UseCluster {
    fn from(error: StartEtcd) -> Self {
        Self::Etcd(error.to_string())
    }
}

impl From<AskSigner> for UseCluster {
    fn from(error: AskSigner) -> Self {
        Self::Ask(error.to_string())
    }
}
