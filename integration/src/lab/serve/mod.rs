//! Doing what a plan says, at the agent.
//!
//! Things of a part are made at once, so many at a time: an act at the agent mostly waits for the kernel and for processes.

mod guests;
mod host_links;
mod ready;
mod settle;

use std::future::Future;

use agent_api::{Client, ClientError, ContainerState, Disconnect, ErrorKind, Stop};
use tokio::task::JoinSet;

use super::desired::{Desired, SHARED, STOP, Wanted};
use super::engine::{self, Runtime, Unable};
use super::plan::{Plan, Present};

pub use settle::settle;

/// Why a lab is not up or down. Every variant is one line.
#[derive(Debug, thiserror::Error)]
pub enum Work {
    #[error(transparent)]
    Agent(#[from] ClientError),
    #[error("{what} {name}: {error}")]
    Thing {
        what: &'static str,
        name: String,
        error: ClientError,
    },
    #[error("node {node}: {error}")]
    Image { node: String, error: Unable },
    #[error(transparent)]
    Engine(#[from] Unable),
    #[error("link host:{name}: {why}")]
    HostLink { name: String, why: String },
    #[error(
        "node {node} ended with status {code} as soon as it was started; tapestry logs {container} says why"
    )]
    Ended {
        node: String,
        container: String,
        code: i32,
    },
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub done: usize,
    pub of: usize,
    /// What is being done.
    pub doing: &'static str,
}

/// What a node's tasks came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub node: String,
    pub container: String,
    /// What the node said of each task that failed.
    pub said: Vec<String>,
}

/// What the agent has of a lab, and whether engines run the images of its nodes.
pub async fn present(client: &Client, lab: &str) -> Result<Present, ClientError> {
    let mut present = listed(client, lab).await?;
    present.well = engine::look(&present.guests()).await;
    Ok(present)
}

/// The same without a question to engines.
pub async fn listed(client: &Client, lab: &str) -> Result<Present, ClientError> {
    let (networks, containers, endpoints, links) = tokio::try_join!(
        client.networks(),
        client.containers(),
        client.endpoints(),
        client.links()
    )?;
    Ok(Present::of(lab, networks, containers, endpoints, links))
}

/// Carries a plan out; a lab that was not there before is taken back after a failure. Returns the nodes of which tasks failed.
pub async fn up(
    client: &Client,
    desired: &Desired,
    progress: impl FnMut(Progress),
) -> Result<Vec<Failed>, Work> {
    let before = present(client, &desired.lab).await?;
    let plan = Plan::of(desired, &before);
    let mut doing = Doing {
        client,
        progress,
        done: 0,
        of: plan.steps() + plan.start.iter().filter(|wanted| wanted.has_tasks).count(),
    };
    match doing.carry_out(plan).await {
        Err(error) if before.is_empty() => {
            // The failure is the one to tell.
            let _ = down(client, &desired.lab, |_| ()).await;
            Err(error)
        }
        outcome => outcome,
    }
}

/// Takes away all that there is of a lab. Returns how many things that were.
pub async fn down(
    client: &Client,
    lab: &str,
    progress: impl FnMut(Progress),
) -> Result<usize, Work> {
    let present = listed(client, lab).await?;
    let mut plan = Plan::down(&present);
    let of = plan.steps();
    let mut doing = Doing {
        client,
        progress,
        done: 0,
        of,
    };
    let has_docker = plan
        .remove_guests
        .iter()
        .any(|(runtime, _)| *runtime == Runtime::Docker);
    // First, since an engine that does not answer is told before anything has gone.
    doing.end_guests(&present).await?;
    plan.remove_guests.clear();
    let stops = present.containers.iter().filter_map(|container| {
        let timeout_s = container
            .labels
            .get(STOP)?
            .parse()
            .ok()
            .filter(|limit| *limit > 0)?;
        let runs = matches!(container.state, ContainerState::Running { .. });
        runs.then(|| (container.name.clone(), timeout_s))
    });
    let stops: Vec<(String, u32)> = stops.collect();
    doing
        .each(
            "ending nodes",
            stops,
            |client, (name, timeout_s)| async move {
                let stop = Stop {
                    timeout_s: Some(timeout_s),
                };
                let stopped = client.stop_container(&name, &stop).await;
                thing("node", name, missing_is_fine(stopped))
            },
        )
        .await?;
    doing.done = 0;
    doing.carry_out(plan).await?;
    remove_shared(client).await;
    if has_docker {
        engine::remove_empty_image().await;
    }
    Ok(of)
}

/// A network that is still used is refused to go, which is as it should be.
async fn remove_shared(client: &Client) {
    let Ok(networks) = client.networks().await else {
        return;
    };
    for network in networks {
        if network.labels.contains_key(SHARED) {
            let _ = client.remove_network(&network.name).await;
        }
    }
}

struct Doing<'c, P> {
    client: &'c Client,
    progress: P,
    done: usize,
    of: usize,
}

