//! Words that networks are not made of, and words of the bridge plugin's that a network may contradict.

use agent_api::NetworkDetail;
use serde_json::{Map, Value};

use crate::cni::wire::{Config, Failure, INVALID_CONFIG, UNSUPPORTED_FIELD};

/// Refuses what no network does.
pub(super) fn refuse_unserved(config: &Config) -> Result<(), Failure> {
    let bridge = &config.bridge;
    let says = |text: &Option<String>| text.as_ref().filter(|text| !text.is_empty()).cloned();
    let yes = |word: Option<bool>| word.filter(|yes| *yes).map(|yes| yes.to_string());
    let refused = [
        (
            "bridge",
            says(&bridge.bridge),
            "the network is the bridge; leave it out, and write the network's name as name or network",
        ),
        (
            "forceAddress",
            yes(bridge.force_address),
            "a network keeps the gateway that it was made with; leave it out",
        ),
        (
            "promiscMode",
            yes(bridge.promisc_mode),
            "the switch passes every frame of the host's link anyway; leave it out",
        ),
        (
            "enabledad",
            yes(bridge.enabledad),
            "an address is kept from everybody else before it is given; leave it out",
        ),
        (
            "disableContainerInterface",
            yes(bridge.disable_container_interface),
            "the link comes up; leave it out, and take it down with tapestry port down",
        ),
        (
            "portIsolation",
            yes(bridge.port_isolation),
            "containers of a network reach each other; leave it out, and make one network for each",
        ),
        (
            "uplinkInterface",
            says(&bridge.uplink_interface),
            "a network leads outside by the host's routes; leave it out",
        ),
        (
            "ipMasqBackend",
            says(&bridge.ip_masq_backend).filter(|backend| backend != "nftables"),
            "packets are masqueraded by nftables; leave it out",
        ),
        (
            "prevResult",
            config.prev_result.as_ref().map(|_| "{..}".to_owned()),
            "another plugin comes first; put this one first in plugins",
        ),
    ];
    let refused = refused
        .into_iter()
        .find_map(|(word, value, why)| Some((word, value?, why)));
    if let Some((word, value, why)) = refused {
        return Err(unsupported(word, &value, why));
    }
    refuse_unknown(
        &config.others,
        PASSED_OVER,
        "a key of this plugin's; its own are network, socket, mtu, ipam, dns and bandwidth",
    )?;
    let capabilities = &config.runtime_config.others;
    refuse_unknown(
        capabilities,
        CAPABILITIES_PASSED_OVER,
        "a capability of this plugin's; leave it out",
    )
}

/// Refuses what the network contradicts.
pub(in crate::cni) fn check_words(config: &Config, network: &NetworkDetail) -> Result<(), Failure> {
    let bridge = &config.bridge;
    let mtu = u32::from(network.mtu);
    if let Some(wished) = bridge.mtu.filter(|wished| *wished != 0 && *wished != mtu) {
        let message = format!(
            "mtu {wished} is not the network's, which is {mtu}; leave it out, or make the network with --mtu {wished}"
        );
        return Err(Failure::new(INVALID_CONFIG, message));
    }
    // The host's leg of a network brings a gateway, a default route and masquerading; an internal network has none of them.
    let words = [
        ("isGateway", bridge.is_gateway),
        ("isDefaultGateway", bridge.is_default_gateway),
        ("ipMasq", bridge.ip_masq),
    ];
    let has_way_out = !network.internal && !network.gateways.is_empty();
    let contradicts =
        |(_, wished): &(_, Option<bool>)| wished.is_some_and(|yes| yes != has_way_out);
    let Some((word, _)) = words.into_iter().find(contradicts) else {
        return Ok(());
    };
    let name = &network.summary.name;
    let why = match has_way_out {
        true => format!(
            "network {name:?} leads outside; leave it out, or make the network with --internal"
        ),
        false => format!(
            "network {name:?} leads nowhere; leave it out, or make the network without --internal"
        ),
    };
    Err(unsupported(word, &(!has_way_out).to_string(), &why))
}

