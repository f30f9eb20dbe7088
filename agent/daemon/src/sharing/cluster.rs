//! This host's cluster: making it, joining it, leaving it.

use std::sync::Arc;
use std::time::Duration;

use agent_api::{
    ApiError, CaRotate, ClusterBackup, ClusterDetail, ClusterInit, ClusterJoin, ClusterManager,
    ClusterPoint, ClusterRecovered, ClusterRemove, ClusterRemoved, ClusterRestore, ClusterRevoke,
    ErrorKind, ManagersView, Token, TokenCreate,
};
use agent_cluster::{
    InitRequest, JoinCluster, JoinToken, Member, Removed, RestoreRequest, UseCluster,
};
use agent_core::shared::restoration::Held;
use overlay_core::{Directory, DirectoryConfig, Epoch, HostId, NetworkId};

use super::{Sharing, view};
use crate::locks::lock;

/// Whether this host is in a cluster. While it joins or leaves, nobody else can.
#[derive(Default)]
pub(super) enum Membership {
    #[default]
    Out,
    Changing,
    In(Arc<Member>),
}

/// Everything that is asked of clusters.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cluster {
    #[error(
        "this host is in no cluster; make one with `tapestry cluster init` or join one with `tapestry cluster join`"
    )]
    NoMember,
    #[error("this host is in cluster {0} already; leave it first with `tapestry cluster leave`")]
    Member(String),
    #[error("this host is just joining or leaving a cluster; try again when that is done")]
    Changing,
    #[error("{0}")]
    Token(String),
    #[error("a token lasts 1 to {} seconds", TOKEN_TTL_MAX.as_secs())]
    Ttl,
    #[error("network {network:?} of the cluster is in use here by {user:?}; remove that first")]
    InUse { network: String, user: String },
    #[error("this host cannot be named to others: {0}")]
    Host(String),
    #[error(transparent)]
    Use(#[from] UseCluster),
}

impl From<Cluster> for ApiError {
    fn from(error: Cluster) -> Self {
        let kind = match &error {
            Cluster::NoMember => ErrorKind::NotFound,
            Cluster::Member(_) | Cluster::Changing | Cluster::InUse { .. } => ErrorKind::Conflict,
            Cluster::Token(_) | Cluster::Ttl => ErrorKind::Invalid,
            Cluster::Use(UseCluster::NoHost(_)) => ErrorKind::NotFound,
            Cluster::Use(
                UseCluster::Refused(_) | UseCluster::Ambiguous(_) | UseCluster::Backup(_),
            ) => ErrorKind::Invalid,
            Cluster::Host(_) | Cluster::Use(_) => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// A change of the membership: what it comes to in the end, or what was before.
pub(crate) struct Change<'a> {
    sharing: &'a Sharing,
    outcome: Membership,
}

impl Change<'_> {
    /// The host is in no cluster when the change is over.
    pub(crate) fn end_out(mut self) {
        self.outcome = Membership::Out;
    }

    fn end_in(mut self, member: Arc<Member>) {
        self.outcome = Membership::In(member);
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        *lock(&self.sharing.membership) = std::mem::take(&mut self.outcome);
    }
}

impl Sharing {
    fn needed_member(&self) -> Result<Arc<Member>, Cluster> {
        self.member().ok_or(Cluster::NoMember)
    }

    /// Nobody else joins or leaves until the change is dropped.
    fn begin_joining(&self) -> Result<Change<'_>, Cluster> {
        let mut membership = lock(&self.membership);
        match &*membership {
            Membership::Out => {}
            Membership::Changing => return Err(Cluster::Changing),
            Membership::In(member) => return Err(Cluster::Member(member.cluster().to_owned())),
        }
        *membership = Membership::Changing;
        Ok(Change {
            sharing: self,
            outcome: Membership::Out,
        })
    }

    pub(crate) fn begin_leaving(&self) -> Result<(Change<'_>, Arc<Member>), Cluster> {
        let mut membership = lock(&self.membership);
        match std::mem::replace(&mut *membership, Membership::Changing) {
            Membership::In(member) => {
                let change = Change {
                    sharing: self,
                    outcome: Membership::In(Arc::clone(&member)),
                };
                Ok((change, member))
            }
            Membership::Out => {
                *membership = Membership::Out;
                Err(Cluster::NoMember)
            }
            Membership::Changing => Err(Cluster::Changing),
        }
    }

