//! What is asked about the cluster.

use super::{Answer, Client};
use crate::{
    CaRotate, ClusterBackup, ClusterDetail, ClusterHealth, ClusterInit, ClusterJoin,
    ClusterManager, ClusterPoint, ClusterRecovered, ClusterRemove, ClusterRemoved, ClusterRestore,
    ClusterRevoke, ManagersView, Token, TokenCreate,
};

impl Client {
    pub async fn cluster(&self) -> Answer<ClusterDetail> {
        self.fetch("/cluster").await
    }

    pub async fn cluster_health(&self) -> Answer<ClusterHealth> {
        self.fetch("/cluster/health").await
    }

    pub async fn init_cluster(&self, init: &ClusterInit) -> Answer<ClusterDetail> {
        self.post("/cluster/init", init).await
    }

    pub async fn join_cluster(&self, join: &ClusterJoin) -> Answer<ClusterDetail> {
        self.post("/cluster/join", join).await
    }

    pub async fn create_token(&self, token: &TokenCreate) -> Answer<Token> {
        self.post("/cluster/tokens", token).await
    }

    pub async fn revoke_host(&self, revoke: &ClusterRevoke) -> Answer<()> {
        self.tell("/cluster/revoke", revoke).await
    }

    pub async fn promote_host(&self, host: &ClusterManager) -> Answer<ManagersView> {
        self.post("/cluster/promote", host).await
    }

    pub async fn recover_cluster(&self) -> Answer<ClusterRecovered> {
        self.post("/cluster/recover", &()).await
    }

    pub async fn demote_host(&self, host: &ClusterManager) -> Answer<ManagersView> {
        self.post("/cluster/demote", host).await
    }

    pub async fn remove_host(&self, remove: &ClusterRemove) -> Answer<ClusterRemoved> {
        self.post("/cluster/remove", remove).await
    }

    pub async fn back_up_cluster(&self) -> Answer<ClusterBackup> {
        self.fetch("/cluster/backup").await
    }

    pub async fn restore_cluster(&self, restore: &ClusterRestore) -> Answer<ClusterDetail> {
        self.post("/cluster/restore", restore).await
    }

    /// Has this host ask the manager there.
    pub async fn point_to_manager(&self, point: &ClusterPoint) -> Answer<()> {
        self.tell("/cluster/managers", point).await
    }

    pub async fn rotate_ca(&self, rotate: &CaRotate) -> Answer<()> {
        self.tell("/cluster/ca/rotate", rotate).await
    }

    pub async fn leave_cluster(&self) -> Answer<()> {
        self.delete("/cluster").await
    }
}
