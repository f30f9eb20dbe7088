//! Whether nodes have done what they do at their start, as their logs say.

use std::time::Duration;

use agent_api::{Client, ClientError, ContainerState, LogStream};
use agent_container::log::{self, LogStream as Stream};

use super::{Doing, Failed, Progress, Work};
use crate::lab::desired::Wanted;
use crate::lab::script::READY;

impl<P: FnMut(Progress)> Doing<'_, P> {
    /// Waits until the nodes have done what they do at their start.
    pub(super) async fn ready(&mut self, started: Vec<Wanted>) -> Result<Vec<Failed>, Work> {
        let mut failed = Vec::new();
        let wanted = started
            .into_iter()
            .filter(|wanted| wanted.has_tasks)
            .collect();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        self.each("waiting for nodes", wanted, move |client, wanted| {
            let sender = sender.clone();
            async move {
                if let Some(of_it) = until_ready(&client, wanted).await? {
                    // The receiver outlives the senders.
                    let _ = sender.send(of_it);
                }
                Ok(())
            }
        })
        .await?;
        while let Ok(of_it) = receiver.try_recv() {
            failed.push(of_it);
        }
        Ok(failed)
    }
}

/// Asks the log again and again, since nobody else tells. Ends with the node.
async fn until_ready(client: &Client, wanted: Wanted) -> Result<Option<Failed>, Work> {
    let name = wanted.name();
    let mut pause = PAUSE_LEAST;
    loop {
        let detail = client.container(name).await?;
        let log = said(client.logs(name, false, None).await?).await?;
        if let Some((_, failures)) = log.out.split_once(READY) {
            let none_failed = failures.lines().next() == Some("0");
            let lines = log.err.lines();
            let failed = Failed {
                node: wanted.node.clone(),
                container: name.to_owned(),
                said: lines
                    .filter_map(|line| line.strip_prefix("lab: "))
                    .map(str::to_owned)
                    .collect(),
            };
            return Ok((!none_failed).then_some(failed));
        }
        if let ContainerState::Exited { code } = detail.summary.state {
            return Err(Work::Ended {
                node: wanted.node.clone(),
                container: name.to_owned(),
                code,
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MOST);
    }
}

/// A node's output so far.
#[derive(Default)]
struct Log {
    out: String,
    err: String,
}

async fn said(mut stream: LogStream) -> Result<Log, ClientError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    let mut said = Log::default();
    for record in bytes.split(|byte| *byte == b'\n').filter_map(log::parse) {
        let text = String::from_utf8_lossy(&record.bytes);
        match record.stream {
            Stream::Stderr => said.err.push_str(&text),
            _ => said.out.push_str(&text),
        }
    }
    Ok(said)
}

const PAUSE_LEAST: Duration = Duration::from_millis(10);
const PAUSE_MOST: Duration = Duration::from_millis(320);
