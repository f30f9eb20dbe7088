//! Why something is not done with a container: one enum per operation.

use std::path::PathBuf;

use agent_api::{ApiError, ErrorKind};

use super::binds::BadBind;
use super::sysctl::BadSysctl;
use crate::find::Find;
use crate::hosts::BadExtraHost;
use crate::name::BadName;
use crate::record::{ContainerRecord, Phase};

/// What a request for a container is refused for, before anything is made.
#[derive(Debug, thiserror::Error)]
pub enum PlanContainer {
    #[error("{what}: {source}")]
    Name { what: &'static str, source: BadName },
    #[error(
        "a container named {0:?} exists already; choose another --name or remove it with `tapestry rm {0}`"
    )]
    NameTaken(String),
    #[error("no command was given; write it after the options: tapestry run -- COMMAND")]
    NoCommand,
    #[error("{0:?} is not KEY=VALUE; write -e KEY=VALUE")]
    Env(String),
    #[error("{0}")]
    Capability(String),
    #[error("{0:?} is no domain to search; write --dns-search example.com, or . for none")]
    SearchDomain(String),
    #[error("{0:?} is no option of resolv.conf; write --dns-option ndots:2")]
    DnsOption(String),
    #[error("--{option} needs a network of its own; it does not go with --network {mode}")]
    NotWithMode { option: &'static str, mode: String },
    #[error("--network {0} goes with no other --network; leave one of them out")]
    ModeAmongNetworks(String),
    #[error("network {0:?} was given twice; a container is on a network once")]
    NetworkTwice(String),
    #[error("{given} {what} are too many for one container; give at most {most}")]
    TooMany {
        what: &'static str,
        given: usize,
        most: usize,
    },
    #[error("network {0:?} is internal: nothing outside reaches it, so no port can be published")]
    PublishOnInternal(String),
    #[error("host ports {first}-{last} are no range; give the smaller one first, from 1")]
    PortRange { first: u16, last: u16 },
    #[error(transparent)]
    ExtraHost(#[from] BadExtraHost),
    #[error(
        "--add-host NAME:host-gateway needs a network with a way to the host; write the address, or choose another --network"
    )]
    NoHostGateway,
    #[error(transparent)]
    Sysctl(#[from] BadSysctl),
    #[error("--rm and --restart contradict each other; leave one of them out")]
    RemoveAndRestart,
    #[error("rootfs {}: {why}", path.display())]
    Rootfs { path: PathBuf, why: &'static str },
    #[error(transparent)]
    Bind(#[from] BadBind),
    #[error("{what} does not go with {other}; leave one of them out")]
    Contradiction {
        what: &'static str,
        other: &'static str,
    },
    #[error("copy of {}: {why}", path.display())]
    Copied { path: PathBuf, why: &'static str },
    #[error(transparent)]
    Find(#[from] Find),
}

impl From<PlanContainer> for ApiError {
    fn from(error: PlanContainer) -> Self {
        let kind = match error {
            PlanContainer::Find(error) => return error.into(),
            PlanContainer::NameTaken(_) => ErrorKind::Conflict,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

/// What was planned cannot be made, kept on record or changed on this host.
#[derive(Debug, thiserror::Error)]
#[error("container {name:?}: {why}")]
pub struct CreateContainer {
    pub name: String,
    pub why: String,
}

impl From<CreateContainer> for ApiError {
    fn from(error: CreateContainer) -> Self {
        Self::new(ErrorKind::Failed, error.to_string())
    }
}

/// Nothing can be done in a container that does not run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRunning {
    #[error(
        "container {name:?} has ended with status {code}; start it again with `tapestry start {name}`"
    )]
    Ended { name: String, code: i32 },
    #[error("container {0:?} was made and not started yet; start it with `tapestry start {0}`")]
    NotStarted(String),
}

impl NotRunning {
    /// Of a container that is known not to run.
    pub fn of(record: &ContainerRecord) -> Self {
        let name = record.name.clone();
        match record.phase {
            Phase::Exited(code) => Self::Ended { name, code },
            Phase::Created | Phase::Running => Self::NotStarted(name),
        }
    }
}

impl From<NotRunning> for ApiError {
    fn from(error: NotRunning) -> Self {
        Self::new(ErrorKind::Conflict, error.to_string())
    }
}

/// `POST /v1/containers/{name}/start`.
#[derive(Debug, thiserror::Error)]
pub enum StartContainer {
    #[error("container {0:?} was started already")]
    Started(String),
    #[error("container {0:?} is just being made; start it when that is done")]
    InTheMaking(String),
    #[error("container {name:?}: {why}")]
    CommandNotFound { name: String, why: String },
    #[error("container {name:?}: {why}")]
    CommandNotExecutable { name: String, why: String },
    #[error("container {name:?}: {why}")]
    Host { name: String, why: String },
}

impl From<StartContainer> for ApiError {
    fn from(error: StartContainer) -> Self {
        let kind = match &error {
            StartContainer::Started(_) | StartContainer::InTheMaking(_) => ErrorKind::Conflict,
            StartContainer::CommandNotFound { .. } => ErrorKind::CommandNotFound,
            StartContainer::CommandNotExecutable { .. } => ErrorKind::CommandNotExecutable,
            StartContainer::Host { .. } => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// `POST /v1/containers/{name}/exec`.
#[derive(Debug, thiserror::Error)]
pub enum ExecCommand {
    #[error("no command was given; write it after the options: tapestry run -- COMMAND")]
    NoCommand,
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    #[error("container {name:?}: {why}")]
    Host { name: String, why: String },
}

impl From<ExecCommand> for ApiError {
    fn from(error: ExecCommand) -> Self {
        let kind = match &error {
            ExecCommand::NoCommand => ErrorKind::Invalid,
            ExecCommand::NotRunning(_) => ErrorKind::Conflict,
            ExecCommand::Host { .. } => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// `POST /v1/networks/{name}/connect`.
#[derive(Debug, thiserror::Error)]
pub enum ConnectContainer {
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    #[error(
        "container {0:?} shares another namespace and has no endpoints of its own; only --network NETWORK containers connect"
    )]
    NoSandbox(String),
}

impl From<ConnectContainer> for ApiError {
    fn from(error: ConnectContainer) -> Self {
        let kind = match &error {
            ConnectContainer::NotRunning(_) => ErrorKind::Conflict,
            ConnectContainer::NoSandbox(_) => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

/// `POST /v1/networks/{name}/disconnect`.
#[derive(Debug, thiserror::Error)]
#[error("container {container:?} is not on network {network:?}")]
pub struct DisconnectContainer {
    pub container: String,
    pub network: String,
}

impl From<DisconnectContainer> for ApiError {
    fn from(error: DisconnectContainer) -> Self {
        Self::new(ErrorKind::NotFound, error.to_string())
    }
}

/// `DELETE /v1/containers/{name}`.
#[derive(Debug, thiserror::Error)]
#[error("container {0:?} is running; stop it first or remove it with `tapestry rm -f {0}`")]
pub struct RemoveRunning(pub String);

impl From<RemoveRunning> for ApiError {
    fn from(error: RemoveRunning) -> Self {
        Self::new(ErrorKind::Conflict, error.to_string())
    }
}
