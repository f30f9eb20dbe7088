//! `--network`: a network's name, or Docker's long form with what the container is there.

use agent_api::{ContainerCreate, EndpointSettings, NetworkAttachment, NetworkMode};

use crate::arguments::{Ip, network_mode};

/// The VLANs of an endpoint, on a network that is aware of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Vlans {
    /// Its VLAN on the network, without tags; that of the gateway where absent
    #[arg(long, value_name = "VID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub(crate) vlan: Option<u16>,
    /// VLANs that it has on the network by their tags, as 10,20-30, or all; --vlan beside it is the one without tags
    #[arg(long, value_name = "VIDS")]
    pub(crate) trunk: Option<String>,
}

/// What one `--network` asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attachment {
    mode: NetworkMode,
    settings: EndpointSettings,
}

/// `NAME`, or `name=NAME,alias=A,ip=I,ip6=I,mac-address=M,ifname=L,vlan=N,trunk=V` in any order.
pub(crate) fn attachment(text: &str) -> Result<Attachment, String> {
    if !text.contains('=') {
        return Ok(Attachment {
            mode: network_mode(text)?,
            settings: EndpointSettings::default(),
        });
    }
    let (mut name, mut settings) = (None, EndpointSettings::default());
    for field in text.split(',') {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("'{field}' is not KEY=VALUE; {LONG_FORM}"))?;
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        let address = || format!("{key}={value} is not such an address");
        match key.as_str() {
            "name" => name = Some(value),
            "alias" => settings.aliases.push(value.to_owned()),
            "ip" => match value.parse().map_err(|_: String| address())? {
                Ip::Dhcp => settings.lease = true,
                Ip::Address(ip) => settings.ip = Some(ip),
            },
            "ip6" => settings.ip6 = Some(value.parse().map_err(|_| address())?),
            "mac-address" => settings.mac = Some(value.to_owned()),
            "ifname" => settings.ifname = Some(value.to_owned()),
            "vlan" => {
                let number = || format!("vlan={value} is no number of a VLAN");
                settings.vlan = Some(value.parse().map_err(|_| number())?);
            }
            "trunk" => settings.trunk = Some(joined(settings.trunk.take(), value)),
            "gw-priority" => {
                return Err(
                    "gw-priority is not taken; the first --network has the default route"
                        .to_owned(),
                );
            }
            _ => return Err(format!("{key} is not taken; {LONG_FORM}")),
        }
    }
    let name = name.ok_or_else(|| format!("the network's name is missing; {LONG_FORM}"))?;
    let mode = network_mode(name)?;
    Ok(Attachment { mode, settings })
}

/// Puts the networks into the request. What the single options say (`--ip` and the like) is meant for the first one.
pub(crate) fn attach(
    networks: Vec<Attachment>,
    single: EndpointSettings,
    request: &mut ContainerCreate,
) -> Result<(), String> {
    let mut networks = networks.into_iter();
    let Some(first) = networks.next() else {
        request.endpoint = single;
        return Ok(());
    };
    let ifname = first.settings.ifname.clone();
    request.endpoint = EndpointSettings {
        ifname,
        ..both(single, first.settings)?
    };
    request.network = first.mode;
    for further in networks {
        let network = match further.mode {
            NetworkMode::Default => "bridge".to_owned(),
            NetworkMode::Network(name) => name,
            NetworkMode::Host => return Err(alone("host")),
            NetworkMode::None => return Err(alone("none")),
            NetworkMode::Container(_) => return Err(alone("container:NAME")),
        };
        request.networks.push(NetworkAttachment {
            network,
            settings: further.settings,
        });
    }
    Ok(())
}

/// One more part of a list that is given in parts, as its own commas are taken.
fn joined(before: Option<String>, more: &str) -> String {
    match before {
        None => more.to_owned(),
        Some(before) => format!("{before},{more}"),
    }
}

fn alone(mode: &str) -> String {
    format!("--network {mode} goes with no other --network; leave one of them out")
}

