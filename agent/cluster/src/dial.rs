//! Dialing managers, one after another.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use agent_core::shared::turns::{Leaving, Turns};
use agent_store::{Connection, Dial, Dialing};
use tokio::task::JoinSet;

use crate::identity::Identity;
use crate::lock::lock;
use crate::manager_port::ask_for_store;

/// Where other hosts would serve if they were managers.
#[derive(Default)]
pub(crate) struct Perhaps(Mutex<Turns<SocketAddr>>);

impl Perhaps {
    pub(crate) fn learn(&self, hosts: Vec<SocketAddr>) {
        lock(&self.0).learn(hosts);
    }

    /// Those whose turn it is. Of a large cluster they are not all, as each is dialed; the others are next.
    pub(crate) fn take(&self) -> Vec<SocketAddr> {
        lock(&self.0).take_some(PERHAPS_MAX)
    }
}

/// The managers that this host knows. Where none of them answers, or none is of use, other hosts may be managers by now: a host that
/// was off for long, or cut off, knows only those that were.
pub(crate) struct Managers {
    identity: Arc<Mutex<Identity>>,
    turns: Mutex<Turns<SocketAddr>>,
    perhaps: Arc<Perhaps>,
    leaving: Mutex<Leaving>,
    /// To whom the connection leads that was made last.
    asked: Mutex<Option<SocketAddr>>,
}

impl Managers {
    pub(crate) fn new(
        identity: Arc<Mutex<Identity>>,
        first: SocketAddr,
        perhaps: Arc<Perhaps>,
    ) -> Self {
        Self {
            identity,
            turns: Mutex::new(Turns::of(first)),
            perhaps,
            leaving: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    /// Who serves the store to this host, if somebody does.
    pub(crate) fn asked(&self) -> Option<SocketAddr> {
        *lock(&self.asked)
    }

    /// This one is dialed next.
    pub(crate) fn prefer(&self, manager: SocketAddr) {
        lock(&self.turns).prefer(manager);
    }

    /// Those are all managers.
    pub(crate) fn learn(&self, managers: Vec<SocketAddr>) {
        lock(&self.turns).learn(managers);
    }

    /// Each once, from the one on whose turn it is. The error says why the last of them does not answer.
    async fn dial_known(&self) -> Result<Box<dyn Connection>, String> {
        let mut why = String::from("no manager is known");
        let count = lock(&self.turns).all().len();
        for _ in 0..count {
            let Some(manager) = lock(&self.turns).take() else {
                break;
            };
            match self.connect(manager).await {
                Ok(connection) => {
                    *lock(&self.asked) = Some(manager);
                    return Ok(connection);
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Some of the hosts that may be managers, all at once: the first of them that is one.
    async fn dial_others(&self) -> Option<Box<dyn Connection>> {
        let mut dialing = JoinSet::new();
        for host in self.others() {
            let connecting = self.connect(host);
            dialing.spawn(async move { Some((host, connecting.await.ok()?)) });
        }
        while let Some(dialed) = dialing.join_next().await {
            if let Ok(Some((host, connection))) = dialed {
                self.prefer(host);
                *lock(&self.asked) = Some(host);
                return Some(connection);
            }
        }
        None
    }

    fn connect(
        &self,
        manager: SocketAddr,
    ) -> impl Future<Output = Result<Box<dyn Connection>, String>> + Send + use<> {
        // Looked up for each: it may have been renewed.
        let asking = lock(&self.identity).asking();
        async move {
            let asking = asking.map_err(|error| error.to_string())?;
            let stream = ask_for_store(manager, asking).await;
            let stream = stream.map_err(|error| error.to_string())?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        }
    }

    /// Some hosts that are no managers, as far as is known.
    fn others(&self) -> Vec<SocketAddr> {
        let known = lock(&self.turns).all().to_vec();
        let mut others = self.perhaps.take();
        others.retain(|host| !known.contains(host));
        others
    }
}

impl Dial for Managers {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(async move {
            *lock(&self.asked) = None;
            let elsewhere = lock(&self.leaving).take_elsewhere();
            if elsewhere && let Some(connection) = self.dial_others().await {
                return Ok(connection);
            }
            match self.dial_known().await {
                Ok(connection) => Ok(connection),
                Err(why) => self.dial_others().await.ok_or(why),
            }
        })
    }

    fn leaves(&self) -> bool {
        let known = lock(&self.turns).all().len();
        lock(&self.leaving).leaves(known, Instant::now())
    }

    fn far_end(&self) -> String {
        let turns = lock(&self.turns);
        let all: Vec<_> = turns.all().iter().map(ToString::to_string).collect();
        all.join(", ")
    }
}

/// Of other hosts, for each time that no manager answers.
const PERHAPS_MAX: usize = 8;
