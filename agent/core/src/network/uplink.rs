//! What a network's options say of the NIC that it is on.
//!
//! # Theory of operation
//!
//! A network of the drivers `macvlan` and `ipvlan` *is* a LAN: its subnet, its router and its DHCP server are the LAN's own, and
//! the agent adds nothing to them. Names and defaults are Docker's. It differs from Docker's in one thing: the host reaches its
//! containers. In the mode `l3` there is no LAN inside: the host routes between the network and its NIC.
//!
//! A network of another driver may have an uplink besides (`-o uplink=`): then a LAN is one more part of it.

use std::net::IpAddr;

use agent_api::{Driver, NetworkCreate};
use switch_core::vlan::Vid;
use switch_core::{CrossingRule, Mac, PortConfig, PortKind, SplitHorizonGroup};

use super::error::CreateNetwork;
use super::option_list::{
    OPTION_IPVLAN_FLAG, OPTION_IPVLAN_MODE, OPTION_MAC, OPTION_MACVLAN_MODE, OPTION_PARENT,
    OPTION_UPLINK,
};
use super::predefined::without_segment;
use crate::record::NetworkRecord;

/// The NIC that a network is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    pub parent: Parent,
    pub rule: CrossingRule,
}

/// A link of the host's, perhaps one VLAN of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// As it was written: a link of that name goes before a VLAN of another.
    pub name: String,
    /// The link and the VLAN that such a name stands for where there is no link of that name.
    pub vlan: Option<(String, Vid)>,
}

/// Who reaches whom on the LAN; the kernel's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LanMode {
    /// Containers reach each other directly.
    Bridge,
    /// Containers reach everybody but each other.
    Private,
    /// Containers reach each other by the switch outside, if that sends back what it gets.
    Vepa,
    /// There is one container, which has the NIC's MAC.
    Passthru,
}

impl Parent {
    /// `eth0`, or `eth0.10` for VLAN 10 of it.
    pub fn parse(text: &str) -> Option<Self> {
        let is_good = !text.is_empty()
            && text.len() < LINK_LEN_MAX
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'/');
        let vlan = text.rsplit_once('.').and_then(|(link, vid)| {
            let vid = vid.parse().ok().and_then(Vid::new)?;
            (!link.is_empty()).then(|| (link.to_owned(), vid))
        });
        is_good.then(|| Self {
            name: text.to_owned(),
            vlan,
        })
    }
}

impl NetworkRecord {
    /// Whether it is a LAN that others own: its gateway and its DHCP are not the agent's.
    pub fn is_lan(&self) -> bool {
        matches!(self.driver, Driver::Macvlan | Driver::Ipvlan) && !self.is_routed()
    }

    /// Whether the host routes between it and the host's own NIC.
    pub fn is_routed(&self) -> bool {
        let mode = self.options.get(OPTION_IPVLAN_MODE);
        self.driver == Driver::Ipvlan && mode.is_some_and(|mode| mode.starts_with("l3"))
    }

    pub fn lan_mode(&self) -> LanMode {
        let mode = self.options.get(OPTION_MACVLAN_MODE);
        let mode = mode.or_else(|| self.options.get(OPTION_IPVLAN_FLAG));
        match mode.map(String::as_str) {
            Some("private") => LanMode::Private,
            Some("vepa") => LanMode::Vepa,
            Some("passthru") => LanMode::Passthru,
            _ => LanMode::Bridge,
        }
    }

    /// The NIC whose LAN it is or has in it. A network that names none reaches nobody outside.
    pub fn uplink(&self) -> Option<Uplink> {
        let (name, rule) = match self.is_lan() {
            true => (OPTION_PARENT, self.crossing_rule()),
            false => (OPTION_UPLINK, CrossingRule::Open),
        };
        let parent = Parent::parse(self.options.get(name)?)?;
        Some(Uplink { parent, rule })
    }

    /// The link that a routed network's packets may leave and come by.
    pub fn routed_by(&self) -> Option<&str> {
        let parent = self.options.get(OPTION_PARENT).map(String::as_str);
        parent.filter(|_| self.is_routed())
    }

    /// The host's own MAC on the LAN's containers' side, the same as long as the network is.
    pub(super) fn lan_mac(&self) -> Mac {
        let digits = self.id.get(..8).unwrap_or_default();
        let number = u32::from_str_radix(digits, 16).unwrap_or(1);
        let [a, b, c, d] = number.to_be_bytes();
        Mac::new([0x06, 0x42, a, b, c, d])
    }

