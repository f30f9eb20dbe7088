//! What `-o` takes, and what a network's options come to.

use std::net::IpAddr;
use std::time::Duration;

use agent_api::{Driver, NetworkCreate};
use switch_core::{Joining, Mac, SnoopingConfig};

use super::error::CreateNetwork;
use super::names::parse_records;
use super::option_list::{
    OPTION_AGEING, OPTION_BPDU_GUARD, OPTION_BUM, OPTION_DF, OPTION_DHCP, OPTION_DSTPORT,
    OPTION_ENCAP, OPTION_GUARD, OPTION_INTERCEPT, OPTION_ISOLATED, OPTION_JOIN, OPTION_LEARN_LIMIT,
    OPTION_LEARNING, OPTION_LOCAL, OPTION_RA, OPTION_RATE, OPTION_REBIND, OPTION_RECORD,
    OPTION_REMOTE, OPTION_SNOOPING, OPTION_STORM_BROADCAST, OPTION_STORM_MULTICAST,
    OPTION_STORM_UNKNOWN, OPTION_TAP, OPTION_TOS, OPTION_TRANSPARENT, OPTION_TTL, OPTION_VLAN,
    OPTION_VLAN_DEFAULT, OPTION_VLAN_PROTOCOL, OPTION_VNI, OPTIONS,
};
use super::ports::{parse_bpdu_guard, parse_bum, parse_rate};
use super::uplink::check_lan_option;
use super::vlan::{is_aware, parse_vid};
use crate::record::NetworkRecord;

impl NetworkRecord {
    /// Whether it forwards the frames that bridges keep to themselves (IEEE 802.1D, 7.12.6).
    pub fn is_transparent(&self) -> bool {
        self.options
            .get(OPTION_TRANSPARENT)
            .is_some_and(|value| value == "true")
    }

    /// The network's TAP driver.
    pub fn tap_driver(&self) -> &str {
        self.options
            .get(OPTION_TAP)
            .map_or(DRIVER_OFFLOAD, String::as_str)
    }

    /// What may be joined on the way to a TAP.
    pub fn joining(&self) -> Joining {
        match self.options.get(OPTION_JOIN).map(String::as_str) {
            Some("udp") => Joining::TcpAndUdp,
            _ => Joining::Tcp,
        }
    }

    /// How multicast is kept from those who did not ask for it, if it is.
    pub fn snooping(&self) -> Option<SnoopingConfig> {
        match self.options.get(OPTION_SNOOPING)?.as_str() {
            "on" => Some(SnoopingConfig { fast_leave: false }),
            "fast" => Some(SnoopingConfig { fast_leave: true }),
            _ => None,
        }
    }

    /// How long an address stays learned that does not send; zero: nothing is learned.
    pub fn fdb_ageing(&self) -> Option<Duration> {
        parse_ageing(self.options.get(OPTION_AGEING)?)
    }

    /// At most one of each family, the IPv4 one first.
    pub fn gateway_addresses(&self) -> Vec<IpAddr> {
        self.subnets.iter().map(|subnet| subnet.gateway).collect()
    }

    /// The gateways of those networks whose gateway is the host.
    pub fn own_gateways(&self) -> Vec<IpAddr> {
        match self.is_lan() {
            true => Vec::new(),
            false => self.gateway_addresses(),
        }
    }

    /// `02:42` and the IPv4 gateway's bytes, or those of the IPv6 gateway folded into four: the same on every host.
    pub fn gateway_mac(&self) -> Mac {
        if self.is_lan() {
            return self.lan_mac();
        }
        let gateway = self.subnet_v4().or(self.subnet_v6());
        match gateway.map(|subnet| subnet.gateway) {
            Some(IpAddr::V4(address)) => Mac::from_ipv4(address),
            Some(IpAddr::V6(address)) => {
                let octets = address.octets();
                let (words, _) = octets.as_chunks::<4>();
                let folded = words.iter().map(|word| u32::from_be_bytes(*word));
                Mac::from_ipv4(folded.fold(0, |sum, word| sum ^ word).into())
            }
            None => Mac::new([0x02, 0x42, 0, 0, 0, 1]),
        }
    }
}