    /// Makes a cluster of this host; `take_up` wires it to the networks.
    pub(crate) fn init(
        &self,
        request: ClusterInit,
        take_up: impl FnOnce(&Arc<Member>) -> Result<(), Cluster>,
    ) -> Result<ClusterDetail, ApiError> {
        let change = self.begin_joining()?;
        let request = InitRequest {
            address: request.address,
            tcp_port: request.tcp_port,
            etcd: request.etcd,
        };
        let ground = &self.ground;
        let member = Member::init(&ground.config.cluster, request, &ground.runtime);
        let member = member.map_err(Cluster::from)?;
        self.enter(change, Arc::clone(&member), take_up)?;
        Ok(self.detail_in_step(&member))
    }

    /// Makes this host the only manager of the cluster in a backup. `held` are the addresses that it gives out meanwhile.
    pub(crate) fn restore(
        &self,
        request: ClusterRestore,
        held: Vec<Held>,
        take_up: impl FnOnce(&Arc<Member>) -> Result<(), Cluster>,
    ) -> Result<ClusterDetail, ApiError> {
        let change = self.begin_joining()?;
        let request = RestoreRequest {
            backup: request.backup,
            address: request.address,
            tcp_port: request.tcp_port,
            etcd: request.etcd,
            force: request.force,
            held,
        };
        let ground = &self.ground;
        let member = Member::restore(&ground.config.cluster, &request, &ground.runtime);
        let member = member.map_err(Cluster::from)?;
        self.enter(change, Arc::clone(&member), take_up)?;
        Ok(self.detail_in_step(&member))
    }

    /// Joins the cluster of the host that made the token.
    pub(crate) fn join(
        &self,
        request: &ClusterJoin,
        take_up: impl FnOnce(&Arc<Member>) -> Result<(), Cluster>,
    ) -> Result<ClusterDetail, ApiError> {
        let change = self.begin_joining()?;
        let token: JoinToken = request
            .token
            .parse()
            .map_err(|error| Cluster::Token(format!("{error}")))?;
        let request = JoinCluster {
            token,
            signer: request.address,
            address: request.advertise,
            udp_port: request.udp_port,
        };
        let ground = &self.ground;
        let member = Member::join(&ground.config.cluster, &request, &ground.runtime);
        let member = member.map_err(Cluster::from)?;
        self.enter(change, Arc::clone(&member), take_up)?;
        Ok(self.detail_in_step(&member))
    }

    /// Goes on as a member, where this host is one. Waits for nobody.
    pub(crate) fn resume(&self, take_up: impl FnOnce(&Arc<Member>) -> Result<(), Cluster>) {
        let ground = &self.ground;
        let resumed = self.begin_joining().and_then(|change| {
            match Member::resume(&ground.config.cluster, &ground.runtime)? {
                Some(member) => self.enter(change, member, take_up),
                None => Ok(()),
            }
        });
        if let Err(why) = resumed {
            ground.warn(format!("this host is out of its cluster: {why}"));
        }
    }

    /// The member's thread calls back as soon as it starts, and finds the membership then.
    fn enter(
        &self,
        change: Change<'_>,
        member: Arc<Member>,
        take_up: impl FnOnce(&Arc<Member>) -> Result<(), Cluster>,
    ) -> Result<(), Cluster> {
        change.end_in(Arc::clone(&member));
        take_up(&member)
    }

    /// When the networks of the cluster are here, so that whoever has joined can use them.
    fn detail_in_step(&self, member: &Member) -> ClusterDetail {
        if !member.is_in_step_within(IN_STEP_LIMIT) {
            tracing::warn!("this host is not in step with its cluster yet");
        }
        self.detail(member)
    }

    /// Starts what carries and orders what the cluster shares, before the member begins to tell of it.
    pub(crate) fn prepare(&self, host: HostId, networks: impl Iterator<Item = NetworkId>) {
        let mut directory = Directory::new(DirectoryConfig::new(host, Epoch(0)));
        for network in networks {
            directory.attach_network(network);
        }
        *lock(&self.directory) = Some(directory);
        self.filter.expect_tunnels(self.tunnels.addresses());
    }

