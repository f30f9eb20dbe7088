//! How this host reaches the store: a manager speaks to etcd, everybody else to a manager.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use agent_core::shared::{HOSTS, HostRecord, MANAGERS, ManagerRecord, World};
use agent_store::{EtcdOptions, EtcdStore, ManagerStore, Store};

use crate::ClusterOptions;
use crate::dial::{Managers, Perhaps};
use crate::error::UseCluster;
use crate::etcd_access::etcd_options;
use crate::files::Files;
use crate::identity::Identity;
use crate::lock::lock;
use crate::settings::Settings;

/// The way that this host goes now. It changes when the host is promoted or demoted.
pub(crate) struct Access {
    way: Mutex<Way>,
    /// Where all managers are, as far as is known.
    managers: Mutex<Vec<SocketAddr>>,
    perhaps: Arc<Perhaps>,
    /// How often the way changed.
    changes: AtomicU64,
}

#[derive(Clone)]
enum Way {
    Etcd(Arc<EtcdStore>),
    Managers {
        store: Arc<ManagerStore>,
        dial: Arc<Managers>,
    },
}

/// What a way is made by.
pub(crate) struct Means<'a> {
    pub(crate) options: &'a ClusterOptions,
    pub(crate) files: &'a Files,
    pub(crate) settings: &'a Settings,
    pub(crate) identity: &'a Arc<Mutex<Identity>>,
}

impl Access {
    /// Neither waits for anything; whether somebody answers shows with the first call.
    pub(crate) fn open(means: &Means<'_>, world: &World) -> Result<Self, UseCluster> {
        let managers = managers(world);
        let perhaps = Arc::<Perhaps>::default();
        perhaps.learn(others(world, means.settings));
        Ok(Self {
            way: Mutex::new(way(means, &managers, &perhaps)?),
            managers: Mutex::new(managers),
            perhaps,
            changes: AtomicU64::new(0),
        })
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self.way() {
            Way::Etcd(store) => store,
            Way::Managers { store, .. } => store,
        }
    }

    /// As a manager.
    pub(crate) fn etcd(&self) -> Option<Arc<EtcdStore>> {
        match self.way() {
            Way::Etcd(store) => Some(store),
            Way::Managers { .. } => None,
        }
    }

    /// Goes the other way from now on, if the duty is another one. What is watched over the old way is watched no more.
    pub(crate) fn change(&self, means: &Means<'_>) -> Result<(), UseCluster> {
        let managers = lock(&self.managers).clone();
        let new = way(means, &managers, &self.perhaps)?;
        let old = std::mem::replace(&mut *lock(&self.way), new);
        self.changes.fetch_add(1, Ordering::Release);
        // Its watches end only now, when whoever follows one can find out why.
        drop(old);
        Ok(())
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// With another certificate, or other CAs. Whoever checks certificates does so when a connection begins: one to a manager
    /// goes on where only the CAs are others.
    pub(crate) fn renew(
        &self,
        is_certified_anew: bool,
        means: &Means<'_>,
    ) -> Result<(), UseCluster> {
        match self.way() {
            Way::Etcd(store) => Ok(store.reconnect(&self.etcd_options(means)?)?),
            Way::Managers { store, .. } => {
                if is_certified_anew {
                    store.start_over();
                }
                Ok(())
            }
        }
    }

    /// Where the connections that are there lead nowhere.
    pub(crate) fn start_over(&self, means: &Means<'_>) -> Result<(), UseCluster> {
        match self.way() {
            Way::Etcd(store) => Ok(store.start_over(&self.etcd_options(means)?)?),
            Way::Managers { store, dial } => {
                dial.prefer(means.settings.signer);
                store.start_over();
                Ok(())
            }
        }
    }

    /// The manager that this host reaches the store by; none where it does so by itself, or while nobody answers.
    pub(crate) fn manager(&self) -> Option<SocketAddr> {
        match self.way() {
            Way::Etcd(_) => None,
            Way::Managers { dial, .. } => dial.asked(),
        }
    }

    /// Which managers there are.
    pub(crate) fn learn(&self, world: &World, means: &Means<'_>) -> Result<(), UseCluster> {
        let now = managers(world);
        let before = std::mem::replace(&mut *lock(&self.managers), now.clone());
        self.perhaps.learn(others(world, means.settings));
        match self.way() {
            Way::Etcd(store) if before != now => Ok(store.reconnect(&self.etcd_options(means)?)?),
            Way::Etcd(_) => Ok(()),
            Way::Managers { dial, .. } => {
                dial.learn(now);
                Ok(())
            }
        }
    }

    /// Some of the hosts that may be managers by now, other ones each time.
    pub(crate) fn perhaps(&self) -> Vec<SocketAddr> {
        self.perhaps.take()
    }

    fn way(&self) -> Way {
        lock(&self.way).clone()
    }

    fn etcd_options(&self, means: &Means<'_>) -> Result<EtcdOptions, UseCluster> {
        let managers = lock(&self.managers).clone();
        options_of(means, &managers)
    }
}

fn way(
    means: &Means<'_>,
    managers: &[SocketAddr],
    perhaps: &Arc<Perhaps>,
) -> Result<Way, UseCluster> {
    let Means {
        settings, identity, ..
    } = means;
    if settings.duty.signs {
        let etcd = EtcdStore::connect(&options_of(means, managers)?)?;
        return Ok(Way::Etcd(Arc::new(etcd)));
    }
    let dial = Managers::new(Arc::clone(identity), settings.signer, Arc::clone(perhaps));
    let dial = Arc::new(dial);
    dial.learn(managers.to_vec());
    let store = ManagerStore::new(Arc::clone(&dial) as _).map_err(UseCluster::Thread)?;
    Ok(Way::Managers {
        store: Arc::new(store),
        dial,
    })
}

fn options_of(means: &Means<'_>, managers: &[SocketAddr]) -> Result<EtcdOptions, UseCluster> {
    let identity = lock(means.identity).clone();
    etcd_options(
        means.options,
        means.files,
        (means.settings, managers),
        &identity,
    )
}

/// Where members reach the store.
pub(crate) fn managers(world: &World) -> Vec<SocketAddr> {
    let managers = world.under::<ManagerRecord>(MANAGERS);
    managers.map(|(_, manager)| manager.address).collect()
}

/// Where other hosts would serve if they were managers by now.
fn others(world: &World, settings: &Settings) -> Vec<SocketAddr> {
    let hosts = world.under::<HostRecord>(HOSTS);
    hosts
        .filter(|(host, _)| *host != settings.host)
        .map(|(_, host)| SocketAddr::new(host.address, settings.signer.port()))
        .collect()
}
