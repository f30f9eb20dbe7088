//! Dialing managers, one after another.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use agent_store::{Connection, Dial, Dialing};

use crate::identity::Identity;
use crate::lock::lock;
use crate::signer::ask_for_store;

/// The managers that this host knows, the next one to be dialed first.
pub(crate) struct Managers {
    identity: Arc<Mutex<Identity>>,
    known: Mutex<Vec<SocketAddr>>,
}

impl Managers {
    pub(crate) fn new(identity: Arc<Mutex<Identity>>, first: SocketAddr) -> Self {
        Self {
            identity,
            known: Mutex::new(vec![first]),
        }
    }

    /// This one is dialed next.
    pub(crate) fn prefer(&self, manager: SocketAddr) {
        let mut known = lock(&self.known);
        known.retain(|other| *other != manager);
        known.insert(0, manager);
    }

    /// Those are all; the order of those that were known stays. Nothing is forgotten for an empty list.
    pub(crate) fn learn(&self, managers: Vec<SocketAddr>) {
        if managers.is_empty() {
            return;
        }
        let mut known = lock(&self.known);
        known.retain(|manager| managers.contains(manager));
        let new: Vec<_> = managers
            .into_iter()
            .filter(|manager| !known.contains(manager))
            .collect();
        known.extend(new);
    }
}

impl Dial for Managers {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(async move {
            let mut why = String::from("no manager is known");
            // The identity is looked up for each: it may have been renewed.
            let all = lock(&self.known).clone();
            for manager in all {
                let identity = lock(&self.identity).clone();
                let asking = identity.asking().map_err(|error| error.to_string())?;
                match ask_for_store(manager, asking).await {
                    Ok(stream) => return Ok(Box::new(stream) as Box<dyn Connection>),
                    Err(error) => why = error.to_string(),
                }
                let mut known = lock(&self.known);
                if known.first() == Some(&manager) {
                    known.rotate_left(1);
                }
            }
            Err(why)
        })
    }

    fn far_end(&self) -> String {
        let known = lock(&self.known);
        let all: Vec<_> = known.iter().map(ToString::to_string).collect();
        all.join(", ")
    }
}
