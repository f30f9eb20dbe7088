//! What a container's supervisor is told: namespaces, files, environment.

use std::path::Path;

use agent_api::{ApiError, ContainerCreate, NetworkMode};
use agent_core::container::{
    NotRunning, PlanContainer, attached_network, resolv_conf_on, resolv_conf_without_network,
};
use agent_core::hosts::hosts;
use agent_core::resolv_conf::ResolvConf;

use super::Agent;
use super::state::State;
use crate::container::{self, Capabilities, ContainerSpec, EtcFiles, SandboxNetwork};
use crate::record::ContainerRecord;

/// As `docker run`: what a privileged container was denied besides is not denied.
pub(super) fn capabilities(create: &ContainerCreate) -> Result<Capabilities, PlanContainer> {
    let chosen = Capabilities::chosen(&create.cap_add, &create.cap_drop)
        .map_err(|error| PlanContainer::Capability(error.to_string()))?;
    Ok(match create.privileged {
        true => Capabilities::ALL,
        false => chosen,
    })
}

impl Agent {
    pub(super) fn spec(
        &self,
        state: &State,
        record: &ContainerRecord,
    ) -> Result<ContainerSpec, ApiError> {
        let create = &record.create;
        let (network, etc) = match &create.network {
            NetworkMode::Host => (SandboxNetwork::Host, self.given_servers(create)),
            NetworkMode::None => (SandboxNetwork::Private, self.given_servers(create)),
            NetworkMode::Container(called) => self.joined(state, called)?,
            NetworkMode::Default | NetworkMode::Network(_) => {
                let network = attached_network(&create.network).unwrap_or_default();
                let network = &state.network(network)?.record;
                let host = of_host(&self.config.resolv_conf);
                let etc = EtcFiles {
                    resolv_conf: Some(resolv_conf_on(network, create, host).to_text()),
                    ..EtcFiles::default()
                };
                (SandboxNetwork::Private, etc)
            }
        };
        Ok(ContainerSpec {
            id: record.id.clone(),
            hostname: record.hostname.clone(),
            command: create.command.clone(),
            env: create.env.clone(),
            workdir: create.workdir.clone(),
            rootfs: create.rootfs.clone(),
            tty: create.tty,
            interactive: create.interactive,
            network,
            private_users: create.private_users,
            capabilities: capabilities(create)?,
            privileged: create.privileged,
            hidden: vec![self.config.state_dir.clone()],
            etc: EtcFiles {
                hosts: Some(etc.hosts.unwrap_or_else(|| hosts(&[], &record.hostname))),
                hostname: Some(format!("{}\n", record.hostname)),
                ..etc
            },
        })
    }

    /// Without a forwarder: the host's own file, changed only in what was asked for.
    fn given_servers(&self, create: &ContainerCreate) -> EtcFiles {
        let own = resolv_conf_without_network(create, of_host(&self.config.resolv_conf));
        EtcFiles {
            resolv_conf: own.map(|own| own.to_text()),
            ..EtcFiles::default()
        }
    }

    /// The namespace of another container, with its view of names.
    fn joined(&self, state: &State, called: &str) -> Result<(SandboxNetwork, EtcFiles), ApiError> {
        let other = state.container(called)?;
        let dir = self.container_dir(&other.record.id);
        let supervised = container::supervised(&dir)
            .ok()
            .flatten()
            .filter(|supervised| supervised.init.is_alive());
        let Some(supervised) = supervised else {
            return Err(NotRunning::of(&other.record).into());
        };
        let file = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
        let etc = EtcFiles {
            resolv_conf: file("resolv.conf"),
            hosts: file("hosts"),
            hostname: None,
        };
        Ok((SandboxNetwork::Join(supervised.init), etc))
    }
}

/// The host's search domains and options; none where the file cannot be read.
fn of_host(path: &Path) -> ResolvConf {
    let text = std::fs::read_to_string(path);
    text.map_or_else(|_| ResolvConf::default(), |text| ResolvConf::parse(&text))
}
