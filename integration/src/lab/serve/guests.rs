//! Nodes that run an image, at their engine.

use std::collections::BTreeSet;

use agent_api::{Client, ContainerState};

use super::{Doing, Failed, Progress, Work};
use crate::lab::desired::{END, Wanted};
use crate::lab::engine::{self, Runtime};
use crate::lab::plan::{Plan, Present};

impl<P: FnMut(Progress)> Doing<'_, P> {
    /// Images are there before anything is made.
    pub(super) async fn prepare(&mut self, plan: &Plan) -> Result<(), Work> {
        let guests = plan.create_containers.iter();
        let guests = guests.filter_map(|wanted| wanted.guest.as_ref());
        let images: BTreeSet<(Runtime, String)> = guests
            .filter_map(|guest| Some((guest.image.runtime?, guest.image.name.clone())))
            .collect();
        for (runtime, image) in images {
            let (done, of) = (self.done, self.of);
            let doing = "looking for images";
            (self.progress)(Progress { done, of, doing });
            engine::prepare(runtime, &image).await?;
        }
        Ok(())
    }

    /// Images run when all links are there.
    pub(super) async fn guests(&mut self, wanted: Vec<Wanted>) -> Result<Vec<Failed>, Work> {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        self.each("starting images", wanted, move |client, wanted| {
            let sender = sender.clone();
            async move {
                let failed = run_image(&client, &wanted).await?;
                if let Some(failed) = failed {
                    // The receiver outlives the senders.
                    let _ = sender.send(failed);
                }
                Ok(())
            }
        })
        .await?;
        let mut failed = Vec::new();
        while let Ok(of_it) = receiver.try_recv() {
            failed.push(of_it);
        }
        Ok(failed)
    }

    /// What runs at engines, with what it does at its end.
    pub(super) async fn end_guests(&mut self, present: &Present) -> Result<(), Work> {
        let guests = present.guests().into_iter().map(|(container, runtime)| {
            let at_end = container.labels.get(END).cloned();
            (runtime, container.name.clone(), at_end)
        });
        let guests: Vec<_> = guests.collect();
        self.each(
            "ending images",
            guests,
            |_, (runtime, name, at_end)| async move {
                let removed = engine::remove(runtime, &name, at_end.as_deref()).await;
                removed.map_err(|error| Work::Image { node: name, error })
            },
        )
        .await
    }
}

/// Has an engine run a node's image where the agent's container of that node is.
async fn run_image(client: &Client, wanted: &Wanted) -> Result<Option<Failed>, Work> {
    let (Some(guest), name) = (&wanted.guest, wanted.name()) else {
        return Ok(None);
    };
    let Some(runtime) = guest.image.runtime else {
        return Ok(None);
    };
    let ended = |code| Work::Ended {
        node: wanted.node.clone(),
        container: name.to_owned(),
        code,
    };
    let pid = match client.container(name).await?.summary.state {
        ContainerState::Running { pid } => pid,
        ContainerState::Exited { code } => return Err(ended(code)),
        ContainerState::Created => return Err(ended(0)),
    };
    let failed = engine::run(runtime, name, guest, pid).await;
    let said = failed.map_err(|error| Work::Image {
        node: wanted.node.clone(),
        error,
    })?;
    Ok((!said.is_empty()).then(|| Failed {
        node: wanted.node.clone(),
        container: name.to_owned(),
        said,
    }))
}
