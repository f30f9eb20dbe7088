//! What an endpoint is to be: wishes checked, addresses taken, before anything is made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use agent_api::{DnsServer, EndpointSettings, PortMapping};
use switch_core::Mac;

use super::error::Attach;
use crate::ipam::{Pool, Pools, Tenant};
use crate::name::check_name;
use crate::network::{LanMode, check_vlans};
use crate::record::{EndpointRecord, NetworkRecord, Owner};

/// Who asks to be attached, and how.
#[derive(Clone)]
pub struct Attachment<'a> {
    pub owner: Owner,
    /// The way to a sandbox that is not of a container's.
    pub path: Option<&'a Path>,
    pub name: &'a str,
    pub hostname: Option<&'a str>,
    pub dns: &'a [DnsServer],
    pub publish: &'a [PortMapping],
    pub ports_reserved: bool,
    pub link: Option<&'a str>,
    pub settings: &'a EndpointSettings,
}

/// Where one more endpoint goes in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    rank: u32,
    /// The name of its link, where all links of the sandbox are the agent's own.
    link: Option<String>,
}

/// What is random of an endpoint.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub id: String,
    /// For an endpoint that asked for none and has no IPv4 address to make one from.
    pub mac: Mac,
}

impl Place {
    /// After the endpoints that the owner's sandbox has.
    pub fn of(present: &[&EndpointRecord], owner: &Owner) -> Self {
        let ranks = present.iter().map(|endpoint| endpoint.rank + 1);
        let is_free = |link: &String| {
            let mut links = present.iter().map(|endpoint| &endpoint.link);
            !links.any(|taken| taken.as_ref() == Some(link))
        };
        let link = match owner {
            Owner::Container(_) => (0..)
                .map(|number: u32| format!("eth{number}"))
                .find(is_free),
            Owner::Sandbox(_) | Owner::Engine(_) => None,
        };
        Self {
            rank: ranks.max().unwrap_or(0),
            link,
        }
    }

    /// After the `last` one in a sandbox that somebody else made, who names the links there.
    pub fn after(last: Option<u32>) -> Self {
        Self {
            rank: last.map_or(0, |rank| rank + 1),
            link: None,
        }
    }
}

/// Checks the wishes against the network and the `others` on it, and takes the addresses; none are kept on failure.
pub fn plan<'r>(
    network: &NetworkRecord,
    pools: &mut Pools,
    others: impl Iterator<Item = &'r EndpointRecord> + Clone,
    attachment: &Attachment<'_>,
    place: Place,
    fresh: Fresh,
) -> Result<EndpointRecord, Attach> {
    if !network.has_bridge() {
        return Err(Attach::NoPorts(network.name.clone()));
    }
    if network.lan_mode() == LanMode::Passthru
        && let Some(other) = others.clone().next()
    {
        return Err(Attach::Passthru {
            network: network.name.clone(),
            other: other.name.clone(),
        });
    }
    let aliases = &attachment.settings.aliases;
    check_names(network, others.clone(), attachment.name, aliases)?;
    match (attachment.link, &attachment.owner) {
        (Some(_), Owner::Engine(_)) => return Err(Attach::LinkHandedOver),
        (Some(link), _) => check_link_name(link)?,
        (None, _) => {}
    }
    if attachment.settings.lease {
        check_lease(network, attachment.settings)?;
    }
    attachment.settings.impairments.check()?;
    let (vlan, trunk) = (
        attachment.settings.vlan,
        attachment.settings.trunk.as_deref(),
    );
    let trunk = check_vlans(network, vlan, trunk)?;
    let rates = attachment.settings.rates;
    rates.over(&network.rates()).check()?;
    let wish = attachment.settings.mac.as_deref();
    let mac = wish
        .map(|mac| checked_mac(network, others, mac))
        .transpose()?;
    let (ipv4, ipv6) = take_addresses(network, pools, attachment)?;
    let made = || ipv4.map_or(fresh.mac, Mac::from_ipv4);
    Ok(EndpointRecord {
        id: fresh.id,
        network: network.id.clone(),
        owner: attachment.owner.clone(),
        sandbox: attachment.path.map(Path::to_owned),
        name: attachment.name.to_owned(),
        hostname: attachment.hostname.map(str::to_owned),
        aliases: attachment.settings.aliases.clone(),
        dns: attachment.dns.to_vec(),
        publish: attachment.publish.to_vec(),
        ports_reserved: attachment.ports_reserved,
        mac: mac.unwrap_or_else(made).octets(),
        ipv4,
        ipv6,
        link: attachment.link.map(str::to_owned).or(place.link),
        moved: None,
        is_leased: attachment.settings.lease,
        down: false,
        is_chosen: attachment.settings.ip.is_some() || attachment.settings.ip6.is_some(),
        rank: place.rank,
        impairments: attachment.settings.impairments,
        port_settings: attachment.settings.port_settings,
        labels: attachment.settings.labels.clone().unwrap_or_default(),
        vlan,
        trunk,
        rates,
    })
}

