//! One call of the plugin: arguments and standard input in, one JSON document out.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent_api::{Client, DEFAULT_SOCKET, ErrorKind, NetworkCreate, NetworkDetail};
use serde::Serialize;

use super::translate::{
    Wanted, check_joined, endpoint, filled, find, is_forgotten, name_of, read, status, wanted,
};
use super::wire::{API_VERSION, Attachment, Failure, FailureReply, Info, Network};

/// Whether netavark or podman called the command: by its path, with words that are none of the command's own, and nobody typing.
pub fn is_called() -> bool {
    !io::stdin().is_terminal() && called().is_some()
}

/// Does what the arguments say. Result and failure go to standard output; the status is 1 after a failure.
pub fn run() -> ExitCode {
    let done = called().map_or(Ok(None), call);
    let (reply, code) = match done {
        Ok(reply) => (reply, ExitCode::SUCCESS),
        Err(failure) => {
            let error = failure.to_string();
            (to_value(&FailureReply { error }).ok(), ExitCode::FAILURE)
        }
    };
    match reply.map_or(Ok(()), |reply| writeln!(io::stdout(), "{reply}")) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Create,
    Setup(PathBuf),
    Teardown(PathBuf),
    Info,
}

fn called() -> Option<Command> {
    let arguments: Vec<_> = env::args_os().take(ARGUMENTS_MAX + 1).collect();
    let (path, arguments) = arguments.split_first()?;
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    command(path.as_ref(), &arguments)
}

/// What the words mean to a plugin at `path`.
fn command(path: &Path, arguments: &[&OsStr]) -> Option<Command> {
    // A command that is found in PATH has no directory in front.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty())?;
    let word = arguments.first()?.to_str()?;
    match (word, &arguments[1..]) {
        ("create", []) => Some(Command::Create),
        ("setup", [netns]) => Some(Command::Setup(netns.into())),
        ("teardown", [netns]) => Some(Command::Teardown(netns.into())),
        // Neither podman nor netavark asks; a person who does names the plugin's directory.
        ("info", []) if dir.file_name()? == PLUGIN_DIR => Some(Command::Info),
        _ => None,
    }
}