    /// Takes down what a cluster brought, after the member has left.
    pub(crate) fn clear(&self) {
        *lock(&self.directory) = None;
        lock(&self.taken_in).clear();
        lock(&self.present).clear();
        self.follow_needs(Vec::new);
        self.tunnels.stop_quic();
        self.guard_tunnels(None);
    }

    pub(crate) fn inspect(&self) -> Result<ClusterDetail, ApiError> {
        Ok(self.detail(&*self.needed_member()?))
    }

    pub(crate) fn create_token(&self, request: &TokenCreate) -> Result<Token, ApiError> {
        let ttl = request.ttl_s.map_or(TOKEN_TTL_MAX, Duration::from_secs);
        if ttl > TOKEN_TTL_MAX || ttl.is_zero() {
            return Err(Cluster::Ttl.into());
        }
        let (token, address) = self.needed_member()?.token(ttl).map_err(Cluster::from)?;
        Ok(Token {
            token: token.to_string(),
            address,
            ttl_s: ttl.as_secs(),
        })
    }

    pub(crate) fn revoke(&self, request: &ClusterRevoke) -> Result<(), ApiError> {
        let revoked = self.needed_member()?.revoke(&request.host);
        let revoked = revoked.map_err(Cluster::from)?;
        tracing::info!(
            host = revoked.id,
            name = revoked.record.name,
            "host revoked"
        );
        Ok(())
    }

    pub(crate) fn promote(&self, request: &ClusterManager) -> Result<ManagersView, ApiError> {
        let promoted = self.needed_member()?.promote(&request.host);
        Ok(view::managers(promoted.map_err(Cluster::from)?))
    }

    pub(crate) fn demote(&self, request: &ClusterManager) -> Result<ManagersView, ApiError> {
        let demoted = self.needed_member()?.demote(&request.host);
        Ok(view::managers(demoted.map_err(Cluster::from)?))
    }

    pub(crate) fn recover(&self) -> Result<ClusterRecovered, ApiError> {
        let recovered = self.needed_member()?.recover();
        let removed = recovered.map_err(Cluster::from)?.removed;
        if !removed.is_empty() {
            tracing::warn!(
                removed = removed.join(", "),
                "this host is the only manager"
            );
        }
        Ok(ClusterRecovered { removed })
    }

    pub(crate) fn remove_host(&self, request: &ClusterRemove) -> Result<ClusterRemoved, ApiError> {
        let removed = self.needed_member()?.remove(&request.host);
        let Removed {
            host,
            was_manager,
            left,
        } = removed.map_err(Cluster::from)?;
        tracing::info!(host = host.id, name = host.record.name, "host removed");
        Ok(ClusterRemoved {
            id: host.id,
            name: host.record.name,
            was_manager,
            endpoints: left.endpoints,
            blocks: left.blocks,
            certificates: left.certificates,
        })
    }

    pub(crate) fn back_up(&self) -> Result<ClusterBackup, ApiError> {
        let backup = self.needed_member()?.backup().map_err(Cluster::from)?;
        tracing::info!("the cluster is backed up, with the CA's key");
        Ok(ClusterBackup { backup })
    }

    pub(crate) fn point_to(&self, request: ClusterPoint) -> Result<(), ApiError> {
        let pointed = self.needed_member()?.point_to(request.address);
        Ok(pointed.map_err(Cluster::from)?)
    }

    pub(crate) fn rotate_ca(&self, request: CaRotate) -> Result<(), ApiError> {
        let rotated = self.needed_member()?.rotate_ca(request.finish);
        rotated.map_err(Cluster::from)?;
        tracing::info!(finish = request.finish, "the cluster's CA is rotated");
        Ok(())
    }

    /// At the end of the agent. The member's thread may be in the midst of following.
    pub(crate) fn stop(&self) {
        if let Some(member) = self.member() {
            member.stop();
        }
    }
}

/// Of a cluster that answers, many times what it takes.
const IN_STEP_LIMIT: Duration = Duration::from_secs(5);
/// Long enough to walk to the other host, short enough for a token that was overheard.
const TOKEN_TTL_MAX: Duration = Duration::from_secs(15 * 60);
