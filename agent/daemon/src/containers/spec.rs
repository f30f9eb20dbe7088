//! What a container's shim is told: namespaces, files, environment.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use agent_api::{ApiError, ContainerCreate, NetworkMode};
use agent_container::{
    Capabilities, ContainerSpec, EtcFiles, SandboxNetwork, UnknownCapability, processes,
};
use agent_core::container::{
    Bind, NotRunning, PlanContainer, attached_network, networks_called, resolv_conf_on,
    resolv_conf_without_network,
};
use agent_core::hosts::{ExtraHost, hosts};
use agent_core::record::ContainerRecord;
use agent_core::resolv_conf::ResolvConf;

use super::Containers;

/// As `docker run`: what a privileged container was denied besides is not denied.
pub(super) fn capabilities(create: &ContainerCreate) -> Result<Capabilities, UnknownCapability> {
    let chosen = Capabilities::chosen(&create.cap_add, &create.cap_drop)?;
    Ok(match create.privileged {
        true => Capabilities::ALL,
        false => chosen,
    })
}

/// Checks what only this host knows.
pub(super) fn check_host_side(request: &ContainerCreate) -> Result<(), PlanContainer> {
    capabilities(request).map_err(|error| PlanContainer::Capability(error.to_string()))?;
    if let Some(copied) = request.copies.iter().find(|copied| !copied.is_dir()) {
        return Err(PlanContainer::Copied {
            path: copied.clone(),
            why: "no such directory",
        });
    }
    match &request.rootfs {
        Some(rootfs) if rootfs.is_absolute() && !rootfs.is_dir() => Err(PlanContainer::Rootfs {
            path: rootfs.clone(),
            why: "no such directory",
        }),
        _ => Ok(()),
    }
}

impl Containers {
    pub(super) fn spec(&self, record: &ContainerRecord) -> Result<ContainerSpec, ApiError> {
        let create = &record.create;
        let (network, etc) = match &create.network {
            NetworkMode::Host => (SandboxNetwork::Host, self.given_servers(create)),
            NetworkMode::None => (SandboxNetwork::Private, self.given_servers(create)),
            NetworkMode::Container(called) => self.joined(called)?,
            NetworkMode::Default | NetworkMode::Network(_) => {
                let network = attached_network(&create.network).unwrap_or_default();
                let network = self.networks.find(network)?.record;
                let host = self.host_resolv_conf();
                let resolv_conf = resolv_conf_on(&network, create, host);
                let etc = EtcFiles {
                    resolv_conf: Some(resolv_conf.to_text()),
                    ..EtcFiles::default()
                };
                (SandboxNetwork::Private, etc)
            }
        };
        let capabilities =
            capabilities(create).map_err(|error| PlanContainer::Capability(error.to_string()))?;
        Ok(ContainerSpec {
            id: record.id.clone(),
            hostname: record.hostname.clone(),
            command: create.command.clone(),
            env: create.env.clone(),
            workdir: create.workdir.clone(),
            rootfs: create.rootfs.clone(),
            private_root: create.private_root,
            copies: create.copies.clone(),
            binds: binds(create)?,
            tty: create.tty,
            interactive: create.interactive,
            network,
            private_users: create.private_users,
            capabilities,
            privileged: create.privileged,
            hidden: vec![self.ground.config.state_dir.clone()],
            etc: EtcFiles {
                hosts: Some(
                    etc.hosts
                        .unwrap_or_else(|| hosts(&[], &record.hostname, &self.added_hosts(create))),
                ),
                hostname: Some(format!("{}\n", record.hostname)),
                ..etc
            },
        })
    }

    /// The host's file; nothing of it where it cannot be read.
    fn host_resolv_conf(&self) -> ResolvConf {
        let text = std::fs::read_to_string(&self.ground.config.resolv_conf);
        text.map_or_else(|_| ResolvConf::default(), |text| ResolvConf::parse(&text))
    }

    /// What was asked for besides. The host is reached at the gateway of the first network that leads there.
    pub(super) fn added_hosts(&self, create: &ContainerCreate) -> Vec<(IpAddr, String)> {
        let on = networks_called(create).filter_map(|called| self.networks.find(called).ok());
        let mut leading = on.filter(|place| place.record.has_host_port());
        let host = match create.network {
            NetworkMode::Host => vec![Ipv4Addr::LOCALHOST.into()],
            _ => leading
                .next()
                .map_or_else(Vec::new, |place| place.record.gateway_addresses()),
        };
        let asked = create.extra_hosts.iter();
        let asked = asked.filter_map(|asked| ExtraHost::parse(asked).ok());
        asked.flat_map(|added| added.lines(&host)).collect()
    }

    /// Without a forwarder.
    fn given_servers(&self, create: &ContainerCreate) -> EtcFiles {
        let own = resolv_conf_without_network(create, self.host_resolv_conf());
        EtcFiles {
            resolv_conf: own.map(|own| own.to_text()),
            ..EtcFiles::default()
        }
    }

    /// The namespace of another container, with its view of names.
    fn joined(&self, called: &str) -> Result<(SandboxNetwork, EtcFiles), ApiError> {
        let other = self.find(called)?;
        let dir = self.dir(&other.record.id);
        let running = processes(&dir)
            .ok()
            .flatten()
            .filter(|running| running.init.is_alive());
        let Some(running) = running else {
            return Err(NotRunning::of(&other.record).into());
        };
        let file = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
        let etc = EtcFiles {
            resolv_conf: file("resolv.conf"),
            hosts: file("hosts"),
            hostname: None,
        };
        Ok((SandboxNetwork::Join(running.init), etc))
    }
}

fn binds(create: &ContainerCreate) -> Result<Vec<agent_container::Bind>, PlanContainer> {
    let read = create.binds.iter().map(|bind| Bind::parse(bind));
    read.map(|bind| {
        let bind = bind?;
        Ok(agent_container::Bind {
            from: bind.host,
            to: bind.inside,
            read_only: bind.is_read_only,
        })
    })
    .collect()
}

pub(super) fn seconds_since_epoch() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}
