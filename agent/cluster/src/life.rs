//! A life of this host in the cluster.

use agent_store::LeaseId;

/// One life of this host in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub lease: LeaseId,
    pub epoch: u64,
    /// What is new gets at least this sequence number: higher ones than any agent before used in this session.
    pub floor: u32,
}
