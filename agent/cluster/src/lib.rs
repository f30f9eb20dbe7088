//! Hosts that form a cluster: who belongs to it, how they know each other, and what they share.
//!
//! # Theory of operation
//!
//! One host makes the cluster: its CA ([`ca`]), and its store, an etcd that is given or a child of the agent
//! ([`etcd_process`]). It stays the *signer*: hosts come to it with a [`token`] and to renew their certificates
//! ([`signer`]). Every host then speaks to etcd by itself, with the certificate of its [`identity`].
//!
//! A [`Member`] is this host's part in the cluster while the agent runs. Its thread holds a *session*: a lease in etcd, kept
//! alive, under which the host's own records are, and a [`World`], the copy of everything that all hosts share. Whoever wires
//! networks together follows the world's differences ([`Follow`]). Without etcd the session ends and the world stays as it
//! was last known: frames flow by it. Attempts to come back are spread out at random.
//!
//! A session's number is its epoch: the revision that the key had at its beginning which says that the host is alive. What a host said in an earlier epoch
//! is void; its lease takes it away at the latest.

mod admission;
mod ca;
mod clock;
mod error;
mod etcd_access;
mod etcd_process;
mod files;
mod follow;
mod found;
mod hex;
mod identity;
mod lock;
mod member;
mod moving;
mod place;
mod renew;
mod roster;
mod services;
mod session;
mod settings;
mod signer;
mod token;

use std::path::PathBuf;
use std::time::Duration;

pub use agent_core::shared::{
    ADDRESSES, ALIVE, AliveRecord, Difference, ENDPOINTS, EndpointShared, HOSTS, Holder,
    HostRecord, NAMES, NETWORKS, ServiceShared, VNIS, World,
};
pub use clock::now_s;
pub use error::{Refusal, UseCluster};
pub use follow::Follow;
pub use found::{InitRequest, JoinCluster};
pub use identity::{Identity, KEY_LOG, certificate_end_s};
pub use member::{Member, Session};
pub use token::JoinToken;

/// What the configuration says about clusters.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    pub state_dir: PathBuf,
    /// What other hosts call this one; its host name where absent.
    pub name: Option<String>,
    /// How long the cluster waits for a host that is silent.
    pub lease: Duration,
    /// How long a certificate is good that this host signs.
    pub certificate_lifetime: Duration,
    /// Certificates for an etcd that is given: CA, certificate and key, as PEM files.
    pub etcd_files: Option<[PathBuf; 3]>,
}

/// Of UDP for tunnels, and of TCP where the signer listens, unless told otherwise. A managed etcd has the next two of TCP.
const DEFAULT_PORT: u16 = 4790;