    /// How the network's bridge treats the NIC, whose packets have at most `mtu` bytes.
    pub fn uplink_config(&self, mtu: u32) -> PortConfig {
        let serves_dhcp = !self.is_lan() && self.serves_dhcp();
        PortConfig {
            mtu,
            group: self.lan_group(),
            reflects: self.lan_mode() == LanMode::Vepa,
            allow_dhcp_server: !serves_dhcp,
            ..self.port_config(PortKind::Uplink)
        }
    }

    /// The group of the host's own port and the NIC's.
    pub(super) fn lan_group(&self) -> SplitHorizonGroup {
        match self.is_lan() {
            true => SplitHorizonGroup::LAN,
            false => SplitHorizonGroup::NONE,
        }
    }

    /// The group of containers' ports.
    pub(super) fn container_group(&self) -> SplitHorizonGroup {
        match self.lan_mode() {
            LanMode::Private | LanMode::Vepa => SplitHorizonGroup::ISOLATED,
            LanMode::Bridge | LanMode::Passthru => SplitHorizonGroup::NONE,
        }
    }

    fn crossing_rule(&self) -> CrossingRule {
        let translates = self.options.get(OPTION_MAC).map(String::as_str) == Some("translate");
        match self.driver {
            Driver::Ipvlan => CrossingRule::Translate { groups: true },
            _ if translates => CrossingRule::Translate { groups: true },
            _ if self.lan_mode() == LanMode::Passthru => CrossingRule::Open,
            _ => CrossingRule::Stations,
        }
    }
}

/// The NIC that a network is to be on.
pub fn uplink_of(request: &NetworkCreate) -> Option<Uplink> {
    let planned = NetworkRecord {
        driver: request.driver,
        options: request.options.clone(),
        ..without_segment(String::new(), "", request.driver)
    };
    planned.uplink()
}

/// Keeps the addresses that the host has on a LAN from its containers.
pub fn keep_for_host(request: &mut NetworkCreate, own: &[IpAddr]) {
    for address in own {
        let is_within = request.subnets.iter().any(|net| net.contains(address));
        let is_kept = request.aux_addresses.values().any(|kept| kept == address);
        if is_within && !is_kept && !request.gateways.contains(address) {
            let name = format!("host {address}");
            request.aux_addresses.insert(name, *address);
        }
    }
}

/// Refuses what the drivers of LANs do not take, and values that are not understood. Of an option that is none of theirs, nothing.
pub(super) fn check_lan_option(
    request: &NetworkCreate,
    name: &str,
    value: &str,
) -> Option<Result<(), CreateNetwork>> {
    let driver = request.driver;
    let (of, expected) = match name {
        OPTION_PARENT => (
            &[Driver::Macvlan, Driver::Ipvlan][..],
            "a link of this host, or one VLAN of it: eth0, eth0.10",
        ),
        OPTION_UPLINK => (
            &[Driver::Bridge, Driver::Overlay][..],
            "a link of this host, or one VLAN of it: eth1, eth1.10",
        ),
        OPTION_MACVLAN_MODE => (&[Driver::Macvlan][..], "bridge, private, vepa or passthru"),
        OPTION_IPVLAN_MODE => (&[Driver::Ipvlan][..], "l2, l3 or l3s"),
        OPTION_IPVLAN_FLAG => (&[Driver::Ipvlan][..], "bridge, private or vepa"),
        OPTION_MAC => (&[Driver::Macvlan][..], "own or translate"),
        _ => return None,
    };
    if !of.contains(&driver) {
        return Some(Err(CreateNetwork::OptionOfDriver {
            name: name.to_owned(),
            drivers: match of {
                [Driver::Macvlan] => "macvlan",
                [Driver::Ipvlan] => "ipvlan",
                [Driver::Macvlan, _] => "macvlan and ipvlan",
                _ => "bridge and overlay",
            },
        }));
    }
    let is_good = match name {
        OPTION_PARENT | OPTION_UPLINK => Parent::parse(value).is_some(),
        OPTION_IPVLAN_MODE => matches!(value, "l2" | "l3" | "l3s"),
        OPTION_MACVLAN_MODE => matches!(value, "bridge" | "private" | "vepa" | "passthru"),
        OPTION_IPVLAN_FLAG => matches!(value, "bridge" | "private" | "vepa"),
        _ => matches!(value, "own" | "translate"),
    };
    Some(match is_good {
        true => Ok(()),
        false => Err(CreateNetwork::OptionValue {
            name: name.to_owned(),
            value: value.to_owned(),
            expected,
        }),
    })
}