/// Refuses a lease where there is nobody who gives one.
pub fn check_lease(network: &NetworkRecord, settings: &EndpointSettings) -> Result<(), Attach> {
    let has_lan = network.uplink().is_some() && network.subnet_v4().is_some();
    match has_lan && settings.lease {
        true => Ok(()),
        false => Err(Attach::NoLan(network.name.clone())),
    }
}

/// By which a DHCP server knows an endpoint of that name, so that it gets the same address again.
pub fn lease_mac(network: &str, name: &str) -> Mac {
    // FNV-1a, which need withstand nobody.
    let bytes = network.bytes().chain([0]).chain(name.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let [a, b, c, d] = hash.to_be_bytes();
    Mac::new([0x06, 0x43, a, b, c, d])
}

/// Checks what an endpoint beside the `others` is to be called.
pub fn check_names<'r>(
    network: &NetworkRecord,
    others: impl Iterator<Item = &'r EndpointRecord>,
    name: &str,
    aliases: &[String],
) -> Result<(), Attach> {
    let named = |what| move |source| Attach::Name { what, source };
    check_name(name).map_err(named("endpoint name"))?;
    for alias in aliases {
        check_name(alias).map_err(named("network alias"))?;
    }
    let mut names = others.map(|endpoint| &endpoint.name);
    match names.any(|other| other == name) {
        true => Err(Attach::Twice {
            name: name.to_owned(),
            network: network.name.clone(),
        }),
        false => Ok(()),
    }
}

fn checked_mac<'r>(
    network: &NetworkRecord,
    mut others: impl Iterator<Item = &'r EndpointRecord>,
    text: &str,
) -> Result<Mac, Attach> {
    let mac: Mac = text.parse().map_err(Attach::Mac)?;
    if !mac.is_station() {
        return Err(Attach::MacNotStation(mac));
    }
    let taken = |owner: String| Attach::MacTaken {
        mac,
        owner,
        network: network.name.clone(),
    };
    if network.gateway_mac() == mac {
        return Err(taken("the gateway".to_owned()));
    }
    match others.find(|endpoint| endpoint.mac == mac.octets()) {
        Some(endpoint) => Err(taken(endpoint.name.clone())),
        None => Ok(mac),
    }
}

