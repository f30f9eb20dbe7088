//! Endpoints: giving a sandbox its place on a network, and taking it away.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use agent_api::{
    ApiError, DnsServer, EndpointCreate, EndpointDetail, EndpointSettings, PortMapping,
};
use dns_core::EndpointNames;
use overlay_core::Directory;
use switch_core::edge::HostRecord;
use switch_core::{Mac, PortId, PortKind};
use switch_io::RemovedPort;

use super::endpoint_plan::{Place, plan_endpoint, release};
use super::error::{Attach, Find};
use super::segment::{on_link, open_tap};
use super::state::{Endpoint, Network, State};
use super::{Agent, dns, view};
use crate::edge::EdgeHost;
use crate::name::short;
use crate::netlink::{LinkName, Netlink, Netns, SandboxLink, configure_sandbox};
use crate::record::{EndpointRecord, NetworkRecord, Owner, endpoint_key};

/// Who asks to be attached, and how.
pub(super) struct Attachment<'a> {
    pub(super) network: &'a str,
    pub(super) owner: Owner,
    pub(super) name: &'a str,
    pub(super) hostname: Option<&'a str>,
    pub(super) dns: &'a [DnsServer],
    pub(super) publish: &'a [PortMapping],
    pub(super) link: Option<&'a str>,
    pub(super) settings: &'a EndpointSettings,
}

impl Agent {
    pub(crate) fn endpoints(&self) -> Vec<EndpointDetail> {
        let state = self.state();
        state
            .networks
            .values()
            .flat_map(|network| {
                network
                    .endpoints
                    .values()
                    .map(move |endpoint| view::endpoint(network, endpoint))
            })
            .collect()
    }

    /// Attaches a sandbox that somebody else made.
    pub(crate) fn create_endpoint(
        &self,
        request: &EndpointCreate,
    ) -> Result<EndpointDetail, ApiError> {
        let mut state = self.state();
        let attachment = Attachment {
            network: &request.network,
            owner: Owner::Sandbox(request.sandbox.clone()),
            name: &request.name,
            hostname: None,
            dns: &request.dns,
            publish: &[],
            link: request.link.as_deref(),
            settings: &request.settings,
        };
        let id = self.attach(&mut state, &attachment, &request.sandbox)?;
        let network = state.network(&request.network)?;
        let endpoint = network
            .endpoints
            .get(&id)
            .ok_or_else(|| Find::NoNetwork(request.network.clone()))?;
        tracing::info!(
            endpoint = request.name,
            id,
            network = network.record.name,
            "endpoint made"
        );
        Ok(view::endpoint(network, endpoint))
    }

    pub(crate) fn remove_endpoint(&self, id: &str) -> Result<(), ApiError> {
        // Dropped after the lock.
        let mut removed = Vec::new();
        let mut state = self.state();
        for (network, id) in state.endpoint_ids(|endpoint| endpoint.record.id == id) {
            removed.extend(self.detach(&mut state, &network, &id));
            let network = state.networks.get(&network);
            let called = network.map(|network| network.record.name.as_str());
            tracing::info!(id, network = called, "endpoint removed");
        }
        Ok(())
    }

    /// Validates, keeps a record, attaches; after a failure neither record nor link nor address is left.
    pub(super) fn attach(
        &self,
        state: &mut State,
        attachment: &Attachment<'_>,
        sandbox: &Path,
    ) -> Result<String, ApiError> {
        let id = state.network_id(attachment.network)?;
        let place = Place::of(state, &attachment.owner);
        let State {
            networks,
            directory,
            ..
        } = state;
        let network = networks
            .get_mut(&id)
            .ok_or_else(|| Find::NoNetwork(attachment.network.to_owned()))?;
        let record = match network.record.shared() {
            None => plan_endpoint(network, attachment, place)?,
            Some(_) => self.plan_shared(network, attachment, place)?,
        };
        let id = record.id.clone();
        let kept = self.store.put(&endpoint_key(&id), &record);
        let attached = kept
            .map_err(|error| host_failure(network, &record, error.to_string()))
            .and_then(|()| self.plug(network, &record, sandbox));
        match attached {
            Ok(mut endpoint) => {
                if endpoint.record.link.is_none() {
                    endpoint.record.link = Some(endpoint.link.clone());
                    self.store
                        .put(&endpoint_key(&id), &endpoint.record)
                        .map_err(|error| host_failure(network, &record, error.to_string()))?;
                }
                let record = endpoint.record.clone();
                network.endpoints.insert(id.clone(), endpoint);
                if network.record.shared().is_some() {
                    self.share(directory, network, &record);
                    self.announce(network, &record);
                }
                Ok(id)
            }
            Err(error) => {
                self.forget(directory, network, &record);
                Err(error.into())
            }
        }
    }