/// `IFNAMSIZ`, and the digits of a VLAN behind it.
const LINK_LEN_MAX: usize = 16 + 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn lan(driver: Driver, options: &[(&str, &str)]) -> NetworkRecord {
        let options = options.iter();
        NetworkRecord {
            driver,
            options: options
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..sample::network("lan", &["192.0.2.0/24"])
        }
    }

    #[test]
    fn a_parent_is_a_link_or_a_vlan_of_one() {
        let plain = Parent::parse("eth0").unwrap();
        assert_eq!(plain.vlan, None);
        let vlan = Parent::parse("eth0.10").unwrap();
        assert_eq!(vlan.vlan, Vid::new(10).map(|vid| ("eth0".into(), vid)));
        for name in ["eth0.0", "eth0.4095", "eth0.x", ".10"] {
            assert_eq!(Parent::parse(name).unwrap().vlan, None, "{name}");
        }
        for name in ["", "a b", "a/b", "0123456789012345678901"] {
            assert_eq!(Parent::parse(name), None, "{name}");
        }
    }

    #[test]
    fn drivers_and_modes_say_what_passes_the_nic() {
        let translate = CrossingRule::Translate { groups: true };
        let rule = |driver, options: &[(&str, &str)]| {
            let options = [options, &[("parent", "eth0")]].concat();
            lan(driver, &options).uplink().map(|uplink| uplink.rule)
        };
        assert_eq!(rule(Driver::Macvlan, &[]), Some(CrossingRule::Stations));
        let passthru = [("macvlan_mode", "passthru")];
        assert_eq!(rule(Driver::Macvlan, &passthru), Some(CrossingRule::Open));
        assert_eq!(
            rule(Driver::Macvlan, &[("mac", "translate")]),
            Some(translate)
        );
        assert_eq!(rule(Driver::Ipvlan, &[]), Some(translate));
        assert_eq!(
            rule(Driver::Ipvlan, &[("ipvlan_mode", "l3")]),
            None,
            "it is routed"
        );
        assert_eq!(lan(Driver::Macvlan, &[]).uplink(), None, "it is nowhere");
        let stretched = lan(Driver::Bridge, &[("uplink", "eth1")]).uplink();
        assert_eq!(stretched.unwrap().rule, CrossingRule::Open);
    }

    #[test]
    fn a_lan_has_its_own_router_and_dhcp() {
        let lan = lan(Driver::Macvlan, &[("parent", "eth0")]);
        assert!(lan.has_bridge() && lan.has_host_link() && !lan.has_host_port());
        assert!(!lan.serves_dhcp());
        let config = lan.uplink_config(1400);
        assert_eq!((config.mtu, config.group), (1400, SplitHorizonGroup::LAN));
        assert!(config.allow_dhcp_server && config.allow_router);
        let host = lan.port_config(PortKind::Host);
        assert_eq!(host.group, SplitHorizonGroup::LAN);
        assert_ne!(
            lan.gateway_mac(),
            sample::network("n", &["192.0.2.0/24"]).gateway_mac()
        );
    }

    #[test]
    fn the_hosts_addresses_are_kept_from_containers() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut request = NetworkCreate {
            subnets: vec!["192.0.2.0/24".parse().unwrap()],
            gateways: vec![ip("192.0.2.1")],
            ..NetworkCreate::default()
        };
        let own = ["192.0.2.9", "192.0.2.1", "10.0.0.1"].map(ip);
        keep_for_host(&mut request, &own);
        keep_for_host(&mut request, &own);
        assert_eq!(
            request.aux_addresses.into_values().collect::<Vec<_>>(),
            [own[0]]
        );
    }

    #[test]
    fn containers_are_apart_where_the_mode_says_so() {
        for (mode, group, reflects) in [
            ("bridge", SplitHorizonGroup::NONE, false),
            ("private", SplitHorizonGroup::ISOLATED, false),
            ("vepa", SplitHorizonGroup::ISOLATED, true),
            ("passthru", SplitHorizonGroup::NONE, false),
        ] {
            let lan = lan(Driver::Macvlan, &[("macvlan_mode", mode)]);
            assert_eq!(lan.port_config(PortKind::Tap).group, group, "{mode}");
            assert_eq!(lan.uplink_config(1500).reflects, reflects, "{mode}");
        }
    }

    #[test]
    fn a_routed_network_is_the_hosts_and_bears_its_own_addresses() {
        let routed = lan(Driver::Ipvlan, &[("parent", "eth0"), ("ipvlan_mode", "l3")]);
        assert!(routed.has_host_port() && !routed.is_lan());
        assert_eq!(routed.routed_by(), Some("eth0"));
        let rules = crate::publish::network_rules(&routed).unwrap();
        assert!(!rules.masquerade && !rules.lan);
        assert_eq!(rules.routed_by.as_deref(), Some("eth0"));
    }
}