fn both(single: EndpointSettings, long: EndpointSettings) -> Result<EndpointSettings, String> {
    let twice = [
        ("ip", {
            let says = |settings: &EndpointSettings| settings.ip.is_some() || settings.lease;
            says(&single) && says(&long)
        }),
        ("ip6", single.ip6.is_some() && long.ip6.is_some()),
        ("mac-address", single.mac.is_some() && long.mac.is_some()),
        ("vlan", single.vlan.is_some() && long.vlan.is_some()),
        ("trunk", single.trunk.is_some() && long.trunk.is_some()),
    ];
    if let Some((option, _)) = twice.into_iter().find(|(_, twice)| *twice) {
        return Err(format!(
            "--{option} and --network name=..,{option}=.. contradict each other; leave one of them out"
        ));
    }
    Ok(EndpointSettings {
        ip: single.ip.or(long.ip),
        lease: single.lease || long.lease,
        ip6: single.ip6.or(long.ip6),
        mac: single.mac.or(long.mac),
        vlan: single.vlan.or(long.vlan),
        trunk: single.trunk.or(long.trunk),
        aliases: [single.aliases, long.aliases].concat(),
        port_settings: single.port_settings,
        rates: single.rates,
        ..EndpointSettings::default()
    })
}

const LONG_FORM: &str = "write name=NAME,alias=NAME,ip=ADDRESS,ip6=ADDRESS,mac-address=MAC,ifname=NAME,vlan=VID,trunk=VIDS";

#[cfg(test)]
mod tests {
    use super::*;

    fn request(networks: &[&str], single: EndpointSettings) -> Result<ContainerCreate, String> {
        let networks = networks.iter().map(|text| attachment(text).unwrap());
        let mut request = ContainerCreate::default();
        attach(networks.collect(), single, &mut request)?;
        Ok(request)
    }

    #[test]
    fn the_long_form_says_what_a_container_is_on_a_network() {
        let read = attachment(
            "name=lab,alias=a,alias=b,IP=10.0.0.2,ip6=fd00::2,mac-address=02:00:00:00:00:01",
        )
        .unwrap();
        assert_eq!(read.mode, NetworkMode::Network("lab".into()));
        let settings = EndpointSettings {
            ip: Some([10, 0, 0, 2].into()),
            ip6: Some("fd00::2".parse().unwrap()),
            mac: Some("02:00:00:00:00:01".into()),
            aliases: vec!["a".into(), "b".into()],
            ..EndpointSettings::default()
        };
        assert_eq!(read.settings, settings);
        let read = attachment("name=lab,vlan=10,trunk=20-30,trunk=40").unwrap();
        assert_eq!(read.settings.vlan, Some(10));
        assert_eq!(read.settings.trunk.as_deref(), Some("20-30,40"));
        let read = attachment("name=lab,ifname=eth5").unwrap();
        assert_eq!(read.settings.ifname.as_deref(), Some("eth5"));
    }

    #[test]
    fn what_the_long_form_does_not_take_is_named() {
        for (text, told) in [
            ("alias=a", "name is missing"),
            ("name=lab,ip=x", "ip=x is not such an address"),
            ("name=lab,driver-opt=a=b", "driver-opt is not taken"),
            ("name=lab,gw-priority=1", "the first --network"),
            ("name=lab,web", "'web' is not KEY=VALUE"),
            ("name=lab,vlan=ten", "vlan=ten is no number"),
        ] {
            let refused = attachment(text).unwrap_err();
            assert!(refused.contains(told), "{refused}");
        }
    }

    #[test]
    fn the_first_network_takes_the_single_options_and_others_follow() {
        let single = || EndpointSettings {
            ip: Some([10, 0, 0, 2].into()),
            aliases: vec!["a".into()],
            ..EndpointSettings::default()
        };
        let asked = request(
            &["name=lab,alias=b", "name=back,ip=10.9.0.2", "bridge"],
            single(),
        );
        let asked = asked.unwrap();
        assert_eq!(asked.network, NetworkMode::Network("lab".into()));
        assert_eq!(asked.endpoint.aliases, ["a", "b"]);
        let further: Vec<_> = asked
            .networks
            .iter()
            .map(|further| &*further.network)
            .collect();
        assert_eq!(further, ["back", "bridge"]);
        assert!(request(&["name=lab,ip=10.0.0.3"], single()).is_err());
        let none = EndpointSettings::default;
        for with in ["host", "none", "container:web"] {
            assert!(request(&["lab", with], none()).is_err(), "{with}");
        }
        assert_eq!(request(&[], none()).unwrap().network, NetworkMode::Default);
    }
}