fn refuse_unknown(others: &Map<String, Value>, known: &[&str], kind: &str) -> Result<(), Failure> {
    let is_unknown = |key: &str| !known.contains(&key) && !key.contains('/');
    let unknown = others
        .iter()
        .find(|(key, value)| is_unknown(key) && !value.is_null());
    unknown.map_or(Ok(()), |(key, value)| {
        Err(unsupported(
            key,
            &value.to_string(),
            &format!("it is not {kind}"),
        ))
    })
}

fn unsupported(word: &str, value: &str, why: &str) -> Failure {
    let mut value = value.to_owned();
    value.truncate(value.floor_char_boundary(VALUE_SHOWN_MAX));
    Failure::new(UNSUPPORTED_FIELD, format!("{word} {value}: {why}"))
}

/// Words that are the runtime's, and words that are true of every network whatever they say: nobody can send with a neighbor's
/// MAC, and a container reaches its own published port. A key with a slash is of somebody's own namespace of keys.
const PASSED_OVER: &[&str] = &[
    "cniVersions",
    "capabilities",
    "disableCheck",
    "disableGC",
    "loadOnlyInlinedPlugins",
    "macspoofchk",
    "hairpinMode",
];
/// What says nothing of a network.
const CAPABILITIES_PASSED_OVER: &[&str] = &["io.kubernetes.cri.pod-annotations", "cgroupPath"];
const VALUE_SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::translate::read_config;
    use crate::cni::translate::success::tests::network;

    fn config(more: &str) -> Config {
        let text = format!(r#"{{"cniVersion": "1.0.0", "name": "red", "type": "tapestry"{more}}}"#);
        read_config(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_not_done_is_refused_by_name_and_value() {
        for (member, shown) in [
            (r#""bridge": "cni0""#, "bridge cni0: "),
            (r#""forceAddress": true"#, "forceAddress true: "),
            (r#""promiscMode": true"#, "promiscMode true: "),
            (r#""enabledad": true"#, "enabledad true: "),
            (
                r#""disableContainerInterface": true"#,
                "disableContainerInterface true: ",
            ),
            (r#""portIsolation": true"#, "portIsolation true: "),
            (r#""uplinkInterface": "eth1""#, "uplinkInterface eth1: "),
            (r#""ipMasqBackend": "iptables""#, "ipMasqBackend iptables: "),
            (r#""runtimeConfig": {"ipRanges": [[]]}"#, "ipRanges [[]]: "),
            (r#""prevResult": {"ips": []}"#, "prevResult {..}: "),
            (r#""nework": "red""#, r#"nework "red": "#),
        ] {
            let refused = refuse_unserved(&config(&format!(", {member}"))).unwrap_err();
            assert_eq!(refused.code, UNSUPPORTED_FIELD);
            assert!(refused.message.starts_with(shown), "{refused}");
        }
    }

    #[test]
    fn what_every_network_is_may_be_said() {
        let said = config(
            r#", "bridge": "", "vlan": 0, "vlanTrunk": [], "forceAddress": false, "promiscMode": false, "hairpinMode": true,
            "macspoofchk": true, "enabledad": false, "ipMasqBackend": "nftables", "capabilities": {"portMappings": true},
            "runtimeConfig": {"bandwidth": {"ingressRate": 0}, "io.kubernetes.cri.pod-annotations": {"a": "b"}},
            "cni.dev/attachments": [], "disableCheck": true"#,
        );
        assert_eq!(refuse_unserved(&said), Ok(()));
    }

    #[test]
    fn what_the_network_contradicts_is_refused() {
        let (outward, internal) = (network(false), network(true));
        let refused =
            |member: &str, network| check_words(&config(&format!(", {member}")), network).err();
        for word in ["isGateway", "isDefaultGateway", "ipMasq"] {
            let (yes, no) = (format!(r#""{word}": true"#), format!(r#""{word}": false"#));
            assert_eq!(refused(&yes, &outward), None);
            assert_eq!(refused(&no, &internal), None);
            for (said, network, way) in [
                (&no, &outward, "with --internal"),
                (&yes, &internal, "without --internal"),
            ] {
                let refused = refused(said, network).unwrap();
                assert!(
                    refused.message.starts_with(word) && refused.message.ends_with(way),
                    "{refused}"
                );
            }
        }
        assert_eq!(refused(r#""mtu": 1500"#, &outward), None);
        assert_eq!(
            refused(r#""mtu": 9000"#, &outward).unwrap().code,
            INVALID_CONFIG
        );
    }
}
