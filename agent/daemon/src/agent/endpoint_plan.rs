//! What an endpoint is to be: wishes checked, addresses taken, before anything is made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use switch_core::Mac;

use super::endpoint::Attachment;
use super::state::{Network, State};
use crate::name::check_name;
use crate::random::{new_id, random_mac};
use crate::record::{EndpointRecord, Owner};
use agent_core::error::Attach;

/// Where one more endpoint goes in a sandbox.
#[derive(Clone, Debug)]
pub(super) struct Place {
    rank: u32,
    /// The name of its link, where all links of the sandbox are the agent's own.
    link: Option<String>,
}

impl Place {
    pub(super) fn of(state: &State, owner: &Owner) -> Self {
        let present: Vec<_> = state
            .networks
            .values()
            .flat_map(|network| network.endpoints_of(owner))
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
        sandbox: attachment.path.map(Path::to_owned),
        name: attachment.name.to_owned(),
        hostname: attachment.hostname.map(str::to_owned),
        aliases: attachment.settings.aliases.clone(),
        dns: attachment.dns.to_vec(),
        publish: attachment.publish.to_vec(),
        mac: mac.unwrap_or_else(made).octets(),
        ipv4,
        ipv6,
        link: attachment.link.map(str::to_owned).or(place.link),
        moved: None,
        down: false,
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
