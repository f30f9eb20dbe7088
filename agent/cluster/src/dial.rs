//! Dialing managers, one after another.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use agent_core::shared::turns::Turns;
use agent_store::{Connection, Dial, Dialing};

use crate::identity::Identity;
use crate::lock::lock;
use crate::signer::ask_for_store;

/// The managers that this host knows.
pub(crate) struct Managers {
    identity: Arc<Mutex<Identity>>,
    turns: Mutex<Turns<SocketAddr>>,
}

impl Managers {
    pub(crate) fn new(identity: Arc<Mutex<Identity>>, first: SocketAddr) -> Self {
        Self {
            identity,
            turns: Mutex::new(Turns::of(first)),
        }
    }

    /// This one is dialed next.
    pub(crate) fn prefer(&self, manager: SocketAddr) {
        lock(&self.turns).prefer(manager);
    }

    /// Those are all.
    pub(crate) fn learn(&self, managers: Vec<SocketAddr>) {
        lock(&self.turns).learn(managers);
    }
}

impl Dial for Managers {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(async move {
            let mut why = String::from("no manager is known");
            for _ in 0..self.count() {
                let Some(manager) = lock(&self.turns).take() else {
                    break;
                };
                // Looked up for each: it may have been renewed.
                let identity = lock(&self.identity).clone();
                let asking = identity.asking().map_err(|error| error.to_string())?;
                match ask_for_store(manager, asking).await {
                    Ok(stream) => return Ok(Box::new(stream) as Box<dyn Connection>),
                    Err(error) => why = error.to_string(),
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
