//! One call of the plugin: environment and standard input in, one JSON document out.

use std::env;
use std::io::{self, Read, Write as _};
use std::process::ExitCode;

use agent_api::{Client, ClientError, DEFAULT_SOCKET, EndpointCreate, NetworkDetail};
use serde::{Deserialize as _, Serialize};

use super::interface::look;
use super::translate::{
    Delegate, Environment, check_words, compare, delegate_of, endpoint, find, garbage, network_of,
    read_config, success, take,
};
use super::wire::{
    Config, DECODE_FAILURE, Dns, Failure, FailureReply, GivenResult, INVALID_CONFIG,
    INVALID_ENVIRONMENT, IO_FAILURE, NOT_AVAILABLE, REFUSED, SUPPORTED, TRY_AGAIN,
    UNKNOWN_CONTAINER, V1_1, Versions,
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
    let call = Call {
        client: client(&config),
        delegate: match delegate_of(&config) {
            // With what ADD refused, nothing was asked of another plugin.
            Err(_) if command == "DEL" => None,
            delegate => delegate?,
        },
        env: environment(),
        config,
        text,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::new(IO_FAILURE, error.to_string()))?;
    runtime.block_on(async {
        match command {
            "ADD" => call.add().await.map(Some),
            "DEL" => call.del().await.map(|()| None),
            "CHECK" => call.check().await.map(|()| None),
            "GC" => call.collect().await.map(|()| None),
            "STATUS" => call.status().await.map(|()| None),
            _ => Err(Failure::new(
                INVALID_ENVIRONMENT,
                format!(
                    "{COMMAND}={command} is unknown; it is ADD, DEL, CHECK, GC, STATUS or VERSION"
                ),
            )),
        }
    })
}

/// What a call came with.
struct Call {
    client: Client,
    config: Config,
    /// Who gives addresses, where it is not the network itself.
    delegate: Option<Delegate>,
    env: Environment,
    /// The configuration as it came.
    text: Vec<u8>,
}

impl Call {
    async fn add(mut self) -> Result<serde_json::Value, Failure> {
        let mut wished = endpoint(&self.config, &self.env)?;
        let network = self.network().await?;
        check_words(&self.config, &network)?;
        if network.internal {
            // Podman passes a container's ports to each of its networks, and nothing outside reaches this one.
            wished.publish.clear();
        }
        if find(&network, &self.env.container_id, &self.env.ifname).is_some() {
            // Before another plugin is asked, whose address for it would be given back then.
            let message = format!(
                "container {:?} has {} on network {:?} already; delete it first",
                self.env.container_id, self.env.ifname, network.summary.name
            );
            return Err(Failure::new(REFUSED, message));
        }
        let Some(delegate) = self.delegate.take() else {
            return self.make(&network, &wished).await;
        };
        let given = delegate.add(&self.env, &self.text)?;
        if self.config.dns == Dns::default() {
            self.config.dns = given.dns.clone();
        }
        let made = match take(&given, &delegate, &network, &mut wished) {
            Ok(()) => self.make(&network, &wished).await,
            Err(failure) => Err(failure),
        };
        if made.is_err() {
            // The first failure is the one to tell.
            let _ = delegate.pass("DEL", &self.env, &self.text);
        }
        made
    }

    async fn make(
        &self,
        network: &NetworkDetail,
        wished: &EndpointCreate,
    ) -> Result<serde_json::Value, Failure> {
        let made = self.client.create_endpoint(wished).await.map_err(refused)?;
        to_value(&success(&self.config, &self.env.netns, network, &made))
    }

    /// A container or a network that is gone is as good as detached.
    async fn del(&self) -> Result<(), Failure> {
        match self.client.network(network_of(&self.config)).await {
            Ok(network) => {
                let endpoint = find(&network, &self.env.container_id, &self.env.ifname);
                if let Some(endpoint) = endpoint {
                    let removed = self.client.remove_endpoint(&endpoint.id).await;
                    removed.map_err(refused)?;
                }
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(refused(error)),
        }
        // Once nobody uses the address.
        self.pass("DEL")
    }

    async fn check(&self) -> Result<(), Failure> {
        let network = self.network().await?;
        let env = &self.env;
        let endpoint = find(&network, &env.container_id, &env.ifname).ok_or_else(|| {
            let message = format!(
                "container {:?} has no {} on network {:?}; add it again",
                env.container_id, env.ifname, network.summary.name
            );
            Failure::new(UNKNOWN_CONTAINER, message)
        })?;
        self.pass("CHECK")?;
        if !endpoint.up {
            let message = format!(
                "the port of {} is down; take it up with tapestry port up",
                env.ifname
            );
            return Err(Failure::new(REFUSED, message));
        }
        let said = self.config.prev_result.as_ref().ok_or_else(|| {
            Failure::new(
                INVALID_CONFIG,
                "prevResult is missing; pass what ADD answered",
            )
        })?;
        let said = GivenResult::deserialize(said)
            .map_err(|error| Failure::new(DECODE_FAILURE, format!("prevResult: {error}")))?;
        let present = look(&env.netns, &env.ifname)
            .map_err(|error| Failure::new(IO_FAILURE, format!("{}: {error}", env.netns)))?;
        compare(env, &said, &present)
    }

    async fn collect(&self) -> Result<(), Failure> {
        let valid = self.config.valid_attachments.as_deref().ok_or_else(|| {
            let message =
                "cni.dev/valid-attachments is missing; without it everything would be garbage";
            Failure::new(INVALID_CONFIG, message)
        })?;
        let network = self.network().await?;
        for endpoint in garbage(&network, valid) {
            let removed = self.client.remove_endpoint(&endpoint.id).await;
            removed.map_err(refused)?;
        }
        self.pass("GC")
    }

    async fn status(&self) -> Result<(), Failure> {
        let answer = self.client.network(network_of(&self.config)).await;
        answer.map_err(|error| Failure::new(NOT_AVAILABLE, error.to_string()))?;
        self.pass("STATUS")
    }

    /// Hands a call on to whoever gives addresses.
    fn pass(&self, command: &str) -> Result<(), Failure> {
        let Some(delegate) = &self.delegate else {
            return Ok(());
        };
        delegate.pass(command, &self.env, &self.text)
    }

    async fn network(&self) -> Result<NetworkDetail, Failure> {
        let network = self.client.network(network_of(&self.config)).await;
        network.map_err(refused)
    }
}

fn environment() -> Environment {
    Environment {
        container_id: variable("CNI_CONTAINERID"),
        netns: variable("CNI_NETNS"),
        ifname: variable("CNI_IFNAME"),
        args: variable("CNI_ARGS"),
        path: variable("CNI_PATH"),
    }
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
