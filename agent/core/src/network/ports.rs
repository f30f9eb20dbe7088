//! What a network lets its ports do: the options that loosen or tighten the guard.

use std::time::Duration;

use agent_api::{PortSettings, RateSettings};
use switch_core::{BumLimit, ByFlood, PortConfig, PortGuards, PortKind, SplitHorizonGroup};

use super::option_list::{
    OPTION_BPDU_GUARD, OPTION_BUM, OPTION_DHCP, OPTION_GUARD, OPTION_INTERCEPT, OPTION_ISOLATED,
    OPTION_LEARN_LIMIT, OPTION_LEARNING, OPTION_RA, OPTION_RATE, OPTION_STORM_BROADCAST,
    OPTION_STORM_MULTICAST, OPTION_STORM_UNKNOWN,
};
use crate::record::{EndpointRecord, NetworkRecord, Owner};

impl NetworkRecord {
    /// How the network's bridge treats a port of that kind.
    pub fn port_config(&self, kind: PortKind) -> PortConfig {
        let mut config = PortConfig {
            joining: self.joining(),
            ..PortConfig::new(kind, u32::from(self.mtu))
        };
        match kind {
            PortKind::Tap => config.group = self.container_group(),
            PortKind::Host => config.group = self.lan_group(),
            _ => {}
        }
        let is_learning = matches!(kind, PortKind::Tap | PortKind::Patch);
        if is_learning && self.has_option(OPTION_LEARNING, "false") {
            config.learning = false;
        }
        if !kind.is_guarded() {
            return config;
        }
        config.allow_neighbor_addresses = self.has_option(OPTION_GUARD, "loose");
        config.allow_dhcp_server = self.has_option(OPTION_DHCP, "container");
        config.allow_dhcp_client = !self.has_option(OPTION_DHCP, "off");
        config.allow_router = self.allows_routers();
        if let (Some(value), true) = (self.options.get(OPTION_BUM), config.bum_limit.is_some()) {
            // Checked when the network was made.
            config.bum_limit = parse_bum(value).unwrap_or(config.bum_limit);
        }
        config
    }

    /// The same of an endpoint's port. An engine's containers ask a resolver of the engine's, which knows nothing of the network
    /// and asks the servers of the host.
    pub fn endpoint_port_config(&self, endpoint: &EndpointRecord) -> PortConfig {
        let is_engines = matches!(endpoint.owner, Owner::Engine(_));
        let config = PortConfig {
            intercept_names: is_engines && !self.has_option(OPTION_INTERCEPT, "false"),
            guards: self.port_guards(),
            vlans: endpoint.vlans(),
            ..self.port_config(PortKind::Tap)
        };
        let asked = endpoint.port_settings.over(&PortSettings {
            isolated: Some(self.has_option(OPTION_ISOLATED, "on")),
            learn_limit: self.number(OPTION_LEARN_LIMIT),
            ..PortSettings::default()
        });
        with_settings(config, &asked)
    }

    /// What every container's port of the network is kept from.
    fn port_guards(&self) -> PortGuards {
        let limit = |name| {
            let value = self.options.get(name);
            value.and_then(|value| parse_bum(value)).flatten()
        };
        let bpdu = self.options.get(OPTION_BPDU_GUARD);
        PortGuards {
            storm: ByFlood {
                broadcast: limit(OPTION_STORM_BROADCAST),
                multicast: limit(OPTION_STORM_MULTICAST),
                unknown: limit(OPTION_STORM_UNKNOWN),
            },
            bpdu: bpdu.and_then(|value| parse_bpdu_guard(value)).flatten(),
            ..PortGuards::NONE
        }
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.options.get(name)?.parse().ok()
    }

    /// What endpoints may get and send that have no rates of their own.
    pub fn rates(&self) -> RateSettings {
        let rates = self
            .options
            .get(OPTION_RATE)
            .and_then(|value| parse_rate(value));
        rates.unwrap_or_default()
    }

    /// Whether the network's own server leases addresses.
    pub fn serves_dhcp(&self) -> bool {
        let value = self.options.get(OPTION_DHCP);
        !self.is_lan() && value.is_none_or(|value| value == "builtin")
    }

    /// Whether containers may advertise themselves as routers.
    pub fn allows_routers(&self) -> bool {
        self.has_option(OPTION_RA, "allow")
    }

