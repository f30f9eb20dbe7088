//! What a member tells whoever wires networks together.

use std::net::IpAddr;
use std::sync::Arc;

use agent_core::shared::Difference;
use agent_store::StoreError;

use crate::identity::Identity;
use crate::life::Session;
use crate::member::Member;

/// Wires networks together. Called on the member's thread; calls may block.
pub trait Follow: Send + Sync {
    /// The world is different now.
    fn follow(&self, member: &Arc<Member>, differences: Vec<Difference>);
    /// The world is what the store has, whatever was told of it before.
    fn settle(&self, member: &Arc<Member>);
    /// A session has begun: puts what this host shares under its lease. An error ends the session.
    fn begin(&self, member: &Arc<Member>, session: Session) -> Result<(), StoreError>;
    /// Time has passed: looks after what this host owns. An error ends the session.
    fn tend(&self, member: &Arc<Member>) -> Result<(), StoreError>;
    /// Where a host's connection comes from.
    fn locate(&self, host: &str) -> Option<IpAddr>;
    /// There is a new certificate.
    fn recertified(&self, identity: &Identity);
}
