//! How this host reaches the store: a manager speaks to etcd, everybody else to a manager.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use agent_core::shared::{MANAGERS, ManagerRecord, World};
use agent_store::{EtcdStore, ManagerStore, Store};

use crate::ClusterOptions;
use crate::dial::Managers;
use crate::error::UseCluster;
use crate::etcd_access::etcd_options;
use crate::files::Files;
use crate::identity::Identity;
use crate::lock::lock;
use crate::settings::Settings;

pub(crate) enum Access {
    Etcd(Arc<EtcdStore>),
    Managers {
        store: Arc<ManagerStore>,
        dial: Arc<Managers>,
    },
}

impl Access {
    /// Neither waits for anything; whether somebody answers shows with the first call.
    pub(crate) fn open(
        options: &ClusterOptions,
        files: &Files,
        settings: &Settings,
        identity: &Arc<Mutex<Identity>>,
    ) -> Result<Self, UseCluster> {
        if settings.signs {
            let etcd = etcd_options(options, files, settings, &lock(identity))?;
            return Ok(Self::Etcd(Arc::new(EtcdStore::connect(&etcd)?)));
        }
        let dial = Arc::new(Managers::new(Arc::clone(identity), settings.signer));
        let store = ManagerStore::new(Arc::clone(&dial) as _).map_err(UseCluster::Thread)?;
        Ok(Self::Managers {
            store: Arc::new(store),
            dial,
        })
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Etcd(store) => Arc::clone(store) as _,
            Self::Managers { store, .. } => Arc::clone(store) as _,
        }
    }

    /// With another certificate, or other CAs. Whoever checks certificates does so when a connection begins: one to a manager
    /// goes on where only the CAs are others.
    pub(crate) fn renew(
        &self,
        is_certified_anew: bool,
        options: &ClusterOptions,
        files: &Files,
        settings: &Settings,
        identity: &Identity,
    ) -> Result<(), UseCluster> {
        match self {
            Self::Etcd(store) => {
                Ok(store.reconnect(&etcd_options(options, files, settings, identity)?)?)
            }
            Self::Managers { store, .. } => {
                if is_certified_anew {
                    store.start_over();
                }
                Ok(())
            }
        }
    }

    /// Where the connections that are there lead nowhere.
    pub(crate) fn start_over(
        &self,
        options: &ClusterOptions,
        files: &Files,
        settings: &Settings,
        identity: &Identity,
    ) -> Result<(), UseCluster> {
        match self {
            Self::Etcd(store) => {
                Ok(store.start_over(&etcd_options(options, files, settings, identity)?)?)
            }
            Self::Managers { store, dial } => {
                dial.prefer(settings.signer);
                store.start_over();
                Ok(())
            }
        }
    }

    /// Which managers there are.
    pub(crate) fn learn(&self, world: &World) {
        if let Self::Managers { dial, .. } = self {
            dial.learn(managers(world));
        }
    }
}

/// Where members reach the store.
pub(crate) fn managers(world: &World) -> Vec<SocketAddr> {
    let managers = world.under::<ManagerRecord>(MANAGERS);
    managers.map(|(_, manager)| manager.address).collect()
}