fn take_addresses(
    network: &NetworkRecord,
    pools: &mut Pools,
    attachment: &Attachment<'_>,
) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>), Attach> {
    let wishes = attachment.settings;
    if wishes.ip.is_some() && pools.v4.is_none() {
        return Err(Attach::NoIpv4(network.name.clone()));
    }
    if wishes.ip6.is_some() && pools.v6.is_none() {
        return Err(Attach::NoIpv6(network.name.clone()));
    }
    let tenant = || Tenant::Endpoint(attachment.name.to_owned());
    let give = |pool: &mut Pool, wish: Option<IpAddr>| match wish {
        Some(wanted) => pool.take(wanted, tenant()).map(|()| wanted),
        None => pool.allocate(tenant()),
    };
    let (mut ipv4, mut ipv6) = (None, None);
    if let Some(pool) = &mut pools.v4
        && let IpAddr::V4(address) = give(pool, wishes.ip.map(Into::into))?
    {
        ipv4 = Some(address);
    }
    if let Some(pool) = &mut pools.v6 {
        match give(pool, wishes.ip6.map(Into::into)) {
            Ok(IpAddr::V6(address)) => ipv6 = Some(address),
            Ok(IpAddr::V4(_)) => {}
            Err(error) => {
                if let (Some(pool), Some(address)) = (&mut pools.v4, ipv4) {
                    pool.release(address.into());
                }
                return Err(error.into());
            }
        }
    }
    Ok((ipv4, ipv6))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam::AllocateAddress;
    use crate::sample;

    const MAC: Mac = Mac::new([2, 9, 9, 9, 9, 9]);

    fn fresh() -> Fresh {
        Fresh {
            id: "e1".to_owned(),
            mac: MAC,
        }
    }

    /// An endpoint `web` of container `c`.
    fn asked(settings: &EndpointSettings) -> Attachment<'_> {
        Attachment {
            owner: Owner::Container("c".into()),
            path: None,
            name: "web",
            hostname: None,
            dns: &[],
            publish: &[],
            ports_reserved: false,
            link: None,
            settings,
        }
    }

    struct Site {
        network: NetworkRecord,
        pools: Pools,
        others: Vec<EndpointRecord>,
    }

    fn site(subnets: &[&str]) -> Site {
        let network = sample::network("n", subnets);
        let pools = Pools::of(&network).unwrap();
        Site {
            network,
            pools,
            others: Vec::new(),
        }
    }

    impl Site {
        fn plan(&mut self, attachment: &Attachment<'_>) -> Result<EndpointRecord, Attach> {
            let place = Place::of(&[], &attachment.owner);
            let Self {
                network,
                pools,
                others,
            } = self;
            plan(network, pools, others.iter(), attachment, place, fresh())
        }

        fn tenant(&self, address: &str) -> Option<&Tenant> {
            self.pools.tenant(address.parse().unwrap())
        }
    }

    fn wish(ip: Option<&str>, ip6: Option<&str>) -> EndpointSettings {
        EndpointSettings {
            ip: ip.map(|ip| ip.parse().unwrap()),
            ip6: ip6.map(|ip| ip.parse().unwrap()),
            ..EndpointSettings::default()
        }
    }

    #[test]
    fn the_lowest_address_is_given_and_makes_the_mac() {
        let planned = site(&["10.1.0.0/24"])
            .plan(&asked(&wish(None, None)))
            .unwrap();
        assert_eq!(planned.addresses(), ["10.1.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(planned.mac, Mac::from_ipv4([10, 1, 0, 2].into()).octets());
        assert_eq!((planned.rank, planned.link.as_deref()), (0, Some("eth0")));
        let without = site(&["fd01::/64"])
            .plan(&asked(&wish(None, None)))
            .unwrap();
        assert_eq!(without.mac, MAC.octets());
    }

    #[test]
    fn nothing_is_taken_where_one_address_is_refused() {
        let mut site = site(&["10.1.0.0/24", "fd01::/64"]);
        let taken = wish(None, Some("fd01::1"));
        let refused = site.plan(&asked(&taken)).unwrap_err();
        assert!(matches!(
            refused,
            Attach::Address(AllocateAddress::Taken {
                tenant: Tenant::Gateway,
                ..
            })
        ));
        assert_eq!(site.tenant("10.1.0.2"), None);
        assert!(site.plan(&asked(&wish(None, Some("fd01::5")))).is_ok());
        assert!(site.tenant("fd01::5").is_some());
    }

    #[test]
    fn wishes_for_a_family_that_is_not_there_are_refused() {
        let refused = site(&["fd01::/64"]).plan(&asked(&wish(Some("10.1.0.2"), None)));
        assert!(matches!(refused, Err(Attach::NoIpv4(_))));
        let refused = site(&["10.1.0.0/24"]).plan(&asked(&wish(None, Some("fd01::5"))));
        assert!(matches!(refused, Err(Attach::NoIpv6(_))));
    }

    #[test]
    fn names_and_macs_are_of_one_endpoint_each() {
        let mut site = site(&["10.1.0.0/24"]);
        site.others.push(sample::endpoint("web", &[]));
        let none = wish(None, None);
        let refused = site.plan(&asked(&none));
        assert!(matches!(refused, Err(Attach::Twice { .. })));
        let with = |mac: &str| EndpointSettings {
            mac: Some(mac.to_owned()),
            ..wish(None, None)
        };
        let mut plan = |mac: &str| {
            let settings = with(mac);
            let attachment = Attachment {
                name: "db",
                ..asked(&settings)
            };
            site.plan(&attachment)
        };
        for taken in ["02:00:00:00:00:01", "02:42:0a:01:00:01"] {
            assert!(
                matches!(plan(taken), Err(Attach::MacTaken { .. })),
                "{taken}"
            );
        }
        assert!(matches!(
            plan("01:00:5e:00:00:01"),
            Err(Attach::MacNotStation(_))
        ));
        assert!(matches!(plan("02:42"), Err(Attach::Mac(_))));
        assert_eq!(plan("02:00:00:00:00:07").unwrap().mac, [2, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn names_of_links_are_ones_that_the_kernel_takes() {
        let none = wish(None, None);
        let plan = |link| {
            let attachment = Attachment {
                link: Some(link),
                ..asked(&none)
            };
            site(&["10.1.0.0/24"]).plan(&attachment)
        };
        assert_eq!(plan("net1").unwrap().link.as_deref(), Some("net1"));
        for link in ["", ".", "..", "a b", "a/b", "sixteen_letters_"] {
            assert!(matches!(plan(link), Err(Attach::LinkName(_))), "{link}");
        }
    }

    #[test]
    fn impairments_that_make_no_sense_are_refused_before_anything_is_taken() {
        let mut site = site(&["10.1.0.0/24"]);
        let mut settings = wish(None, None);
        settings.impairments.to.jitter = Some("5ms".parse().unwrap());
        let refused = site.plan(&asked(&settings)).unwrap_err();
        assert!(matches!(refused, Attach::Impairments(_)));
        assert_eq!(site.tenant("10.1.0.2"), None);
        settings.impairments.to.delay = Some("50ms".parse().unwrap());
        let planned = site.plan(&asked(&settings)).unwrap();
        assert_eq!(planned.impairments, settings.impairments);
    }

    #[test]
    fn vlans_are_taken_where_the_network_is_aware_of_them() {
        let mut site = site(&["10.1.0.0/24"]);
        let settings = EndpointSettings {
            vlan: Some(10),
            trunk: Some("30,20-29".into()),
            ..wish(None, None)
        };
        let refused = site.plan(&asked(&settings)).unwrap_err();
        assert!(matches!(refused, Attach::Vlan(_)));
        assert_eq!(site.tenant("10.1.0.2"), None);
        let aware = ("vlan".to_owned(), "aware".to_owned());
        site.network.options.extend([aware]);
        let planned = site.plan(&asked(&settings)).unwrap();
        assert_eq!(
            (planned.vlan, planned.trunk.as_deref()),
            (Some(10), Some("20-30"))
        );
    }

    #[test]
    fn a_network_without_ports_takes_no_endpoint() {
        let mut site = site(&[]);
        site.network.driver = agent_api::Driver::Host;
        let refused = site.plan(&asked(&wish(None, None)));
        assert!(matches!(refused, Err(Attach::NoPorts(_))));
    }

    #[test]
    fn one_more_endpoint_comes_after_all_others_of_its_sandbox() {
        let owner = Owner::Container("c".into());
        let at = |rank, link: &str| EndpointRecord {
            rank,
            link: Some(link.to_owned()),
            ..sample::endpoint("x", &[])
        };
        let (first, third) = (at(0, "eth0"), at(2, "eth2"));
        let place = Place::of(&[&first, &third], &owner);
        assert_eq!((place.rank, place.link.as_deref()), (3, Some("eth1")));
        let theirs = Owner::Sandbox(crate::record::NetnsId {
            device: 4,
            inode: 7,
        });
        assert_eq!(
            Place::of(&[&first], &theirs),
            Place::after(Some(first.rank))
        );
        assert_eq!(Place::of(&[], &theirs), Place::after(None));
    }
}
