//! Hosts that form a cluster: who belongs to it, how they know each other, and what they share.
//!
//! # Theory of operation
//!
//! One host makes the cluster: its CA ([`ca`]), and its store. The store is an etcd that was given, or one that the agent
//! starts ([`etcd_process`]). This host is a *manager*: other hosts come to it with a [`token`] to join, and later to renew their
//! certificates ([`manager_port`]). Managers alone speak to etcd. The others reach the store through a manager ([`dial`]), with the
//! certificate of their [`identity`], and the manager checks what they write by that ([`host_store`]). [`access`] is which of the
//! two ways this host goes.
//!
//! Managers come and go by [`orders`] in the store: a host becomes one ([`promotion`]) with what another one gives to it
//! ([`appointment`]), and is a member again after its [`demotion`].
//!
//! A [`Member`] is this host's part in the cluster while the agent runs. A thread of its own holds a [`session`]. A session is
//! a lease in the store that is kept alive; what this host tells the others is under that lease. The [`World`] is this host's copy
//! of everything that all hosts share. Whoever wires networks together follows its differences ([`Follow`]). Without the
//! store the session ends, and the world stays as it was last known: frames still flow by it.
//!
//! Every session has a number, its *epoch*. A session begins when the host writes the key that says that it is alive; the
//! store's revision of that write is the epoch. What a host said in an earlier epoch is void, and goes with its lease. An
//! agent that was killed and is back in time goes on with the session it had, so the others notice nothing.

mod access;
mod admission;
mod appointment;
mod authority;
mod back_up;
mod backup;
mod batch;
mod ca;
mod child;
mod clock;
mod demotion;
mod dial;
mod doorstep;
mod entry;
mod error;
mod etcd_access;
mod etcd_plan;
mod etcd_process;
mod files;
mod follow;
mod found;
mod handover;
mod hex;
mod host_id;
mod host_store;
mod identity;
mod leavings;
mod life;
mod lock;
mod manager_port;
mod member;
mod moving;
mod office;
mod orders;
mod place;
mod pointing;
mod presence;
mod promotion;
mod recovery;
mod removal;
mod renew;
mod renewal;
mod report;
mod restore;
mod roster;
mod rotation;
mod services;
mod session;
mod settings;
mod step;
mod token;
mod trust;
mod unrecorded;

use std::path::PathBuf;
use std::time::Duration;

pub use agent_core::shared::{
    ADDRESSES, ALIVE, ASKS, AliveRecord, AskRecord, BLOCKS, Difference, ENDPOINTS, EndpointShared,
    FOLLOWED, HOSTS, HostRecord, NAMES, NETWORKS, PageRecord, REVOKED, ServiceShared, VNIS, World,
};
pub use agent_store::wire::{DecodeMessage, decode};
pub use backup::ReadBackup;
pub use clock::now_s;
pub use error::{Refusal, UseCluster};
pub use follow::Follow;
pub use found::{InitRequest, JoinCluster};
pub use handover::{Handover, ManageRequest};
pub use identity::{Identity, KEY_LOG, certificate_end_s};
pub use leavings::Left;
pub use life::Session;
pub use manager_port::{JoinRequest, Joined, Reply, Request};
pub use member::Member;
pub use orders::ManagersNow;
pub use recovery::Recovered;
pub use removal::Removed;
pub use report::{Greeting, ManagerSeen};
pub use restore::RestoreRequest;
pub use roster::HostSeen;
pub use rotation::{CaState, Rotation};
pub use rustls::pki_types::CertificateDer;
pub use step::OutOfStep;
pub use token::JoinToken;

/// What the configuration says about clusters.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    pub state_dir: PathBuf,
    /// What other hosts call this one; its host name where absent.
    pub name: Option<String>,
    /// How long the cluster waits for a host that is silent.
    pub lease: Duration,
    /// How long a VNI rests after its network was removed.
    pub vni_rest: Duration,
    /// How long a certificate is good that this host signs.
    pub certificate_lifetime: Duration,
    /// Whether hosts that do not reach each other may go through this one.
    pub relay: bool,
    /// For an etcd that was given: CA, certificate and key, as PEM files.
    pub etcd_files: Option<[PathBuf; 3]>,
}

/// Where nothing else was said: the UDP port of tunnels over QUIC, and the TCP port of the signer. An etcd that the agent
/// starts has the next two TCP ports.
const DEFAULT_PORT: u16 = 4790;
