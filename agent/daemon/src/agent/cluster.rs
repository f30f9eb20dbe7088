//! This host's cluster: making it, joining it, leaving it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use agent_api::{
    ApiError, ClusterDetail, ClusterInit, ClusterJoin, ClusterRevoke, ErrorKind, HostState,
    HostView, Token, TokenCreate,
};
use overlay_core::{Directory, DirectoryConfig, Epoch, HostId};
use switch_core::Vni;

use super::overlay::Tunnels;
use super::state::State;
use super::{Agent, lock, view_overlay};
use crate::cluster::{Follow, InitRequest, JoinCluster, JoinToken, Member, UseCluster};

/// Everything that is asked of clusters.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cluster {
    #[error(
        "this host is in no cluster; make one with `tapestry cluster init` or join one with `tapestry cluster join`"
    )]
    NoMember,
    #[error("this host is in cluster {0} already; leave it first with `tapestry cluster leave`")]
    Member(String),
    #[error("{0}")]
    Token(String),
    #[error("a token lasts 1 to {} seconds", TOKEN_TTL_MAX.as_secs())]
    Ttl,
    #[error("network {network:?} of the cluster is in use here by {user:?}; remove that first")]
    InUse { network: String, user: String },
    #[error(transparent)]
    Use(#[from] UseCluster),
}