/// Refuses options that are unknown, and values that are not understood.
pub(crate) fn check_options(request: &NetworkCreate) -> Result<(), CreateNetwork> {
    let is_overlay = request.driver == Driver::Overlay;
    let is_aware = is_aware(&request.options);
    for (name, value) in &request.options {
        if let Some(checked) = check_lan_option(request, name, value) {
            checked?;
            continue;
        }
        let has = |(known, _, is_overlays): &(&str, &str, bool)| {
            *known == name.as_str() && (is_overlay || !is_overlays)
        };
        if !OPTIONS.iter().any(has) {
            return Err(CreateNetwork::UnknownOption(name.clone()));
        }
        let one_of = |expected: &'static str| {
            let is_one = expected.split(" or ").any(|word| word == value);
            (expected, is_one)
        };
        let (expected, is_good) = match name.as_str() {
            OPTION_TAP => one_of("offload or basic"),
            OPTION_TRANSPARENT | OPTION_LEARNING | OPTION_INTERCEPT => one_of("true or false"),
            OPTION_JOIN => one_of("tcp or udp"),
            OPTION_AGEING => (
                "seconds up to 86400, as 300s; 0 for a switch that learns nothing",
                parse_ageing(value).is_some(),
            ),
            OPTION_LEARN_LIMIT => ("a number of stations", value.parse::<u32>().is_ok()),
            OPTION_ISOLATED => one_of("on or off"),
            OPTION_BPDU_GUARD => (
                "on, off or seconds until the port is open again",
                parse_bpdu_guard(value).is_some(),
            ),
            OPTION_REBIND => one_of("block or allow"),
            OPTION_SNOOPING => one_of("off or on or fast"),
            OPTION_GUARD => one_of("strict or loose"),
            OPTION_DHCP => one_of("builtin or container or off"),
            OPTION_RA => one_of("block or allow"),
            OPTION_VLAN => one_of("aware or unaware"),
            OPTION_VLAN_PROTOCOL | OPTION_VLAN_DEFAULT if !is_aware => {
                ("-o vlan=aware beside it", false)
            }
            OPTION_VLAN_PROTOCOL => one_of("802.1q or 802.1ad"),
            OPTION_VLAN_DEFAULT => ("a number from 1 to 4094", parse_vid(value).is_some()),
            OPTION_BUM | OPTION_STORM_BROADCAST | OPTION_STORM_MULTICAST | OPTION_STORM_UNKNOWN => {
                ("frames a second, or off", parse_bum(value).is_some())
            }
            OPTION_RATE => (
                "a rate as 100mbit, or with a burst as 100mbit/64kb",
                parse_rate(value).is_some(),
            ),
            OPTION_RECORD => (
                "NAME=ADDRESS, or several of them with commas between",
                parse_records(value).is_some(),
            ),
            // Read where the overlay is planned.
            OPTION_ENCAP | OPTION_VNI | OPTION_REMOTE | OPTION_DSTPORT | OPTION_LOCAL
            | OPTION_TOS | OPTION_TTL | OPTION_DF => continue,
            _ => return Err(CreateNetwork::UnknownOption(name.clone())),
        };
        if !is_good {
            return Err(CreateNetwork::OptionValue {
                name: name.clone(),
                value: value.clone(),
                expected,
            });
        }
    }
    let is = |name: &str, value: &str| {
        request
            .options
            .get(name)
            .is_some_and(|given| given == value)
    };
    let snoops = is(OPTION_SNOOPING, "on") || is(OPTION_SNOOPING, "fast");
    if snoops && is(OPTION_TRANSPARENT, "true") {
        return Err(CreateNetwork::SnoopingTransparent);
    }
    Ok(())
}

/// What `-o fdb.ageing` takes.
fn parse_ageing(value: &str) -> Option<Duration> {
    let seconds = value.strip_suffix('s').unwrap_or(value).parse().ok()?;
    (seconds <= AGEING_MAX_S).then(|| Duration::from_secs(seconds))
}