impl<P: FnMut(Progress)> Doing<'_, P> {
    async fn carry_out(&mut self, plan: Plan) -> Result<Vec<Failed>, Work> {
        self.prepare(&plan).await?;
        self.remove(&plan).await?;
        if let Some(network) = plan.create_management {
            let made = self.client.create_network(&network).await.map(drop);
            // Another lab was faster.
            let made = match made {
                Err(error) if error.kind() == Some(ErrorKind::Conflict) => self
                    .client
                    .network(&network.name)
                    .await
                    .map(drop)
                    .map_err(|_| error),
                made => made,
            };
            thing("network", network.name, made)?;
            self.done += 1;
        }
        self.each(
            "making links",
            plan.create_networks,
            |client, network| async move {
                let made = client.create_network(&network).await.map(drop);
                thing("link", network.name, made)
            },
        )
        .await?;
        self.each(
            "making links",
            plan.create_host_links,
            |client, link| async move { host_links::create(&client, &link).await },
        )
        .await?;
        self.create(plan.create_containers).await?;
        self.each(
            "connecting",
            plan.connect,
            |client, (network, connect)| async move {
                let joined = client.connect(&network, &connect).await.map(drop);
                thing("node", connect.container, joined)
            },
        )
        .await?;
        self.each(
            "impairing",
            plan.impair,
            |client, (endpoint, update)| async move {
                let changed = client.update_link(&endpoint, &update).await.map(drop);
                thing("link", endpoint, changed)
            },
        )
        .await?;
        let started = plan.start.clone();
        self.each("starting nodes", started, |client, wanted| async move {
            let started = client.start_container(wanted.name()).await;
            thing("node", wanted.node, started)
        })
        .await?;
        let guests = plan.start.iter().filter(|wanted| wanted.guest.is_some());
        let guests: Vec<Wanted> = guests.cloned().collect();
        let mut failed = self.ready(plan.start).await?;
        failed.extend(self.guests(guests).await?);
        failed.sort_by(|one, other| one.node.cmp(&other.node));
        Ok(failed)
    }

    async fn remove(&mut self, plan: &Plan) -> Result<(), Work> {
        let guests = plan.remove_guests.clone();
        self.each("removing images", guests, |_, (runtime, name)| async move {
            let removed = engine::remove(runtime, &name, None).await;
            removed.map_err(|error| Work::Image { node: name, error })
        })
        .await?;
        let containers = plan.remove_containers.clone();
        self.each("removing nodes", containers, |client, name| async move {
            let removed = client.remove_container(&name, true).await;
            thing("node", name, missing_is_fine(removed))
        })
        .await?;
        let leaving = plan.disconnect.clone();
        self.each(
            "disconnecting",
            leaving,
            |client, (network, container)| async move {
                let leaving = Disconnect {
                    container: container.clone(),
                };
                let left = client.disconnect(&network, &leaving).await;
                thing("node", container, missing_is_fine(left))
            },
        )
        .await?;
        let host_links = plan.remove_host_links.clone();
        self.each("removing links", host_links, |client, id| async move {
            let removed = client.remove_endpoint(&id).await;
            thing("link", id, missing_is_fine(removed))
        })
        .await?;
        let networks = plan.remove_networks.clone();
        self.each("removing links", networks, |client, name| async move {
            let removed = client.remove_network(&name).await;
            thing("link", name, missing_is_fine(removed))
        })
        .await
    }

    /// Those that share another's network come after it.
    async fn create(&mut self, wanted: Vec<Wanted>) -> Result<(), Work> {
        let (sharing, others): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|wanted| {
            matches!(wanted.create.network, agent_api::NetworkMode::Container(_))
        });
        for part in [others, sharing] {
            self.each("making nodes", part, |client, wanted| async move {
                let made = client.create_container(&wanted.create).await.map(drop);
                thing("node", wanted.node, made)
            })
            .await?;
        }
        Ok(())
    }

    /// Does `act` to all of them, so many at a time; stops beginning others after a failure, and returns the first.
    async fn each<T, F>(
        &mut self,
        doing: &'static str,
        all: Vec<T>,
        act: impl Fn(Client, T) -> F,
    ) -> Result<(), Work>
    where
        F: Future<Output = Result<(), Work>> + Send + 'static,
    {
        let mut running = JoinSet::new();
        let mut left = all.into_iter();
        let mut first = None;
        loop {
            while running.len() < AT_ONCE && first.is_none() {
                match left.next() {
                    Some(thing) => drop(running.spawn(act(self.client.clone(), thing))),
                    None => break,
                }
            }
            match running.join_next().await {
                None => return first.map_or(Ok(()), Err),
                Some(Ok(Ok(()))) => {
                    self.done += 1;
                    let (done, of) = (self.done, self.of);
                    (self.progress)(Progress { done, of, doing });
                }
                Some(Ok(Err(error))) => first = first.or(Some(error)),
                // Nobody cancels one, and one that panicked has said so.
                Some(Err(_)) => {}
            }
        }
    }
}

fn thing(what: &'static str, name: String, outcome: Result<(), ClientError>) -> Result<(), Work> {
    outcome.map_err(|error| Work::Thing { what, name, error })
}

/// Of something that was to go.
fn missing_is_fine(outcome: Result<(), ClientError>) -> Result<(), ClientError> {
    match outcome {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome,
    }
}

/// Acts at a time.
const AT_ONCE: usize = 16;
