//! Endpoints: giving a sandbox its place on a network, and taking it away.

use std::path::{Path, PathBuf};

use agent_api::{ApiError, EndpointCreate, EndpointDetail};
use overlay_core::Directory;
use switch_core::{Mac, PortId, PortKind};
use switch_io::RemovedPort;

use super::dns::share_zones;
use super::port_state::pull;
use super::segment::{on_link, open_tap};
use super::state::{Endpoint, Network, State};
use super::{Agent, view};
use crate::edge::EdgeHost;
use crate::name::short;
use crate::netlink::{LinkName, Neighbor, Netlink, Netns, SandboxLink, configure_sandbox};
use crate::random::{new_id, random_mac};
use crate::record::{EndpointRecord, NetworkRecord, Owner, endpoint_key};
use agent_core::endpoint::{self, Attach, Attachment, Fresh, Place};
use agent_core::find::Find;

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
        let netns = open_sandbox(&request.sandbox)?;
        let mut state = self.state();
        let owner = state.owner_of(netns.id());
        let network_id = state.network_id(&request.network)?;
        let attachment = Attachment {
            network: &network_id,
            path: matches!(owner, Owner::Sandbox(_)).then_some(&request.sandbox),
            owner,
            name: &request.name,
            hostname: None,
            dns: &request.dns,
            publish: &[],
            link: request.link.as_deref(),
            settings: &request.settings,
        };
        let id = self.attach(&mut state, &attachment, &netns)?;
        let network = state.network(&network_id)?;
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
            removed.extend(self.dismiss(&mut state, &network, &id));
        }
        Ok(())
    }

    /// Detaches a sandbox from one network, or from all of them. A path that leads nowhere any more is as good as when it was
    /// used to attach.
    pub(crate) fn remove_endpoints_of(
        &self,
        sandbox: &Path,
        network: Option<&str>,
    ) -> Result<(), ApiError> {
        // Dropped after the lock.
        let mut removed = Vec::new();
        let mut state = self.state();
        let network = network.map(|called| state.network_id(called)).transpose()?;
        let owner = state.owner_at(sandbox);
        let ids = state.endpoint_ids(|endpoint| owner.as_ref() == Some(&endpoint.record.owner));
        for (on, id) in ids {
            if network.as_ref().is_none_or(|network| *network == on) {
                removed.extend(self.dismiss(&mut state, &on, &id));
            }
        }
        Ok(())
    }

    /// Detaches an endpoint because somebody said so.
    fn dismiss(&self, state: &mut State, network_id: &str, id: &str) -> Option<RemovedPort> {
        let removed = self.detach(state, network_id, id);
        let network = state.networks.get(network_id);
        let called = network.map(|network| network.record.name.as_str());
        tracing::info!(id, network = called, "endpoint removed");
        removed
    }

    /// Validates, keeps a record, attaches; after a failure neither record nor link nor address is left.
    pub(super) fn attach(
        &self,
        state: &mut State,
        attachment: &Attachment<'_>,
        netns: &Netns,
    ) -> Result<String, ApiError> {
        let id = attachment.network;
        let place = place(state, &attachment.owner);
        let State {
            networks,
            directory,
            ..
        } = &mut *state;
        let network = networks
            .get_mut(id)
            .ok_or_else(|| Find::NoNetwork(id.to_owned()))?;
        let record = match network.record.shared() {
            None => plan(network, attachment, place)?,
            Some(_) => self.plan_shared(network, attachment, place)?,
        };
        let id = record.id.clone();
        let kept = self.store.put(&endpoint_key(&id), &record);
        let attached = kept
            .map_err(|error| host_failure(network, &record, error.to_string()))
            .and_then(|()| self.plug(network, &record, netns));
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
                }
                self.announce(network, &record, netns);
                share_zones(state, &attachment.owner);
                Ok(id)
            }
            Err(error) => {
                self.forget(directory, network, &record);
                Err(error.into())
            }
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
        network.remember(&endpoint.record);
        let removed = self.unplug(network, &endpoint);
        if let (Some(segment), Some(removed)) = (&mut network.segment, &removed) {
            segment.gone += &removed.counters();
        }
        // Before the addresses can be somebody else's.
        self.follow_addresses(state, &endpoint.record.owner);
        self.forget_connections(&endpoint.record.addresses());
        let State {
            networks,
            directory,
            ..
        } = state;
        let network = networks.get_mut(network_id)?;
        self.forget(directory, network, &endpoint.record);
        share_zones(state, &endpoint.record.owner);
        removed
    }

    /// Makes the port and the link of an endpoint whose addresses are its own already.
    pub(super) fn plug(
        &self,
        network: &Network,
        record: &EndpointRecord,
        netns: &Netns,
    ) -> Result<Endpoint, Attach> {
        let failed = |why: String| host_failure(network, record, why);
        let Some(segment) = &network.segment else {
            return Err(Attach::NoPorts(network.record.name.clone()));
        };
        let tap = netns
            .run(|| open_tap(network.record.tap_driver(), &tap_name(&record.id)))
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        let ifindex = tap.ifindex;
        let own = tap.port.as_fd().try_clone_to_owned();
        let own = own.map_err(|error| failed(error.to_string()))?;
        let config = network.record.port_config(PortKind::Tap);
        let port = self
            .switch
            .add_port(&segment.bridge, tap.port, config)
            .map_err(|error| failed(error.to_string()))?;
        segment
            .bridge
            .register_endpoint(port, Mac::new(record.mac), &record.addresses());
        let mut endpoint = Endpoint {
            record: record.clone(),
            port: Some(port),
            link: String::new(),
            tap: Some(own),
        };
        let outcome = segment
            .edge
            .insert(&record.id, edge_host(&network.record, record, port))
            .map_err(|error| failed(error.to_string()))
            .and_then(|()| configure(network, record, ifindex, netns).map_err(failed))
            .and_then(|link| match record.down {
                true => pull(network, &endpoint).map(|()| link).map_err(failed),
                false => Ok(link),
            });
        match outcome {
            Ok(link) => {
                endpoint.link = link;
                Ok(endpoint)
            }
            Err(error) => {
                self.unplug(network, &endpoint);
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
        network.pools.release(record);
        if network.record.shared().is_some() {
            self.unshare(directory, network, record);
        }
        if let Err(error) = self.store.delete(&endpoint_key(&record.id)) {
            tracing::warn!(endpoint = short(&record.id), %error, "an endpoint's record stays until the next start");
        }
    }
}

/// Checks the wishes and takes the addresses.
pub(super) fn plan(
    network: &mut Network,
    attachment: &Attachment<'_>,
    place: Place,
) -> Result<EndpointRecord, Attach> {
    if network.segment.is_none() {
        return Err(Attach::NoPorts(network.record.name.clone()));
    }
    let others = network.endpoints.values().map(|endpoint| &endpoint.record);
    let pools = &mut network.pools;
    endpoint::plan(&network.record, pools, others, attachment, place, fresh())
}

pub(super) fn fresh() -> Fresh {
    Fresh {
        id: new_id(),
        mac: random_mac(),
    }
}

fn place(state: &State, owner: &Owner) -> Place {
    let networks = state.networks.values();
    let present = networks.flat_map(|network| network.endpoints_of(owner));
    let present: Vec<_> = present.map(|endpoint| &endpoint.record).collect();
    Place::of(&present, owner)
}

/// The namespace of a sandbox, which must not be the host's.
pub(super) fn open_sandbox(path: &Path) -> Result<Netns, Attach> {
    let netns = Netns::open(path).map_err(|error| Attach::Sandbox(error.to_string()))?;
    if netns.is_own() {
        return Err(Attach::OwnSandbox(path.to_owned()));
    }
    Ok(netns)
}

/// Deletes the link that an agent which was killed left in a sandbox: the kernel takes its time to close a dead process's
/// rings, and with them the TAP.
pub(super) fn bury_link(record: &EndpointRecord, netns: &Netns) {
    let buried = Netlink::open_in(netns).and_then(|mut inside| {
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
        addresses: record
            .addresses()
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
        gateway_rank: record.rank,
        neighbors: gateway_neighbors(network),
        routes: Vec::new(),
        // Where there are no addresses, those who run a protocol of their own get what the kernel makes for it.
        ipv6_link_local: network.pools.v6.is_some()
            || subnets.is_empty()
            || network.record.allows_routers(),
    };
    configure_sandbox(netns, &link)
        .map(|done| done.name)
        .map_err(|error| error.to_string())
}

/// The gateway, whose MAC is the network's for good.
fn gateway_neighbors(network: &Network) -> Vec<Neighbor> {
    let mac = network.record.gateway_mac().octets();
    let addresses = network.record.gateway_addresses().into_iter();
    addresses.map(|address| Neighbor { address, mac }).collect()
}

fn edge_host(network: &NetworkRecord, record: &EndpointRecord, port: PortId) -> EdgeHost {
    EdgeHost {
        port: Some(port),
        mac: Mac::new(record.mac),
        dhcp: record.lease(network),
        names: record.names(),
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

pub(super) fn host_failure(network: &Network, record: &EndpointRecord, why: String) -> Attach {
    Attach::Host {
        name: record.name.clone(),
        network: network.record.name.clone(),
        why,
    }
}
