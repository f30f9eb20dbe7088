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
    #[error("etcd has no such member")]
    NoMember,
    #[error("that member of etcd has its vote already")]
    NoLearner,
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
        let added =
            self.change(async |client| client.member_add([peer_url], Some(options.clone())).await)?;
        match added {
            Ok(added) => Ok(added
                .member()
                .map(etcd_client::Member::id)
                .unwrap_or_default()),
            Err(Refusal::NoMember) => Err(ChangeMembers::JustRemoved),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Gives a member its vote. One that has it keeps it.
    pub fn promote_learner(&self, id: u64) -> Result<(), ChangeMembers> {
        let promoted = self.change(async |client| client.member_promote(id).await)?;
        unless(promoted, Refusal::NoLearner)
    }

    /// One that is no member is no error.
    pub fn remove_member(&self, id: u64) -> Result<(), ChangeMembers> {
        let removed = self.change(async |client| client.member_remove(id).await)?;
        unless(removed, Refusal::NoMember)
    }

    /// From now on the others reach a member there.
    pub fn move_member(&self, id: u64, peer_url: &str) -> Result<(), ChangeMembers> {
        let urls = vec![peer_url.to_owned()];
        let moved = self.change(async |client| client.member_update(id, urls.clone()).await)?;
        Ok(moved.map(drop)?)
    }

    fn change<T>(
        &self,
        work: impl AsyncFn(&mut etcd_client::Client) -> Result<T, Error>,
    ) -> Result<Result<T, Refusal>, StoreError> {
        let refused = |error| Refusal::of(&error).ok_or_else(|| self.failed(&error));
        match self.ask(Repeat::Never, work)? {
            Ok(done) => Ok(Ok(done)),
            Err(error) => refused(error).map(Err),
        }
    }
}

/// An answer of etcd that is no failure of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NotInStep,
    NoLearner,
    TooManyLearners,
    Unhealthy,
    NotStarted,
    NoMember,
}

impl Refusal {
    fn of(error: &Error) -> Option<Self> {
        let Error::GRpcStatus(status) = error else {
            return None;
        };
        Self::said(status.code().into(), status.message())
    }

    fn said(code: i32, message: &str) -> Option<Self> {
        let mut known = REFUSALS.iter();
        let (.., refusal) = known.find(|(its, words, _)| *its == code && *words == message)?;
        Some(*refusal)
    }
}

impl From<Refusal> for ChangeMembers {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotInStep => Self::NotInStep,
            Refusal::TooManyLearners => Self::Busy,
            Refusal::Unhealthy | Refusal::NotStarted => Self::Unhealthy,
            Refusal::NoLearner => Self::NoLearner,
            Refusal::NoMember => Self::NoMember,
        }
    }
}

/// A refusal of this kind says that it is so already.
fn unless<T>(changed: Result<T, Refusal>, is_so: Refusal) -> Result<(), ChangeMembers> {
    match changed {
        Err(refusal) if refusal == is_so => Ok(()),
        changed => Ok(changed.map(drop)?),
    }
}

/// As etcd says them (api/v3rpc/rpctypes/error.go): a code of gRPC, which several have in common, and the words.
const REFUSALS: [(i32, &str, Refusal); 6] = [
    (
        FAILED_PRECONDITION,
        "etcdserver: can only promote a learner member which is in sync with leader",
        Refusal::NotInStep,
    ),
    (
        FAILED_PRECONDITION,
        "etcdserver: can only promote a learner member",
        Refusal::NoLearner,
    ),
    (
        FAILED_PRECONDITION,
        "etcdserver: too many learner members in cluster",
        Refusal::TooManyLearners,
    ),
    (
        UNAVAILABLE,
        "etcdserver: unhealthy cluster",
        Refusal::Unhealthy,
    ),
    (
        FAILED_PRECONDITION,
        "etcdserver: re-configuration failed due to not enough started members",
        Refusal::NotStarted,
    ),
    (NOT_FOUND, "etcdserver: member not found", Refusal::NoMember),
];
const NOT_FOUND: i32 = 5;
const FAILED_PRECONDITION: i32 = 9;
const UNAVAILABLE: i32 = 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_what_etcd_says_and_nothing_like_it() {
        for (code, words, refusal) in REFUSALS {
            assert_eq!(Refusal::said(code, words), Some(refusal));
            assert_eq!(Refusal::said(code + 1, words), None);
            assert_eq!(Refusal::said(code, &format!("{words} yet")), None);
        }
        assert_eq!(
            Refusal::of(&Error::WatchError("member not found".into())),
            None
        );
    }

    #[test]
    fn what_is_so_already_is_no_error() {
        for refusal in [Refusal::NoMember, Refusal::NoLearner] {
            assert!(unless(Err::<(), _>(refusal), refusal).is_ok());
            let other = unless(Err::<(), _>(Refusal::NotInStep), refusal);
            assert!(matches!(other, Err(ChangeMembers::NotInStep)), "{other:?}");
        }
    }
}