const AGEING_MAX_S: u64 = 86_400;
/// The TAP driver of a network that names none.
pub const DRIVER_OFFLOAD: &str = "offload";

#[cfg(test)]
mod tests {
    use super::super::option_list::OPTION_UPLINK;
    use super::*;
    use crate::network::{Surroundings, plan};

    fn planned(driver: Driver, name: &str, value: &str) -> Result<NetworkRecord, CreateNetwork> {
        let aware = name.starts_with("vlan_").then_some(("vlan", "aware"));
        let options: Vec<_> = aware.into_iter().chain([(name, value)]).collect();
        planned_with(driver, &options)
    }

    fn planned_with(
        driver: Driver,
        options: &[(&str, &str)],
    ) -> Result<NetworkRecord, CreateNetwork> {
        let around = Surroundings {
            networks: Vec::new(),
            host: Vec::new(),
            pools_v4: crate::ipam::default_pools_v4(),
            pools_v6: Vec::new(),
            mtu_max: None,
        };
        let options = options.iter().copied();
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let request = NetworkCreate {
            name: "n".into(),
            driver,
            options: options.collect(),
            ..NetworkCreate::default()
        };
        plan("e1".into(), request, None, &around)
    }

    #[test]
    fn every_option_is_known_and_named_to_whoever_guesses() {
        for (name, values, only_overlay) in OPTIONS.iter().copied() {
            let value = match name {
                OPTION_RECORD => "db=10.0.0.9",
                OPTION_BUM => "off",
                OPTION_RATE => "100mbit/64kb",
                OPTION_UPLINK => "eth1",
                OPTION_STORM_BROADCAST | OPTION_STORM_MULTICAST | OPTION_STORM_UNKNOWN => "50",
                OPTION_AGEING => "60s",
                OPTION_LEARN_LIMIT => "8",
                OPTION_VLAN_DEFAULT => "7",
                _ => values.split(['|', '[']).next().unwrap(),
            };
            let driver = match only_overlay {
                true => Driver::Overlay,
                false => Driver::Bridge,
            };
            let planned = planned(driver, name, value);
            assert!(planned.is_ok(), "{name}={value}: {planned:?}");
            let told = CreateNetwork::UnknownOption("x".into()).to_string();
            assert!(told.len() < 382, "{told}");
            assert!(told.contains(name), "{told}");
        }
    }

    #[test]
    fn a_transparent_network_does_not_snoop() {
        let bridge = |options: &[_]| planned_with(Driver::Bridge, options);
        let transparent = |snooping| bridge(&[("transparent", "true"), ("snooping", snooping)]);
        for snooping in ["on", "fast"] {
            let refused = transparent(snooping);
            assert!(matches!(refused, Err(CreateNetwork::SnoopingTransparent)));
        }
        assert_eq!(transparent("off").unwrap().snooping(), None);
        let on = planned(Driver::Bridge, "snooping", "on").unwrap();
        let in_vlans = bridge(&[("vlan", "aware"), ("snooping", "on")]).unwrap();
        for network in [on, in_vlans] {
            assert_eq!(
                network.snooping(),
                Some(SnoopingConfig { fast_leave: false })
            );
        }
    }

    #[test]
    fn options_of_the_overlay_are_unknown_to_a_bridge() {
        assert!(planned(Driver::Overlay, "vni", "7").is_ok());
        assert!(matches!(
            planned(Driver::Bridge, "vni", "7"),
            Err(CreateNetwork::UnknownOption(_))
        ));
    }

    #[test]
    fn a_gateways_mac_follows_from_its_address() {
        let mac = |subnets: &[&str]| crate::sample::network("n", subnets).gateway_mac();
        assert_eq!(
            mac(&["10.1.0.0/24", "fd01::/64"]),
            Mac::from_ipv4([10, 1, 0, 1].into())
        );
        assert!(mac(&["fd01::/64"]).is_station() && mac(&[]).is_station());
        assert_ne!(mac(&["fd01::/64"]), mac(&["fd02::/64"]));
    }
}