    fn has_option(&self, name: &str, wanted: &str) -> bool {
        self.options.get(name).is_some_and(|value| value == wanted)
    }
}

fn with_settings(config: PortConfig, asked: &PortSettings) -> PortConfig {
    let guards = config.guards;
    let flood = ByFlood {
        unknown: asked.flood.unwrap_or(guards.flood.unknown),
        multicast: asked.mcast_flood.unwrap_or(guards.flood.multicast),
        broadcast: asked.bcast_flood.unwrap_or(guards.flood.broadcast),
    };
    PortConfig {
        group: match asked.isolated {
            Some(true) => SplitHorizonGroup::ISOLATED,
            Some(false) | None => config.group,
        },
        learning: asked.learning.unwrap_or(config.learning),
        learn_limit: asked.learn_limit.unwrap_or(config.learn_limit),
        multicast_router: asked.mcast_router.unwrap_or(config.multicast_router),
        guards: PortGuards {
            locked: asked.locked.unwrap_or(guards.locked),
            flood,
            ..guards
        },
        ..config
    }
}

/// How a port is treated, in the words in which that is asked for.
pub fn settings_of(config: &PortConfig) -> PortSettings {
    let PortGuards { locked, flood, .. } = config.guards;
    PortSettings {
        isolated: Some(config.group == SplitHorizonGroup::ISOLATED),
        locked: Some(locked),
        learning: Some(config.learning),
        flood: Some(flood.unknown),
        mcast_flood: Some(flood.multicast),
        bcast_flood: Some(flood.broadcast),
        mcast_router: Some(config.multicast_router),
        learn_limit: Some(config.learn_limit),
    }
}

/// `on`, `off`, or seconds until a port that was blocked is open again; `None` where it is none of them.
pub(super) fn parse_bpdu_guard(value: &str) -> Option<Option<Duration>> {
    match value {
        "off" => Some(None),
        "on" => Some(Some(BPDU_RECOVERY)),
        seconds => {
            let seconds = seconds.strip_suffix('s').unwrap_or(seconds).parse::<u32>();
            Some(Some(Duration::from_secs(seconds.ok()?.into())))
        }
    }
}

/// As long as switches take that are bought.
const BPDU_RECOVERY: Duration = Duration::from_secs(300);

/// Frames a second, or `off` for no limit; `None` where it is neither.
pub(super) fn parse_bum(value: &str) -> Option<Option<BumLimit>> {
    if value == "off" {
        return Some(None);
    }
    let frames_s: u32 = value.parse().ok().filter(|frames_s| *frames_s > 0)?;
    Some(Some(BumLimit {
        frames_s,
        burst_frames: frames_s,
    }))
}

