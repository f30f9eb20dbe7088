//! What a request for a container comes to, checked before anything is touched.

use agent_api::{ContainerCreate, NetworkMode};

use super::container::{check_container_name, seconds_since_epoch};
use super::container_spec::capabilities;
use super::network::DEFAULT_NETWORK;
use super::state::State;
use crate::name::{check_name, made_up, short};
use crate::random::new_id;
use crate::record::{ContainerRecord, Phase};
use agent_core::error::{Contain, Find};
use agent_core::resolv_conf::{is_option, is_search_domain};

/// Checks everything that can be known beforehand.
pub(super) fn plan_container(
    state: &State,
    request: ContainerCreate,
) -> Result<ContainerRecord, PlanContainer> {
    let id = new_id();
    let now_s = seconds_since_epoch();
    let name = request.name.clone().unwrap_or_else(|| made_up(&id));
    check_container_name(&name)?;
    if state
        .containers
        .values()
        .any(|container| container.record.name == name)
    {
        return Err(Contain::NameTaken(name).into());
    }
    check_command(&request)?;
    check_mode(&request)?;
    check_names(&request)?;
    capabilities(&request)?;
    match &request.network {
        NetworkMode::Network(called) => {
            let network = &state.network(called)?.record;
            if network.internal && !request.publish.is_empty() {
                return Err(Contain::PublishOnInternal(network.name.clone()).into());
            }
        }
        NetworkMode::Container(called) => {
            state.container(called)?;
        }
        NetworkMode::Default | NetworkMode::Host | NetworkMode::None => {}
    }
    let hostname = request
        .hostname
        .clone()
        .unwrap_or_else(|| short(&id).to_owned());
    check_name(&hostname).map_err(|source| Contain::Name {
        what: "hostname",
        source,
    })?;
    Ok(ContainerRecord {
        id,
        name,
        hostname,
        created_s: now_s,
        since_s: now_s,
        create: request,
        connected: Vec::new(),
        phase: Phase::Created,
    })
}

/// The network that a mode attaches to.
pub(super) fn attached_network(mode: &NetworkMode) -> Option<&str> {
    match mode {
        NetworkMode::Default => Some(DEFAULT_NETWORK),
        NetworkMode::Network(name) => Some(name),
        NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_) => None,
    }
}

/// Why a container is not made: it was named wrongly, or it does not fit.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanContainer {
    #[error(transparent)]
    Find(#[from] Find),
    #[error(transparent)]
    Contain(#[from] Contain),
}

impl From<PlanContainer> for agent_api::ApiError {
    fn from(error: PlanContainer) -> Self {
        match error {
            PlanContainer::Find(error) => error.into(),
            PlanContainer::Contain(error) => error.into(),
        }
    }
}

fn check_command(request: &ContainerCreate) -> Result<(), Contain> {
    if request.command.first().is_none_or(String::is_empty) {
        return Err(Contain::NoCommand);
    }
    let holds_key = |entry: &&String| entry.split_once('=').is_none_or(|(key, _)| key.is_empty());
    if let Some(entry) = request.env.iter().find(holds_key) {
        return Err(Contain::Env(entry.clone()));
    }
    if let Some(rootfs) = &request.rootfs {
        let refused = |why: &str| Contain::Rootfs {
            path: rootfs.clone(),
            why: why.to_owned(),
        };
        if !rootfs.is_absolute() {
            return Err(refused("it must be an absolute path"));
        }
        if !rootfs.is_dir() {
            return Err(refused("no such directory"));
        }
    }
    Ok(())
}

/// What goes into `resolv.conf` as it is.
fn check_names(request: &ContainerCreate) -> Result<(), Contain> {
    if let Some(domain) = request
        .dns_search
        .iter()
        .find(|domain| !is_search_domain(domain))
    {
        return Err(Contain::SearchDomain(domain.clone()));
    }
    match request.dns_options.iter().find(|option| !is_option(option)) {
        Some(option) => Err(Contain::DnsOption(option.clone())),
        None => Ok(()),
    }
}

/// Options of the endpoint need an endpoint.
fn check_mode(request: &ContainerCreate) -> Result<(), Contain> {
    let mode = match &request.network {
        NetworkMode::Default | NetworkMode::Network(_) => return Ok(()),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Container(name) => format!("container:{name}"),
    };
    let settings = &request.endpoint;
    let asked = [
        ("ip", settings.ip.is_some()),
        ("ip6", settings.ip6.is_some()),
        ("mac-address", settings.mac.is_some()),
        ("network-alias", !settings.aliases.is_empty()),
        ("publish", !request.publish.is_empty()),
        (
            "dns with an encrypted server",
            request.dns.iter().any(|server| server.plain().is_none()),
        ),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        Some((option, _)) => Err(Contain::NotWithMode { option, mode }),
        None => Ok(()),
    }
}
