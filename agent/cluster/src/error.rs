//! Why something with the cluster does not work.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use agent_core::name::BadName;
use agent_core::shared::managers::{DenyDemotion, DenyPromotion};
use agent_store::{ChangeMembers, ConnectEtcd, StoreError};

use crate::backup::ReadBackup;
use crate::ca::UseCa;
use crate::etcd_process::StartEtcd;
use crate::files::UseFile;
use crate::identity::UseIdentity;
use crate::manager_port::AskManager;

/// Why something with the cluster does not work.
#[derive(Debug, thiserror::Error)]
pub enum UseCluster {
    #[error(transparent)]
    File(#[from] UseFile),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Connect(#[from] ConnectEtcd),
    #[error(transparent)]
    Etcd(#[from] StartEtcd),
    #[error(transparent)]
    Identity(#[from] UseIdentity),
    #[error(transparent)]
    Ca(#[from] UseCa),
    #[error("cannot listen on {address}: {source}; another --advertise IP:PORT may be free")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("no thread for the cluster: {0}")]
    Thread(io::Error),
    #[error(transparent)]
    Ask(#[from] AskManager),
    #[error(transparent)]
    Backup(#[from] ReadBackup),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Members(#[from] ChangeMembers),
    #[error("no host {0:?} in the cluster; `tapestry cluster ls` lists them")]
    NoHost(String),
    #[error("{0:?} fits more than one host; write its id")]
    Ambiguous(String),
}

/// What was asked for cannot be done; the words say what to ask for instead.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("this host has no way out to take an address from; give one with --advertise IP")]
    NoWayOut,
    #[error("{0:?} is no URL of etcd; write it as https://192.0.2.1:2379")]
    NotAUrl(String),
    #[error("this etcd holds a cluster already; join that, or give another etcd")]
    ClusterExists,
    #[error("host name: {0}; the configuration may give another: [cluster] name")]
    HostName(BadName),
    #[error(
        "an etcd with https needs certificates; name them in the agent's configuration: \
         [cluster] etcd_ca, etcd_certificate, etcd_key"
    )]
    NoCertificates,
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the manager answered something else")]
    OddAnswer,
    #[error(
        "this host is no manager of the cluster; run `tapestry cluster {verb}` on one: {managers}"
    )]
    NoManager {
        verb: &'static str,
        managers: String,
    },
    #[error(
        "the CA is being rotated; `tapestry cluster ls` shows how far that is, and --finish ends it without the hosts that are left"
    )]
    Rotating,
    #[error("the CA is not being rotated")]
    NotRotating,
    #[error("this host has not taken up the CA that was made last; try again")]
    TakesUpCa,
    #[error("the record names a CA that none vouches for whom this host trusts")]
    StrangeCa,
    #[error("the key of the CA that signs now is not on this host")]
    NoCaKey,
    #[error(
        "another agent, at {address}, is host {host} already: this state directory is a copy of that one's. \
         `tapestry cluster leave` here leaves the other alone; then join with a token"
    )]
    Double { host: String, address: IpAddr },
    #[error("somebody deleted this host's sign of life; it is given anew")]
    Forgotten,
    #[error("this host cannot revoke itself; use `tapestry cluster leave`")]
    RevokesItself,
    #[error("this host cannot remove itself; use `tapestry cluster leave`")]
    RemovesItself,
    #[error(
        "{0} is alive; run `tapestry cluster leave` there, or shut it out with `tapestry cluster revoke {0}`"
    )]
    Alive(String),
    #[error("{0} is a manager; take that from it first, with `tapestry cluster demote {0}`")]
    DemoteFirst(String),
    #[error("this host is a manager itself, and asks no other one")]
    IsManager,
    #[error(
        "a manager of this cluster answers at {0}, so the cluster lives: join it with a token, or shut its managers out with --force"
    )]
    Lives(SocketAddr),
    #[error("{} holds what is left of a cluster; move it away first", .0.display())]
    Leftovers(PathBuf),
    #[error(
        "this host is the last manager, and others still need it; promote one of them and demote this host first, or let them leave"
    )]
    StillNeeded,
    #[error(
        "this host is a manager; run `tapestry cluster demote {0}` first, and leave when that is done"
    )]
    Manages(String),
    #[error("{0} is a manager; run `tapestry cluster demote {0}` first, whether or not it is up")]
    RevokesManager(String),
    #[error("{host} {why}")]
    Promote { host: String, why: DenyPromotion },
    #[error("{host} {why}")]
    Demote { host: String, why: DenyDemotion },
    #[error("{host} is not promoted: {why}")]
    NotPromoted { host: String, why: String },
    #[error(
        "the managers' etcd changes nothing now ({reason}); it needs more than half of the managers: start those that are down"
    )]
    NoQuorum { reason: String },
    #[error("the order to be a manager was taken back")]
    OrderGone,
    #[error("no other manager is known here")]
    NoOtherManager,
    #[error(
        "the cluster's etcd is not run by tapestry; recover it by its own means, and the managers go on with it"
    )]
    OutsideEtcd,
    #[error(
        "{0} answers, and is a manager too: start enough of the others, or stop the agent there, which is joined anew later, and try again"
    )]
    ManagerAnswers(String),
}