fn call(command: Command) -> Result<Option<serde_json::Value>, Failure> {
    if command == Command::Info {
        let info = Info {
            version: env!("CARGO_PKG_VERSION"),
            api_version: API_VERSION,
        };
        return to_value(&info).map(Some);
    }
    let mut text = Vec::new();
    let read = io::stdin()
        .lock()
        .take(INPUT_LENGTH_MAX)
        .read_to_end(&mut text);
    read.map_err(|error| Failure::new(format!("standard input: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let client = client();
    runtime.block_on(async {
        match command {
            Command::Create => create(&client, &text).await.map(Some),
            Command::Setup(netns) => setup(&client, &netns, &text).await.map(Some),
            Command::Teardown(_) => teardown(&client, &text).await.map(|()| None),
            Command::Info => Ok(None),
        }
    })
}

async fn create(client: &Client, text: &[u8]) -> Result<serde_json::Value, Failure> {
    let (network, given) = (read::<Network>(text)?, read(text)?);
    let found = match wanted(&network)? {
        Wanted::Joined(name) => {
            let joined = client.network(&name).await.map_err(refused)?;
            check_joined(&network, &joined)?;
            joined
        }
        Wanted::Own(create) => {
            forget(client, &create).await?;
            make(client, &create).await?
        }
    };
    Ok(filled(given, &network, &found))
}

async fn setup(client: &Client, netns: &Path, text: &[u8]) -> Result<serde_json::Value, Failure> {
    let attachment: Attachment = read(text)?;
    let network = match wanted(&attachment.network)? {
        Wanted::Joined(name) => client.network(&name).await.map_err(refused)?,
        Wanted::Own(create) => find_or_make(client, *create).await?,
    };
    let wished = endpoint(&attachment, &network, netns)?;
    // Nobody tore down what was there before: its host or its namespace went.
    if let Some(before) = find(&network, &attachment) {
        client.remove_endpoint(&before.id).await.map_err(refused)?;
    }
    let made = client.create_endpoint(&wished).await.map_err(refused)?;
    to_value(&status(&attachment, &network, &made))
}

/// A container or a network that is gone is as good as detached.
async fn teardown(client: &Client, text: &[u8]) -> Result<(), Failure> {
    let attachment: Attachment = read(text)?;
    let Some(network) = look_up(client, name_of(&attachment.network)).await? else {
        return Ok(());
    };
    let Some(endpoint) = find(&network, &attachment) else {
        return Ok(());
    };
    match client.remove_endpoint(&endpoint.id).await {
        Err(error) if !error.is_not_found() => Err(refused(error)),
        _ => Ok(()),
    }
}

/// Removes the network of that name that podman has forgotten.
async fn forget(client: &Client, wanted: &NetworkCreate) -> Result<(), Failure> {
    match look_up(client, &wanted.name).await? {
        Some(found) if is_forgotten(&found, wanted) => {
            let removed = client.remove_network(&found.summary.id).await;
            removed.map_err(refused)
        }
        _ => Ok(()),
    }
}

async fn make(client: &Client, wanted: &NetworkCreate) -> Result<NetworkDetail, Failure> {
    let made = client.create_network(wanted).await.map_err(refused)?;
    client.network(&made.id).await.map_err(refused)
}

/// The network that create made, or, where somebody removed it since, one as it was.
async fn find_or_make(
    client: &Client,
    mut wanted: NetworkCreate,
) -> Result<NetworkDetail, Failure> {
    if let Some(found) = look_up(client, key_of(&wanted)).await? {
        return Ok(found);
    }
    // Podman kept all the subnets that there were.
    wanted.ipv6 &= wanted.subnets.is_empty();
    match client.create_network(&wanted).await {
        // Another container's setup was faster.
        Err(error) if error.kind() == Some(ErrorKind::Conflict) => {
            let found = look_up(client, key_of(&wanted)).await?;
            found.ok_or_else(|| refused(error))
        }
        Err(error) => Err(refused(error)),
        Ok(made) => client.network(&made.id).await.map_err(refused),
    }
}

fn key_of(wanted: &NetworkCreate) -> &str {
    wanted.id.as_deref().unwrap_or(&wanted.name)
}

async fn look_up(client: &Client, name: &str) -> Result<Option<NetworkDetail>, Failure> {
    match client.network(name).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(refused(error)),
    }
}

fn client() -> Client {
    let named = env::var_os("TAPESTRY_SOCKET");
    Client::new(named.unwrap_or_else(|| DEFAULT_SOCKET.into()))
}

fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

fn to_value(reply: &impl Serialize) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(reply).map_err(refused)
}

/// What the directories are called where podman looks for plugins, unless `netavark_plugin_dirs` names others.
const PLUGIN_DIR: &str = "netavark";
const ARGUMENTS_MAX: usize = 3;
const INPUT_LENGTH_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(path: &str, line: &str) -> Option<Command> {
        let words: Vec<_> = line.split_whitespace().map(OsStr::new).collect();
        command(Path::new(path), &words)
    }

    #[test]
    fn netavark_calls_by_path_and_with_its_own_words() {
        let path = "/opt/plugins/tapestry";
        let netns = PathBuf::from("/run/netns/a");
        assert_eq!(read_as(path, "create"), Some(Command::Create));
        let setup = read_as(path, "setup /run/netns/a");
        assert_eq!(setup, Some(Command::Setup(netns.clone())));
        let teardown = read_as(path, "teardown /run/netns/a");
        assert_eq!(teardown, Some(Command::Teardown(netns)));
        let info = read_as("/usr/libexec/netavark/tapestry", "info");
        assert_eq!(info, Some(Command::Info));
    }

    #[test]
    fn what_people_type_is_not_netavarks() {
        for line in ["create", "setup a", "teardown a", "info"] {
            assert_eq!(read_as("tapestry", line), None, "{line}");
        }
        for line in [
            "",
            "info",
            "create web",
            "setup",
            "setup a b",
            "network create",
        ] {
            assert_eq!(read_as("/usr/local/bin/tapestry", line), None, "{line}");
        }
    }
}
