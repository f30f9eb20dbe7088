//! Endpoints: giving a sandbox its place on a network, and taking it away.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use agent_api::{
    ApiError, DnsServer, EndpointCreate, EndpointDetail, EndpointSettings, PortMapping,
};
use dns_core::EndpointNames;
use overlay_core::Directory;
use switch_core::edge::HostRecord;
use switch_core::{Mac, PortConfig, PortKind};

use super::error::{Attach, Find};
use super::segment::{on_link, open_tap};
use super::state::{Endpoint, Network, State};
use super::{Agent, dns, view};
use crate::edge::EdgeHost;
use crate::name::{check_name, new_id, short};
use crate::netlink::{LinkName, Netlink, Netns, SandboxLink, configure_sandbox};
use crate::record::{EndpointRecord, Owner, endpoint_key};

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
            dns: &[],
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
        Ok(view::endpoint(network, endpoint))
    }

    pub(crate) fn remove_endpoint(&self, id: &str) -> Result<(), ApiError> {
        let mut state = self.state();
        let State {
            networks,
            directory,
            ..
        } = &mut *state;
        for network in networks.values_mut() {
            if network.endpoints.contains_key(id) {
                self.detach(directory, network, id);
            }
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
                }
                Ok(id)
            }
            Err(error) => {
                self.forget(directory, network, &record);
                Err(error.into())
            }
        }
    }

    /// Takes the endpoint away, whatever is left of it.
    pub(super) fn detach(
        &self,
        directory: &mut Option<Directory>,
        network: &mut Network,
        id: &str,
    ) {
        let Some(endpoint) = network.endpoints.remove(id) else {
            return;
        };
        self.unplug(network, &endpoint);
        self.forget(directory, network, &endpoint.record);
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
        let config = PortConfig::new(PortKind::Tap, u32::from(network.record.mtu));
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
            .insert(&record.id, edge_host(record))
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
    pub(super) fn unplug(&self, network: &Network, endpoint: &Endpoint) {
        let Some(segment) = &network.segment else {
            return;
        };
        segment.edge.remove(&endpoint.record.id);
        segment
            .bridge
            .unregister_endpoint(Mac::new(endpoint.record.mac));
        if let Some(port) = endpoint.port {
            self.switch.remove_port(port);
        }
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

/// Where one more endpoint goes in a sandbox.
#[derive(Clone, Debug)]
pub(super) struct Place {
    rank: u32,
    /// The name of its link, where all links of the sandbox are the agent's own.
    link: Option<String>,
}

impl Place {
    fn of(state: &State, owner: &Owner) -> Self {
        let endpoints = state
            .networks
            .values()
            .flat_map(|network| network.endpoints.values());
        let present: Vec<_> = endpoints
            .filter(|endpoint| endpoint.record.owner == *owner)
            .collect();
        let rank = present
            .iter()
            .map(|endpoint| endpoint.record.rank + 1)
            .max()
            .unwrap_or(0);
        let is_free = |link: &String| !present.iter().any(|endpoint| endpoint.link == *link);
        let link = match owner {
            Owner::Container(_) => (0..)
                .map(|number: u32| format!("eth{number}"))
                .find(is_free),
            Owner::Sandbox(_) => None,
        };
        Self { rank, link }
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

/// Checks the wishes and takes the addresses.
pub(super) fn plan_endpoint(
    network: &mut Network,
    attachment: &Attachment<'_>,
    place: Place,
) -> Result<EndpointRecord, Attach> {
    if network.segment.is_none() {
        return Err(Attach::NoPorts(network.record.name.clone()));
    }
    let named = |what| move |source| Attach::Name { what, source };
    check_name(attachment.name).map_err(named("endpoint name"))?;
    for alias in &attachment.settings.aliases {
        check_name(alias).map_err(named("network alias"))?;
    }
    if network
        .endpoints
        .values()
        .any(|endpoint| endpoint.record.name == attachment.name)
    {
        return Err(Attach::Twice {
            name: attachment.name.to_owned(),
            network: network.record.name.clone(),
        });
    }
    if let Some(link) = attachment.link {
        check_link_name(link)?;
    }
    let mac = attachment
        .settings
        .mac
        .as_deref()
        .map(|mac| checked_mac(network, mac))
        .transpose()?;
    let (ipv4, ipv6) = take_addresses(network, attachment)?;
    let made = || ipv4.map_or_else(random_mac, Mac::from_ipv4);
    Ok(EndpointRecord {
        id: new_id(),
        network: network.record.id.clone(),
        owner: attachment.owner.clone(),
        name: attachment.name.to_owned(),
        hostname: attachment.hostname.map(str::to_owned),
        aliases: attachment.settings.aliases.clone(),
        dns: attachment.dns.to_vec(),
        publish: attachment.publish.to_vec(),
        mac: mac.unwrap_or_else(made).octets(),
        ipv4,
        ipv6,
        link: attachment.link.map(str::to_owned).or(place.link),
        rank: place.rank,
    })
}

fn checked_mac(network: &Network, text: &str) -> Result<Mac, Attach> {
    let mac: Mac = text.parse().map_err(Attach::Mac)?;
    if !mac.is_station() {
        return Err(Attach::MacNotStation(mac));
    }
    let taken = |owner: String| Attach::MacTaken {
        mac,
        owner,
        network: network.record.name.clone(),
    };
    if network
        .segment
        .as_ref()
        .is_some_and(|segment| segment.gateway_mac == mac)
    {
        return Err(taken("the gateway".to_owned()));
    }
    match network
        .endpoints
        .values()
        .find(|endpoint| endpoint.record.mac == mac.octets())
    {
        Some(endpoint) => Err(taken(endpoint.record.name.clone())),
        None => Ok(mac),
    }
}

fn take_addresses(
    network: &mut Network,
    attachment: &Attachment<'_>,
) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>), Attach> {
    let wishes = attachment.settings;
    if wishes.ip.is_some() && network.pool_v4.is_none() {
        return Err(Attach::NoIpv4(network.record.name.clone()));
    }
    if wishes.ip6.is_some() && network.pool_v6.is_none() {
        return Err(Attach::NoIpv6(network.record.name.clone()));
    }
    let owner = attachment.name;
    let mut ipv4 = None;
    if let Some(pool) = &mut network.pool_v4 {
        ipv4 = Some(match wishes.ip {
            Some(wanted) => pool.take(wanted.into(), owner).map(|()| wanted.into())?,
            None => pool.allocate(owner)?,
        });
    }
    let mut ipv6 = None;
    if let Some(pool) = &mut network.pool_v6 {
        let taken = match wishes.ip6 {
            Some(wanted) => pool.take(wanted.into(), owner).map(|()| wanted.into()),
            None => pool.allocate(owner),
        };
        match (taken, &mut network.pool_v4, ipv4) {
            (Ok(address), ..) => ipv6 = Some(address),
            (Err(error), Some(pool), Some(address)) => {
                pool.release(address);
                return Err(error.into());
            }
            (Err(error), ..) => return Err(error.into()),
        }
    }
    let v4 = ipv4.and_then(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let v6 = ipv6.and_then(|address| match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    });
    Ok((v4, v6))
}

pub(super) fn release(network: &mut Network, record: &EndpointRecord) {
    if let (Some(pool), Some(address)) = (&mut network.pool_v4, record.ipv4) {
        pool.release(address.into());
    }
    if let (Some(pool), Some(address)) = (&mut network.pool_v6, record.ipv6) {
        pool.release(address.into());
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
        ipv6_link_local: network.pool_v6.is_some(),
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

fn edge_host(record: &EndpointRecord) -> EdgeHost {
    let short_id = match &record.owner {
        Owner::Container(id) => Some(short(id).to_owned()),
        Owner::Sandbox(_) => None,
    };
    EdgeHost {
        mac: Mac::new(record.mac),
        dhcp: record.ipv4.map(|ipv4| HostRecord {
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

/// A locally administered unicast address (IEEE 802, U/L bit) for an endpoint without an IPv4 address.
fn random_mac() -> Mac {
    let mut bytes = [0u8; 6];
    // Six bytes come at once or not at all; getrandom(2) is not interrupted below 256 bytes.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes[0] = bytes[0] & 0xfc | 0x02;
    Mac::new(bytes)
}

/// What the kernel takes as a link's name (net/core/dev.c, `dev_valid_name`), and a shell too.
fn check_link_name(name: &str) -> Result<(), Attach> {
    let fits = (1..=15).contains(&name.len()) && name != "." && name != "..";
    if fits
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
    {
        return Ok(());
    }
    Err(Attach::LinkName(name.chars().take(40).collect()))
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
