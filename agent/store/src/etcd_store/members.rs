//! The members of an etcd: who they are, who joins them and who leaves.

use etcd_client::{Error, MemberAddOptions};

use super::endpoints::Repeat;
use super::{EtcdStore, StoreError};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdMember {
    pub id: u64,
    /// Empty while it was never started.
    pub name: String,
    /// Where the others reach it.
    pub peer_urls: Vec<String>,
    /// Whether it follows and has no vote.
    pub is_learner: bool,
}

/// Why the members stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum ChangeMembers {
    #[error("the new member of etcd is not in step with the others yet")]
    NotInStep,
    #[error("another host is just being promoted")]
    Busy,
    #[error("etcd changes its members only while all of them are connected, and have been for 5 s")]
    Unhealthy,
    /// etcd makes an id of the address and the second.
    #[error("etcd has removed a member with that address in this very second; try again")]
    JustRemoved,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EtcdStore {
    pub fn members(&self) -> Result<Vec<EtcdMember>, StoreError> {
        let listed = self.call(Repeat::Harmless, async |client| client.member_list().await)?;
        let member = |member: &etcd_client::Member| EtcdMember {
            id: member.id(),
            name: member.name().to_owned(),
            peer_urls: member.peer_urls().to_vec(),
            is_learner: member.is_learner(),
        };
        Ok(listed.members().iter().map(member).collect())
    }

    /// A place for one that follows the others until it is in step. Returns its id.
    pub fn add_learner(&self, peer_url: &str) -> Result<u64, ChangeMembers> {
        let options = MemberAddOptions::new().with_is_learner();
        let added = self
            .change(async |client| client.member_add([peer_url], Some(options.clone())).await)
            .map_err(|error| match error {
                ChangeMembers::Store(StoreError::Unreachable { reason, .. })
                    if reason.contains(NO_MEMBER) =>
                {
                    ChangeMembers::JustRemoved
                }
                error => error,
            })?;
        Ok(added
            .member()
            .map(etcd_client::Member::id)
            .unwrap_or_default())
    }

    /// Gives a member its vote. One that has it keeps it.
    pub fn promote_learner(&self, id: u64) -> Result<(), ChangeMembers> {
        let promoted = self.change(async |client| client.member_promote(id).await);
        unless(promoted, NO_LEARNER)
    }

    /// One that is no member is no error.
    pub fn remove_member(&self, id: u64) -> Result<(), ChangeMembers> {
        let removed = self.change(async |client| client.member_remove(id).await);
        unless(removed, NO_MEMBER)
    }

    /// From now on the others reach a member there.
    pub fn move_member(&self, id: u64, peer_url: &str) -> Result<(), ChangeMembers> {
        let urls = vec![peer_url.to_owned()];
        self.change(async |client| client.member_update(id, urls.clone()).await)
            .map(drop)
    }

    fn change<T>(
        &self,
        work: impl AsyncFn(&mut etcd_client::Client) -> Result<T, Error>,
    ) -> Result<T, ChangeMembers> {
        self.call(Repeat::Never, work).map_err(refusal)
    }
}

/// What etcd means by its words.
fn refusal(error: StoreError) -> ChangeMembers {
    let StoreError::Unreachable { reason, .. } = &error else {
        return error.into();
    };
    let says = |words: &str| reason.contains(words);
    if says(NOT_IN_STEP) {
        ChangeMembers::NotInStep
    } else if says(TOO_MANY_LEARNERS) {
        ChangeMembers::Busy
    } else if says(UNHEALTHY) || says(NOT_STARTED) {
        ChangeMembers::Unhealthy
    } else {
        error.into()
    }
}

/// A refusal by these words says that it is so already.
fn unless<T>(changed: Result<T, ChangeMembers>, words: &str) -> Result<(), ChangeMembers> {
    match changed {
        Err(ChangeMembers::Store(StoreError::Unreachable { reason, .. }))
            if reason.contains(words) =>
        {
            Ok(())
        }
        changed => changed.map(drop),
    }
}

/// etcd's own words (api/v3rpc/rpctypes/error.go).
const NOT_IN_STEP: &str = "which is in sync with leader";
const NO_LEARNER: &str = "can only promote a learner member";
const TOO_MANY_LEARNERS: &str = "too many learner members";
const UNHEALTHY: &str = "unhealthy cluster";
const NOT_STARTED: &str = "not enough started members";
const NO_MEMBER: &str = "member not found";

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &str) -> StoreError {
        StoreError::Unreachable {
            endpoints: "e".into(),
            reason: format!("etcdserver: {words}"),
        }
    }

    #[test]
    fn etcds_words_are_told_apart() {
        use ChangeMembers::{Busy, NotInStep, Store, Unhealthy};
        let of = |words: &str| refusal(said(words));
        assert!(matches!(
            of("can only promote a learner member which is in sync with leader"),
            NotInStep
        ));
        assert!(matches!(of("too many learner members in cluster"), Busy));
        assert!(matches!(of("unhealthy cluster"), Unhealthy));
        assert!(matches!(
            of("re-configuration failed due to not enough started members"),
            Unhealthy
        ));
        assert!(matches!(of("member not found"), Store(_)));
    }

    #[test]
    fn what_is_so_already_is_no_error() {
        let gone = Err::<(), _>(refusal(said(NO_MEMBER)));
        assert!(unless(gone, NO_MEMBER).is_ok());
        let voter = Err::<(), _>(refusal(said(NO_LEARNER)));
        assert!(unless(voter, NO_LEARNER).is_ok());
        let waits = Err::<(), _>(refusal(said(&format!("{NO_LEARNER} {NOT_IN_STEP}"))));
        assert!(unless(waits, NO_LEARNER).is_err());
    }
}
