//! Options by the names that Docker's drivers have for them.

use agent_api::NetworkCreate;

use super::error::CreateNetwork;
use super::option_list::{OPTION_AGEING, OPTION_ISOLATED, OPTION_VNI};

/// Puts what they ask for where a network has it. What it does not have is refused by name, with what to use.
pub fn in_our_words(mut request: NetworkCreate) -> Result<NetworkCreate, CreateNetwork> {
    // As the kernel's bridge has it.
    if let Some(ageing) = request.options.remove("ageing") {
        request.options.insert(OPTION_AGEING.to_owned(), ageing);
    }
    let is_dockers = |name: &str| name.starts_with(DOCKERS) || name == ENCRYPTED;
    let names = request.options.keys().filter(|name| is_dockers(name));
    for name in names.cloned().collect::<Vec<_>>() {
        let value = request.options.remove(&name).unwrap_or_default();
        let refused = |why| CreateNetwork::DockerOption {
            name: name.clone(),
            value: value.clone(),
            why,
        };
        match name.strip_prefix(DOCKERS).unwrap_or(&name) {
            "driver.mtu" => {
                let mtu = value
                    .parse()
                    .map_err(|_| refused("it is no number of bytes"))?;
                if request.mtu.is_some_and(|other| other != mtu) {
                    return Err(refused("--mtu says another one"));
                }
                request.mtu = Some(mtu);
            }
            "driver.overlay.vxlanid_list" => {
                if request
                    .options
                    .insert(OPTION_VNI.to_owned(), value.clone())
                    .is_some()
                {
                    return Err(refused("-o vni=N says it already"));
                }
            }
            "enable_ipv6" => request.ipv6 |= is_yes(&value).ok_or_else(|| refused(YES_OR_NO))?,
            "bridge.enable_icc" if is_yes(&value) == Some(false) => {
                let isolated = (OPTION_ISOLATED.to_owned(), "on".to_owned());
                request.options.extend([isolated]);
            }
            ENCRYPTED
                if request
                    .options
                    .get("encap")
                    .is_none_or(|encap| encap == "quic") => {}
            other => check_is_so_anyway(other, &value).map_err(refused)?,
        }
    }
    Ok(request)
}

/// What is as it is on every network may be asked for.
fn check_is_so_anyway(name: &str, value: &str) -> Result<(), &'static str> {
    let (is_so, why) = match name {
        "bridge.enable_icc" => (is_yes(value).ok_or(YES_OR_NO)?, YES_OR_NO),
        "bridge.enable_ip_masquerade" => (
            is_yes(value).ok_or(YES_OR_NO)?,
            "what leaves a network has the host's address; --internal lets nothing leave",
        ),
        "bridge.inhibit_ipv4" => (
            !is_yes(value).ok_or(YES_OR_NO)?,
            "the gateway is the host's; --subnet none makes a network without one",
        ),
        "bridge.gateway_mode_ipv4" | "bridge.gateway_mode_ipv6" => (
            value == "nat",
            "packets are translated; for a network that nothing leaves write --internal",
        ),
        "bridge.host_binding_ipv4" => (
            matches!(value, "0.0.0.0" | ""),
            "write the address with each port, as in -p 127.0.0.1:8080:80",
        ),
        "container_iface_prefix" => (
            value == "eth",
            "links in containers are eth0, eth1 and so on",
        ),
        "bridge.name" => (
            false,
            "there is no bridge in the kernel; `tapestry network inspect` shows the host's link",
        ),
        ENCRYPTED => (false, "VXLAN is not encrypted; -o encap=quic is"),
        _ => (false, "nothing here is called so; leave it out"),
    };
    if is_so { Ok(()) } else { Err(why) }
}

/// As Docker reads it.
fn is_yes(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

const DOCKERS: &str = "com.docker.network.";
/// Of Docker's overlay driver.
const ENCRYPTED: &str = "encrypted";
const YES_OR_NO: &str = "write true or false";

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(options: &[(&str, &str)]) -> Result<NetworkCreate, CreateNetwork> {
        let options = options.iter();
        in_our_words(NetworkCreate {
            options: options
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..NetworkCreate::default()
        })
    }

    #[test]
    fn what_a_network_has_is_taken_and_what_is_so_anyway_is_let_be() {
        let request = asked(&[
            ("com.docker.network.driver.mtu", "1400"),
            ("com.docker.network.enable_ipv6", "true"),
            ("com.docker.network.bridge.enable_icc", "true"),
            ("com.docker.network.bridge.enable_ip_masquerade", "1"),
            ("com.docker.network.bridge.gateway_mode_ipv4", "nat"),
            ("encrypted", ""),
            ("tap", "basic"),
        ])
        .unwrap();
        assert_eq!((request.mtu, request.ipv6), (Some(1400), true));
        assert_eq!(request.options.into_keys().collect::<Vec<_>>(), ["tap"]);
    }

    #[test]
    fn what_a_network_does_not_have_is_named_with_what_to_use() {
        for (name, value, told) in [
            ("com.docker.network.bridge.name", "br0", "network inspect"),
            ("com.docker.network.bridge.enable_icc", "x", "true or false"),
            (
                "com.docker.network.bridge.enable_ip_masquerade",
                "false",
                "--internal",
            ),
            (
                "com.docker.network.bridge.host_binding_ipv4",
                "10.0.0.1",
                "-p 127.0.0.1:8080:80",
            ),
            (
                "com.docker.network.bridge.gateway_mode_ipv6",
                "routed",
                "--internal",
            ),
            (
                "com.docker.network.bridge.inhibit_ipv4",
                "true",
                "--subnet none",
            ),
            ("com.docker.network.container_iface_prefix", "net", "eth0"),
            ("com.docker.network.driver.mtu", "big", "no number"),
            ("com.docker.network.new", "1", "nothing here is called so"),
        ] {
            let refused = asked(&[(name, value)]).unwrap_err().to_string();
            assert!(
                refused.contains(told) && refused.contains(name),
                "{refused}"
            );
        }
        let vxlan = asked(&[("encrypted", ""), ("encap", "vxlan")]);
        assert!(vxlan.unwrap_err().to_string().contains("-o encap=quic"));
        let icc = asked(&[("com.docker.network.bridge.enable_icc", "false")]);
        assert_eq!(icc.unwrap().options["isolated"], "on");
        let ageing = asked(&[("ageing", "0")]).unwrap();
        assert_eq!(ageing.options["fdb.ageing"], "0");
        let vni = "com.docker.network.driver.overlay.vxlanid_list";
        assert_eq!(asked(&[(vni, "7")]).unwrap().options["vni"], "7");
        assert!(asked(&[(vni, "7"), ("vni", "7")]).is_err());
        let twice = in_our_words(NetworkCreate {
            mtu: Some(1500),
            ..asked(&[]).unwrap()
        });
        assert!(twice.is_ok());
    }
}