impl From<Cluster> for ApiError {
    fn from(error: Cluster) -> Self {
        let kind = match &error {
            Cluster::NoMember => ErrorKind::NotFound,
            Cluster::Member(_) | Cluster::InUse { .. } => ErrorKind::Conflict,
            Cluster::Token(_) | Cluster::Ttl => ErrorKind::Invalid,
            Cluster::Use(UseCluster::NoHost(_)) => ErrorKind::NotFound,
            Cluster::Use(UseCluster::Refused(_) | UseCluster::Ambiguous(_)) => ErrorKind::Invalid,
            Cluster::Use(_) => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

impl Agent {
    pub(super) fn member(&self) -> Option<Arc<Member>> {
        lock(&self.cluster).clone()
    }

    fn needed_member(&self) -> Result<Arc<Member>, Cluster> {
        self.member().ok_or(Cluster::NoMember)
    }

    pub(crate) fn init_cluster(
        self: &Arc<Self>,
        request: ClusterInit,
    ) -> Result<ClusterDetail, ApiError> {
        let _turn = self.free_turn()?;
        let request = InitRequest {
            address: request.address,
            tcp_port: request.tcp_port,
            etcd: request.etcd,
        };
        let member = Member::init(&self.config.cluster, request, &self.runtime);
        let member = member.map_err(Cluster::from)?;
        self.take_up(&member)?;
        Ok(self.cluster_detail(&member))
    }

    pub(crate) fn join_cluster(
        self: &Arc<Self>,
        request: &ClusterJoin,
    ) -> Result<ClusterDetail, ApiError> {
        let _turn = self.free_turn()?;
        let token: JoinToken = request
            .token
            .parse()
            .map_err(|error| Cluster::Token(format!("{error}")))?;
        let request = JoinCluster {
            token,
            signer: request.address,
            address: request.advertise,
        };
        let member = Member::join(&self.config.cluster, &request, &self.runtime);
        let member = member.map_err(Cluster::from)?;
        self.take_up(&member)?;
        Ok(self.cluster_detail(&member))
    }

    pub(crate) fn inspect_cluster(&self) -> Result<ClusterDetail, ApiError> {
        Ok(self.cluster_detail(&*self.needed_member()?))
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

    pub(crate) fn revoke_host(&self, request: &ClusterRevoke) -> Result<(), ApiError> {
        let revoked = self.needed_member()?.revoke(&request.host);
        let revoked = revoked.map_err(Cluster::from)?;
        tracing::info!(
            host = revoked.id,
            name = revoked.record.name,
            "host revoked"
        );
        Ok(())
    }

    pub(crate) fn leave_cluster(&self) -> Result<(), ApiError> {
        let _turn = lock(&self.cluster_turn);
        let member = self.needed_member()?;
        refuse_users(&self.state())?;
        member.leave().map_err(Cluster::from)?;
        *lock(&self.cluster) = None;
        let mut state = self.state();
        state.directory = None;
        let shared = state.networks.values();
        let shared: Vec<_> = shared
            .filter(|network| network.record.shared().is_some())
            .map(|network| network.record.id.clone())
            .collect();
        for id in shared {
            self.drop_network(&mut state, &id)?;
        }
        state.tunnels.stop_quic(&self.switch);
        self.guard_tunnels(&mut state, None);
        Ok(())
    }

    /// Goes on as a member, where this host is one.
    pub(super) fn resume_cluster(self: &Arc<Self>) {
        let resumed = Member::resume(&self.config.cluster, &self.runtime);
        let taken_up = match resumed {
            Ok(None) => Ok(()),
            Ok(Some(member)) => self.take_up(&member).map_err(|error| error.message),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = taken_up {
            self.warn(format!("this host is out of its cluster: {why}"));
        }
    }

    /// Without the lock of the state: the member's thread may wait for it.
    pub(super) fn stop_cluster(&self) {
        if let Some(member) = self.member() {
            member.stop();
        }
    }

    fn take_up(self: &Arc<Self>, member: &Arc<Member>) -> Result<(), ApiError> {
        let failed = |why: String| ApiError::new(ErrorKind::Failed, why);
        let host = HostId::new(member.host()).map_err(|error| failed(error.to_string()))?;
        self.find_place(member);
        {
            let mut state = self.state();
            if let Err(why) = self.start_quic(&mut state, member, &host) {
                self.warn(format!(
                    "networks over QUIC do not reach other hosts: {why}"
                ));
            }
            let mut directory = Directory::new(DirectoryConfig::new(host, Epoch(0)));
            for network in state.networks.values() {
                if let Some(vni) = network
                    .record
                    .shared()
                    .and_then(|shared| Vni::new(shared.vni))
                {
                    directory.attach_network(vni);
                }
            }
            state.directory = Some(directory);
            self.guard_tunnels(&mut state, Some(member));
        }
        *lock(&self.cluster) = Some(Arc::clone(member));
        let this: Weak<Self> = Arc::downgrade(self);
        let follower: Weak<dyn Follow> = this;
        member.start(follower).map_err(Cluster::from)?;
        Ok(())
    }

    fn cluster_detail(&self, member: &Member) -> ClusterDetail {
        detail(member, &self.state().tunnels)
    }

    /// One at a time, and not in a cluster yet.
    fn free_turn(&self) -> Result<std::sync::MutexGuard<'_, ()>, Cluster> {
        let turn = lock(&self.cluster_turn);
        match self.member() {
            None => Ok(turn),
            Some(member) => Err(Cluster::Member(member.cluster().to_owned())),
        }
    }
}

fn refuse_users(state: &State) -> Result<(), Cluster> {
    let shared = state.networks.values();
    let in_use = shared
        .filter(|network| network.record.shared().is_some())
        .find_map(|network| Some((network, network.endpoints.values().next()?)));
    match in_use {
        None => Ok(()),
        Some((network, endpoint)) => Err(Cluster::InUse {
            network: network.record.name.clone(),
            user: endpoint.record.name.clone(),
        }),
    }
}

fn detail(member: &Member, tunnels: &Tunnels) -> ClusterDetail {
    let in_step = member.session().is_some();
    let tunnel = |host: &str| view_overlay::host_tunnel(tunnels.quic()?, host);
    let hosts = member.hosts().into_iter().map(|host| HostView {
        own: host.id == member.host(),
        state: match host.alive {
            Some(_) => HostState::Up,
            None => HostState::Down,
        },
        address: host
            .alive
            .map_or(host.record.address, |alive| alive.address),
        tunnel: tunnel(&host.id),
        name: host.record.name,
        joined_s: host.record.joined_s,
        id: host.id,
    });
    ClusterDetail {
        id: member.cluster().to_owned(),
        host: member.host().to_owned(),
        in_step,
        certificate_until_s: member.certificate_until_s(),
        hosts: hosts.collect(),
        refused: member.refused(),
        quic: view_overlay::quic(tunnels),
    }
}

/// Long enough to walk to the other host, short enough for a token that was overheard.
const TOKEN_TTL_MAX: Duration = Duration::from_secs(15 * 60);