/// What `-o rate` takes: `100mbit` or, with a burst, `100mbit/64kb`.
pub(super) fn parse_rate(value: &str) -> Option<RateSettings> {
    let (rate, burst) = match value.split_once('/') {
        Some((rate, burst)) => (rate, Some(burst.parse().ok()?)),
        None => (value, None),
    };
    let rates = RateSettings::both(rate.parse().ok()?, burst);
    rates.check().ok().map(|()| rates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{self, Surroundings};
    use crate::sample;
    use agent_api::NetworkCreate;

    fn config(kind: PortKind, options: &[(&str, &str)]) -> PortConfig {
        let around = Surroundings {
            networks: Vec::new(),
            host: Vec::new(),
            pools_v4: crate::ipam::default_pools_v4(),
            pools_v6: Vec::new(),
            mtu_max: None,
        };
        let options = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let request = NetworkCreate {
            name: "lab".into(),
            options: options.collect(),
            ..NetworkCreate::default()
        };
        let record = network::plan("e1".into(), request, None, &around).unwrap();
        record.port_config(kind)
    }

    #[test]
    fn without_options_a_port_has_the_defaults_of_its_kind() {
        for kind in [
            PortKind::Tap,
            PortKind::Tunnel,
            PortKind::Patch,
            PortKind::Host,
        ] {
            assert_eq!(config(kind, &[]), PortConfig::new(kind, 1500));
            let spelled = [
                ("guard", "strict"),
                ("dhcp", "builtin"),
                ("ra", "block"),
                ("bum", "20000"),
            ];
            assert_eq!(config(kind, &spelled), PortConfig::new(kind, 1500));
        }
    }

    #[test]
    fn an_endpoints_port_belongs_to_the_vlans_that_it_was_given() {
        let network = sample::network("n", &["10.1.0.0/24"]);
        let mut endpoint = sample::endpoint("web", &["10.1.0.2"]);
        assert_eq!(network.endpoint_port_config(&endpoint).vlans, None);
        (endpoint.vlan, endpoint.trunk) = (Some(10), Some("20-30".to_owned()));
        let vlans = network.endpoint_port_config(&endpoint).vlans.unwrap();
        assert_eq!(vlans.iter().count(), 12);
    }

    #[test]
    fn an_engines_questions_are_intercepted_unless_the_network_says_otherwise() {
        let mut network = sample::network("n", &["10.1.0.0/24"]);
        let mut endpoint = sample::endpoint("web", &["10.1.0.2"]);
        let intercepts = |network: &NetworkRecord, endpoint: &EndpointRecord| {
            network.endpoint_port_config(endpoint).intercept_names
        };
        assert!(!intercepts(&network, &endpoint));
        endpoint.owner = Owner::Engine("e1".into());
        assert!(intercepts(&network, &endpoint));
        let option = (OPTION_INTERCEPT.to_owned(), "false".to_owned());
        network.options.extend([option]);
        assert!(!intercepts(&network, &endpoint));
    }

    #[test]
    fn an_endpoints_port_is_as_the_network_has_it_unless_somebody_asked_otherwise() {
        let mut network = sample::network("n", &["10.1.0.0/24"]);
        let mut endpoint = sample::endpoint("web", &["10.1.0.2"]);
        let plain = network.endpoint_port_config(&endpoint);
        assert_eq!(plain, network.port_config(PortKind::Tap));
        for (name, value) in [
            (OPTION_ISOLATED, "on"),
            (OPTION_LEARN_LIMIT, "8"),
            (OPTION_BPDU_GUARD, "on"),
            (OPTION_STORM_MULTICAST, "50"),
        ] {
            network.options.insert(name.to_owned(), value.to_owned());
        }
        let config = network.endpoint_port_config(&endpoint);
        assert_eq!(config.group, SplitHorizonGroup::ISOLATED);
        assert_eq!(config.learn_limit, 8);
        assert_eq!(config.guards.bpdu, Some(BPDU_RECOVERY));
        let storm = config.guards.storm;
        assert_eq!(storm.multicast.map(|limit| limit.frames_s), Some(50));
        assert_eq!((storm.broadcast, storm.unknown), (None, None));
        let words = [
            "isolated=off",
            "locked",
            "flood=off",
            "mcast_router",
            "learn_limit=1",
        ];
        let words = words.map(|word| word.parse().unwrap());
        endpoint.port_settings = PortSettings::of(&words);
        let config = network.endpoint_port_config(&endpoint);
        assert_eq!(config.group, SplitHorizonGroup::NONE);
        assert_eq!(
            settings_of(&config).to_string(),
            "isolated=off locked=on learning=on flood=off mcast_flood=on bcast_flood=on mcast_router=on learn_limit=1"
        );
        assert_eq!(parse_bpdu_guard("30"), Some(Some(Duration::from_secs(30))));
        assert_eq!(parse_bpdu_guard("maybe"), None);
    }

    #[test]
    fn options_loosen_what_is_guarded() {
        for kind in [PortKind::Tap, PortKind::Tunnel, PortKind::Patch] {
            let lab = config(
                kind,
                &[
                    ("guard", "loose"),
                    ("dhcp", "container"),
                    ("ra", "allow"),
                    ("bum", "off"),
                ],
            );
            let expected = PortConfig {
                allow_neighbor_addresses: true,
                allow_dhcp_server: true,
                allow_router: true,
                bum_limit: None,
                ..PortConfig::new(kind, 1500)
            };
            assert_eq!(lab, expected);
            assert!(!config(kind, &[("dhcp", "off")]).allow_dhcp_client);
        }
        let narrow = config(PortKind::Tap, &[("bum", "50")]);
        let expected = BumLimit {
            frames_s: 50,
            burst_frames: 50,
        };
        assert_eq!(narrow.bum_limit, Some(expected));
        assert_eq!(config(PortKind::Tunnel, &[("bum", "50")]).bum_limit, None);
    }
}