    /// Containers may remember another MAC for an address that was in use before. IPv6 finds out by itself.
    fn announce(&self, network: &Network, record: &EndpointRecord) {
        if let (Some(segment), Some(address)) = (&network.segment, record.ipv4) {
            let mac = Mac::new(record.mac);
            segment.edge.announce(&self.runtime, mac, address);
        }
    }

    /// Takes the endpoint away, whatever is left of it. Its link goes when the result is dropped.
    pub(super) fn detach(
        &self,
        state: &mut State,
        network_id: &str,
        id: &str,
    ) -> Option<RemovedPort> {
        let network = state.networks.get_mut(network_id)?;
        let endpoint = network.endpoints.remove(id)?;
        let removed = self.unplug(network, &endpoint);
        if let (Some(segment), Some(removed)) = (&mut network.segment, &removed) {
            segment.gone += &removed.counters();
        }
        // Before the addresses can be somebody else's.
        self.follow_addresses(state, &endpoint.record.owner);
        self.forget_connections(&addresses(&endpoint.record));
        let State {
            networks,
            directory,
            ..
        } = state;
        let network = networks.get_mut(network_id)?;
        self.forget(directory, network, &endpoint.record);
        removed
    }

    /// Makes the port and the link of an endpoint whose addresses are its own already.
    pub(super) fn plug(
        &self,
        network: &Network,
        record: &EndpointRecord,
        sandbox: &Path,
    ) -> Result<Endpoint, Attach> {
        let failed = |why: String| host_failure(network, record, why);
        let Some(segment) = &network.segment else {
            return Err(Attach::NoPorts(network.record.name.clone()));
        };
        let netns = Netns::open(sandbox).map_err(|error| Attach::Sandbox(error.to_string()))?;
        if netns.is_own() {
            return Err(Attach::OwnSandbox(sandbox.to_owned()));
        }
        let tap = netns
            .run(|| open_tap(network.record.tap_driver(), &tap_name(&record.id)))
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        let ifindex = tap.ifindex;
        let config = network.record.port_config(PortKind::Tap);
        let port = self
            .switch
            .add_port(&segment.bridge, tap.port, config)
            .map_err(|error| failed(error.to_string()))?;
        let mac = Mac::new(record.mac);
        segment
            .bridge
            .register_endpoint(port, mac, &addresses(record));
        let outcome = segment
            .edge
            .insert(&record.id, edge_host(&network.record, record, port))
            .map_err(|error| failed(error.to_string()))
            .and_then(|()| configure(network, record, ifindex, &netns).map_err(failed));
        match outcome {
            Ok(link) => Ok(Endpoint {
                record: record.clone(),
                port: Some(port),
                link,
                sandbox: netns.id(),
            }),
            Err(error) => {
                let half = Endpoint {
                    record: record.clone(),
                    port: Some(port),
                    link: String::new(),
                    sandbox: netns.id(),
                };
                self.unplug(network, &half);
                Err(error)
            }
        }
    }

    /// Removes port and names; the link goes with its last descriptor.
    pub(super) fn unplug(&self, network: &Network, endpoint: &Endpoint) -> Option<RemovedPort> {
        let segment = network.segment.as_ref()?;
        segment.edge.remove(&endpoint.record.id);
        segment
            .bridge
            .unregister_endpoint(Mac::new(endpoint.record.mac));
        endpoint.port.map(|port| self.switch.remove_port(port))
    }

