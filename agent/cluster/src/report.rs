//! What people ask of this host's part in the cluster: whether it is in step, by whom it reaches the store, and who answers.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use agent_core::shared::{MANAGERS, ManagerRecord};
use tokio::time::timeout;

use crate::clock::now_s;
use crate::error::UseCluster;
use crate::identity::Asking;
use crate::lock::lock;
use crate::manager_port::{Reply, Request, ask};
use crate::member::Member;
use crate::step::OutOfStep;

/// A manager, as this host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerSeen {
    /// The host's id.
    pub host: String,
    pub address: SocketAddr,
    /// Whether this host reaches the store by it.
    pub is_asked: bool,
}

/// What a manager said when it was asked for the time.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// How long that took.
    pub took: Duration,
    /// By how many seconds its clock is ahead of this host's.
    pub clock_ahead_s: i64,
}

impl Member {
    /// While this host is not in step.
    pub fn out_of_step(&self) -> Option<OutOfStep> {
        let is_in_step = self.session().is_some();
        (!is_in_step).then(|| lock(&self.out_of_step).clone())
    }

    /// A session has ended, or did not come about.
    pub(crate) fn note_out_of_step(&self, was_in_step: bool, why: &UseCluster) {
        let mut noted = lock(&self.out_of_step);
        if was_in_step {
            *noted = OutOfStep::since_now();
        }
        noted.why = Some(why.to_string());
    }

    /// Where another agent is that was this host already when this one last looked.
    pub fn double(&self) -> Option<IpAddr> {
        *lock(&self.double)
    }

    /// The managers, by id. A manager reaches the store by itself.
    pub fn managers(&self) -> Vec<ManagerSeen> {
        let asked = self.access.manager();
        let world = self.world();
        let known = world.under::<ManagerRecord>(MANAGERS);
        let seen = known.map(|(host, manager)| ManagerSeen {
            host: host.to_owned(),
            address: manager.address,
            is_asked: match asked {
                Some(asked) => asked == manager.address,
                None => host == self.settings.host,
            },
        });
        seen.collect()
    }

    /// Asks each of some managers what the time is there, all at once. The error says why one does not answer.
    pub fn greet_all(&self, managers: &[ManagerSeen]) -> Vec<Result<Greeting, String>> {
        let identity = self.identity();
        let asking = managers.iter().map(|manager| {
            let (address, asking) = (manager.address, identity.asking());
            self.runtime.spawn(async move {
                let asking = asking.map_err(|error| error.to_string())?;
                timeout(GREET_LIMIT, greet(address, asking))
                    .await
                    .unwrap_or_else(|_| Err(SILENT.to_owned()))
            })
        });
        let asking: Vec<_> = asking.collect();
        self.runtime.block_on(async {
            let mut greetings = Vec::with_capacity(asking.len());
            for task in asking {
                let greeting = task.await;
                greetings.push(greeting.unwrap_or_else(|error| Err(error.to_string())));
            }
            greetings
        })
    }
}

async fn greet(address: SocketAddr, asking: Asking) -> Result<Greeting, String> {
    let begin = Instant::now();
    match ask(address, asking, |_| Request::Greet).await {
        Ok(Reply::Greeted(greeted)) => Ok(Greeting {
            took: begin.elapsed(),
            clock_ahead_s: ahead_s(greeted.now_s, now_s()),
        }),
        Ok(_) => Err("it answers something else".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn ahead_s(its_s: u64, own_s: u64) -> i64 {
    let by_s = i64::try_from(its_s.abs_diff(own_s)).unwrap_or(i64::MAX);
    if its_s < own_s { -by_s } else { by_s }
}

/// Somebody waits for what all of them say.
const GREET_LIMIT: Duration = Duration::from_millis(1500);
const SILENT: &str = "nothing came back within 1.5 s";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_or_behind() {
        assert_eq!(ahead_s(1_000_060, 1_000_000), 60);
        assert_eq!(ahead_s(1_000_000, 1_000_060), -60);
        assert_eq!(ahead_s(u64::MAX, 0), i64::MAX);
    }
}
