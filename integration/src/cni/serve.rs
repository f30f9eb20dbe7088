//! One call of the plugin: environment and standard input in, one JSON document out.

use std::env;
use std::io::{self, Read, Write as _};
use std::process::ExitCode;

use agent_api::{Client, ClientError, DEFAULT_SOCKET, NetworkDetail};
use serde::Serialize;

use super::interface::addresses;
use super::translate::{Environment, endpoint, find, garbage, network_of, read_config, success};
use super::wire::{
    Config, DECODE_FAILURE, Failure, FailureReply, INVALID_CONFIG, INVALID_ENVIRONMENT, IO_FAILURE,
    NOT_AVAILABLE, REFUSED, SUPPORTED, TRY_AGAIN, UNKNOWN_CONTAINER, V1_1, Versions,
};

/// Whether a container runtime called the command: it sets `CNI_COMMAND` and gives no arguments.
pub fn is_called() -> bool {
    env::var_os(COMMAND).is_some() && env::args_os().len() == 1
}

/// Does what `CNI_COMMAND` says. Result and failure go to standard output; the status is 1 after a failure.
pub fn run() -> ExitCode {
    let command = variable(COMMAND);
    let mut version = V1_1.to_owned();
    match call(&command, &mut version) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(reply)) => print(&reply),
        Err(failure) => {
            let reply = FailureReply {
                cni_version: &version,
                code: failure.code,
                msg: &failure.message,
            };
            print(&reply);
            ExitCode::FAILURE
        }
    }
}

/// The document to print, where the command has one. `version` becomes the one that the answer is to have.
fn call(command: &str, version: &mut String) -> Result<Option<serde_json::Value>, Failure> {
    if command == "VERSION" {
        let versions = Versions {
            cni_version: V1_1,
            supported_versions: SUPPORTED,
        };
        return to_value(&versions).map(Some);
    }
    let mut text = Vec::new();
    let read = io::stdin()
        .lock()
        .take(CONFIG_LENGTH_MAX)
        .read_to_end(&mut text);
    read.map_err(|error| Failure::new(IO_FAILURE, format!("standard input: {error}")))?;
    let config = read_config(&text)?;
    version.clone_from(&config.cni_version);
    let env = Environment {
        container_id: variable("CNI_CONTAINERID"),
        netns: variable("CNI_NETNS"),
        ifname: variable("CNI_IFNAME"),
        args: variable("CNI_ARGS"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::new(IO_FAILURE, error.to_string()))?;
    runtime.block_on(async {
        match command {
            "ADD" => add(&config, &env).await.map(Some),
            "DEL" => del(&config, &env).await.map(|()| None),
            "CHECK" => check(&config, &env).await.map(|()| None),
            "GC" => collect(&config).await.map(|()| None),
            "STATUS" => status(&config).await.map(|()| None),
            _ => Err(Failure::new(
                INVALID_ENVIRONMENT,
                format!(
                    "{COMMAND}={command} is unknown; it is ADD, DEL, CHECK, GC, STATUS or VERSION"
                ),
            )),
        }
    })
}

async fn add(config: &Config, env: &Environment) -> Result<serde_json::Value, Failure> {
    let client = client(config);
    let wished = endpoint(config, env)?;
    let network = network(&client, config).await?;
    if let Some(mtu) = config.mtu.filter(|mtu| *mtu != 0 && *mtu != network.mtu) {
        let message = format!(
            "mtu {mtu} is not the network's, which is {}; leave it out, or make the network with --mtu {mtu}",
            network.mtu
        );
        return Err(Failure::new(INVALID_CONFIG, message));
    }
    let made = client.create_endpoint(&wished).await.map_err(refused)?;
    to_value(&success(config, &env.netns, &network, &made))
}

/// A container or a network that is gone is as good as detached.
async fn del(config: &Config, env: &Environment) -> Result<(), Failure> {
    let client = client(config);
    let network = match client.network(network_of(config)).await {
        Ok(network) => network,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(refused(error)),
    };
    match find(&network, &env.container_id, &env.ifname) {
        Some(endpoint) => client.remove_endpoint(&endpoint.id).await.map_err(refused),
        None => Ok(()),
    }
}

async fn check(config: &Config, env: &Environment) -> Result<(), Failure> {
    let client = client(config);
    let network = network(&client, config).await?;
    let endpoint = find(&network, &env.container_id, &env.ifname).ok_or_else(|| {
        let message = format!(
            "container {:?} has no {} on network {:?}; add it again",
            env.container_id, env.ifname, network.summary.name
        );
        Failure::new(UNKNOWN_CONTAINER, message)
    })?;
    let present = addresses(&env.netns, &env.ifname)
        .map_err(|error| Failure::new(IO_FAILURE, format!("{}: {error}", env.netns)))?;
    let told = config.prev_result.iter().flat_map(|result| &result.ips);
    let told = told.map(|ip| ip.address.addr());
    let kept = endpoint.addresses.iter().map(|address| address.addr());
    let missing = kept.chain(told).find(|address| !present.contains(address));
    missing.map_or(Ok(()), |address| {
        let message = format!(
            "{} in {} has lost {address}; delete and add it again",
            env.ifname, env.netns
        );
        Err(Failure::new(REFUSED, message))
    })
}

async fn collect(config: &Config) -> Result<(), Failure> {
    let valid = config.valid_attachments.as_deref().ok_or_else(|| {
        let message =
            "cni.dev/valid-attachments is missing; without it everything would be garbage";
        Failure::new(INVALID_CONFIG, message)
    })?;
    let client = client(config);
    let network = network(&client, config).await?;
    for endpoint in garbage(&network, valid) {
        client
            .remove_endpoint(&endpoint.id)
            .await
            .map_err(refused)?;
    }
    Ok(())
}

async fn status(config: &Config) -> Result<(), Failure> {
    let answer = client(config).network(network_of(config)).await;
    let unavailable = |error: ClientError| Failure::new(NOT_AVAILABLE, error.to_string());
    answer.map(drop).map_err(unavailable)
}

async fn network(client: &Client, config: &Config) -> Result<NetworkDetail, Failure> {
    client.network(network_of(config)).await.map_err(refused)
}

fn client(config: &Config) -> Client {
    let named = config
        .socket
        .clone()
        .or_else(|| env::var("TAPESTRY_SOCKET").ok());
    Client::new(named.unwrap_or_else(|| DEFAULT_SOCKET.to_owned()))
}

/// The configuration names what there is not; an agent that is not there may be back in a moment.
fn refused(error: ClientError) -> Failure {
    let code = match error {
        _ if error.is_not_found() => INVALID_CONFIG,
        ClientError::NotRunning { .. }
        | ClientError::Stale { .. }
        | ClientError::BrokeOff { .. } => TRY_AGAIN,
        _ => REFUSED,
    };
    Failure::new(code, error.to_string())
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn to_value(reply: &impl Serialize) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(reply).map_err(|error| Failure::new(DECODE_FAILURE, error.to_string()))
}

fn print(reply: &impl Serialize) -> ExitCode {
    let printed = serde_json::to_string_pretty(reply)
        .map_err(io::Error::from)
        .and_then(|text| writeln!(io::stdout(), "{text}"));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

const COMMAND: &str = "CNI_COMMAND";
const CONFIG_LENGTH_MAX: u64 = 1 << 20;
