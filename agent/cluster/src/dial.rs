//! Dialing managers, one after another.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use agent_core::shared::turns::Turns;
use agent_store::{Connection, Dial, Dialing};

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

    /// Those whose turn it is. Of a large cluster they are not all, since this host waits for each; the others are next.
    pub(crate) fn take(&self) -> Vec<SocketAddr> {
        lock(&self.0).take_some(PERHAPS_MAX)
    }
}

/// The managers that this host knows. Where none of them answers, other hosts may be managers by now: a host that was off for
/// long knows only those that were.
pub(crate) struct Managers {
    identity: Arc<Mutex<Identity>>,
    turns: Mutex<Turns<SocketAddr>>,
    perhaps: Arc<Perhaps>,
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

    async fn dial_one(&self, manager: SocketAddr) -> Result<Box<dyn Connection>, String> {
        // Looked up for each: it may have been renewed.
        let identity = lock(&self.identity).clone();
        let asking = identity.asking().map_err(|error| error.to_string())?;
        match ask_for_store(manager, asking).await {
            Ok(stream) => {
                *lock(&self.asked) = Some(manager);
                Ok(Box::new(stream))
            }
            Err(error) => Err(error.to_string()),
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
            let mut why = String::from("no manager is known");
            *lock(&self.asked) = None;
            for _ in 0..self.count() {
                let Some(manager) = lock(&self.turns).take() else {
                    break;
                };
                match self.dial_one(manager).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => why = error,
                }
            }
            for host in self.others() {
                if let Ok(stream) = self.dial_one(host).await {
                    self.prefer(host);
                    return Ok(stream);
                }
            }
            Err(why)
        })
    }

    fn count(&self) -> usize {
        lock(&self.turns).all().len()
    }

    fn far_end(&self) -> String {
        let turns = lock(&self.turns);
        let all: Vec<_> = turns.all().iter().map(ToString::to_string).collect();
        all.join(", ")
    }
}

/// Of other hosts, for each time that no manager answers.
const PERHAPS_MAX: usize = 8;
