//! Running an engine's command, and finding one that answers.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Runtime;
use super::arguments::reason;

/// Why an engine does not do what it is to do. Every variant is one line.
#[derive(Debug, thiserror::Error)]
pub enum Unable {
    #[error(
        "node {node}: image {image} has no stand-in on this host, and there is neither Docker nor podman to run it; install one: apt-get install docker.io, or podman"
    )]
    Neither { node: String, image: String },
    #[error("node {node}: there is no command {0} on this host; install it: apt-get install {1}", .runtime.word(), package(*.runtime))]
    Absent { node: String, runtime: Runtime },
    #[error("{runtime} does not answer: {why}; start it, or leave out nodes with images")]
    Silent { runtime: Runtime, why: String },
    #[error("{runtime} {verb}: {why}")]
    Refused {
        runtime: Runtime,
        verb: String,
        why: String,
    },
    #[error(
        "{runtime} is not in the process namespace of this command, so that it cannot be told where the node's links are; run both on the host"
    )]
    Apart { runtime: Runtime },
}

/// The first that answers; where none does, why not the first that is there.
pub(in crate::lab) async fn find(
    asked: Option<Runtime>,
    node: &str,
    image: &str,
) -> Result<Runtime, Unable> {
    let all = match asked {
        Some(runtime) => vec![runtime],
        None => vec![Runtime::Docker, Runtime::Podman],
    };
    let mut silent = None;
    for runtime in all {
        match answers(runtime).await {
            Ok(()) => return Ok(runtime),
            Err(None) => {}
            Err(Some(why)) => silent = silent.or(Some(Unable::Silent { runtime, why })),
        }
    }
    let node = node.to_owned();
    Err(silent.unwrap_or_else(|| match asked {
        Some(runtime) => Unable::Absent { node, runtime },
        None => Unable::Neither {
            node,
            image: image.to_owned(),
        },
    }))
}

/// Fails with nothing where there is no such command.
async fn answers(runtime: Runtime) -> Result<(), Option<String>> {
    let asked = output(runtime, &["version", "--format", "{{.Server.Version}}"]);
    match tokio::time::timeout(ANSWER_LIMIT, asked).await {
        // podman has no server unless it is asked for one.
        Ok(Ok(output)) if output.status.success() || runtime == Runtime::Podman => Ok(()),
        Ok(Ok(output)) => Err(Some(reason(&String::from_utf8_lossy(&output.stderr)))),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(None),
        Ok(Err(error)) => Err(Some(error.to_string())),
        Err(_) => Err(Some(format!("not within {} s", ANSWER_LIMIT.as_secs()))),
    }
}

/// What it printed; it has to succeed.
pub(super) async fn tell(runtime: Runtime, words: &[&str]) -> Result<String, Unable> {
    let refused = |why: String| Unable::Refused {
        runtime,
        verb: words.first().copied().unwrap_or_default().to_owned(),
        why,
    };
    let output = output(runtime, words).await;
    let output = output.map_err(|error| refused(error.to_string()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(refused(reason(&String::from_utf8_lossy(&output.stderr)))),
    }
}

/// What it printed, however it ended.
pub(super) async fn output(runtime: Runtime, words: &[&str]) -> io::Result<Output> {
    let mut command = Command::new(runtime.word());
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    command.output().await
}

/// The same, with something to read.
pub(super) async fn feed(runtime: Runtime, words: &[&str], bytes: &[u8]) -> io::Result<Output> {
    let mut command = Command::new(runtime.word());
    command
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(bytes).await?;
    }
    child.wait_with_output().await
}

fn package(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Docker => "docker.io",
        Runtime::Podman => "podman",
    }
}

const ANSWER_LIMIT: Duration = Duration::from_secs(30);
