//! Ports that containers publish, as the engine asks for them.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use agent_api::{PortMapping, TransportProtocol};

use super::wire::{Options, PORT_MAP, PortBinding, Refusal};

/// A published port, with the host ports that it may be published at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wished {
    pub(super) mapping: PortMapping,
    /// One, unless the user gave several for a single port of the container.
    pub(super) host_ports: RangeInclusive<u16>,
}

/// All that the options ask for; `host_ip` is where they do not say.
pub(super) fn wished(options: &Options, host_ip: Option<IpAddr>) -> Result<Vec<Wished>, Refusal> {
    let bindings = bindings(options)?;
    let wished = bindings.iter().map(|binding| {
        let own = match binding.host_ip.as_str() {
            "" => None,
            text => Some(address(text)?),
        };
        Ok(Wished {
            mapping: PortMapping {
                host_ip: own.or(host_ip),
                host_port: binding.host_port,
                container_port: binding.port,
                protocol: protocol(binding)?,
            },
            host_ports: binding.host_port..=binding.host_port_end.max(binding.host_port),
        })
    });
    wished.collect()
}

/// The bindings in the options, of protocols that can be published.
pub(super) fn bindings(options: &Options) -> Result<Vec<PortBinding>, Refusal> {
    let Some(list) = options.get(PORT_MAP).filter(|list| !list.is_null()) else {
        return Ok(Vec::new());
    };
    let bindings: Vec<PortBinding> = serde_json::from_value(list.clone())
        .map_err(|error| Refusal::new(format!("{PORT_MAP} is not understood: {error}")))?;
    for binding in &bindings {
        protocol(binding)?;
    }
    Ok(bindings)
}

/// By its number (RFC 791 §3.1).
fn protocol(binding: &PortBinding) -> Result<TransportProtocol, Refusal> {
    match binding.proto {
        6 => Ok(TransportProtocol::Tcp),
        17 => Ok(TransportProtocol::Udp),
        other => {
            let name = if other == SCTP {
                "sctp"
            } else {
                "its protocol"
            };
            Err(Refusal::new(format!(
                "port {} cannot be published: {name} is not; publish tcp and udp",
                binding.port
            )))
        }
    }
}

fn address(text: &str) -> Result<IpAddr, Refusal> {
    text.parse()
        .map_err(|_| Refusal::new(format!("{text:?} is no address to publish ports at")))
}

const SCTP: u8 = 132;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(list: Value, host_ip: Option<IpAddr>) -> Result<Vec<Wished>, Refusal> {
        wished(&[(PORT_MAP.to_owned(), list)].into(), host_ip)
    }

    #[test]
    fn ports_are_published_where_the_user_says() {
        let list = json!([
            {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 81, "HostPortEnd": 81},
            {"Proto": 17, "Port": 53, "HostIP": "::1", "HostPort": 0, "HostPortEnd": 0},
            {"Proto": 6, "Port": 80, "HostIP": "", "HostPort": 8000, "HostPortEnd": 8010},
        ]);
        let read = read(list, Some([127, 0, 0, 1].into())).unwrap();
        assert_eq!(read[0].mapping.host_ip, Some([127, 0, 0, 1].into()));
        assert_eq!(read[0].host_ports, 81..=81);
        assert_eq!(read[1].mapping.host_ip, Some("::1".parse().unwrap()));
        assert_eq!(read[1].mapping.protocol, TransportProtocol::Udp);
        assert_eq!(read[1].host_ports, 0..=0);
        assert_eq!(read[2].host_ports, 8000..=8010);
    }

    #[test]
    fn what_cannot_be_published_is_refused_by_name() {
        let told = |list: Value| read(list, None).unwrap_err().to_string();
        assert!(told(json!([{"Proto": 132, "Port": 80}])).contains("sctp"));
        assert!(told(json!([{"Proto": 6, "Port": "http"}])).contains("not understood"));
        let told = told(json!([{"Proto": 6, "Port": 80, "HostIP": "here"}]));
        assert!(told.contains("here"), "{told}");
        assert_eq!(read(json!(null), None).unwrap(), []);
    }
}