    /// Gives the addresses back and drops the record.
    fn forget(
        &self,
        directory: &mut Option<Directory>,
        network: &mut Network,
        record: &EndpointRecord,
    ) {
        release(network, record);
        if network.record.shared().is_some() {
            self.unshare(directory, network, record);
        }
        if let Err(error) = self.store.delete(&endpoint_key(&record.id)) {
            tracing::warn!(endpoint = short(&record.id), %error, "an endpoint's record stays until the next start");
        }
    }
}

/// Deletes the link that an agent which was killed left in a sandbox: the kernel takes its time to close a dead process's
/// rings, and with them the TAP.
pub(super) fn bury_link(record: &EndpointRecord, sandbox: &Path) {
    let Ok(netns) = Netns::open(sandbox) else {
        return;
    };
    let buried = Netlink::open_in(&netns).and_then(|mut inside| {
        let links = inside.links()?;
        let mut dead = links
            .iter()
            .filter(|link| link.mac == Some(record.mac) && link.kind.as_deref() == Some("tun"));
        dead.try_for_each(|link| inside.delete_link(&link.name))
    });
    if let Err(error) = buried {
        tracing::warn!(endpoint = record.name, %error, "a dead link may be in the way");
    }
}

fn configure(
    network: &Network,
    record: &EndpointRecord,
    from_index: u32,
    netns: &Netns,
) -> Result<String, String> {
    let subnets = &network.record.subnets;
    let link = SandboxLink {
        from_index,
        name: record
            .link
            .clone()
            .map_or(LinkName::FirstFree, LinkName::Exactly),
        mac: record.mac,
        mtu: u32::from(network.record.mtu),
        tx_queue_length: None,
        addresses: addresses(record)
            .into_iter()
            .filter_map(|address| {
                subnets
                    .iter()
                    .find(|subnet| subnet.net.contains(&address))
                    .map(|subnet| on_link(address, subnet.net))
            })
            .collect(),
        gateways: if network.record.internal {
            Vec::new()
        } else {
            network.record.gateway_addresses()
        },
        gateway_metric: record.rank,
        routes: Vec::new(),
        ipv6_link_local: network.pool_v6.is_some() || network.record.allows_routers(),
    };
    configure_sandbox(netns, &link)
        .map(|done| done.name)
        .map_err(|error| error.to_string())
}

pub(super) fn addresses(record: &EndpointRecord) -> Vec<IpAddr> {
    [record.ipv4.map(IpAddr::V4), record.ipv6.map(IpAddr::V6)]
        .into_iter()
        .flatten()
        .collect()
}

fn edge_host(network: &NetworkRecord, record: &EndpointRecord, port: PortId) -> EdgeHost {
    let short_id = match &record.owner {
        Owner::Container(id) => Some(short(id).to_owned()),
        Owner::Sandbox(_) => None,
    };
    EdgeHost {
        port: Some(port),
        mac: Mac::new(record.mac),
        dhcp: record
            .ipv4
            .filter(|_| network.serves_dhcp())
            .map(|ipv4| HostRecord {
                ipv4,
                hostname: record
                    .hostname
                    .clone()
                    .or_else(|| Some(record.name.clone())),
                dns_servers: Vec::new(),
            }),
        names: EndpointNames {
            name: record.name.clone(),
            aliases: record.aliases.clone(),
            hostname: record.hostname.clone(),
            short_id,
            v4: record.ipv4,
            v6: record.ipv6,
            services: dns::services(&record.publish),
        },
        dns: record.dns.clone(),
    }
}

/// `/proc/<pid>/ns/net`: the sandbox of a process.
pub(super) fn sandbox_of(pid: i32) -> PathBuf {
    format!("/proc/{pid}/ns/net").into()
}

fn tap_name(endpoint_id: &str) -> String {
    format!("tap{}", endpoint_id.get(..8).unwrap_or(endpoint_id))
}

fn host_failure(network: &Network, record: &EndpointRecord, why: String) -> Attach {
    Attach::Host {
        name: record.name.clone(),
        network: network.record.name.clone(),
        why,
    }
}
