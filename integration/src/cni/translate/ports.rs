//! The capability `portMappings`, as runtimes differ in writing it.

use std::net::IpAddr;

use agent_api::{PortMapping, TransportProtocol};
use serde_json::{Map, Value};

use crate::cni::wire::{Failure, INVALID_CONFIG, UNSUPPORTED_FIELD};

/// What is to be published. An entry without a host port says only what the container listens to, and publishes nothing.
pub(super) fn publish(entries: &[Map<String, Value>]) -> Result<Vec<PortMapping>, Failure> {
    let mut publish = Vec::with_capacity(entries.len());
    for entry in entries {
        publish.extend(mapping(entry)?);
    }
    Ok(publish)
}

fn mapping(entry: &Map<String, Value>) -> Result<Option<PortMapping>, Failure> {
    let (mut host_port, mut container_port) = (0, 0);
    let mut protocol = TransportProtocol::Tcp;
    let mut host_ip = None;
    for (key, value) in entry {
        match key.to_ascii_lowercase().as_str() {
            "hostport" => host_port = number(key, value)?,
            "containerport" => container_port = number(key, value)?,
            "protocol" => protocol = carrier(value)?,
            "hostip" => host_ip = address(key, value)?,
            _ => {
                let message = format!(
                    "portMappings: {key} {value} is unknown; a mapping has hostPort, containerPort, protocol and hostIP"
                );
                return Err(Failure::new(UNSUPPORTED_FIELD, message));
            }
        }
    }
    if host_port == 0 {
        return Ok(None);
    }
    if container_port == 0 {
        let message =
            format!("portMappings: hostPort {host_port} leads to no containerPort; write one");
        return Err(Failure::new(INVALID_CONFIG, message));
    }
    Ok(Some(PortMapping {
        host_ip,
        host_port,
        container_port,
        protocol,
    }))
}

fn number(key: &str, value: &Value) -> Result<u16, Failure> {
    let number = value.as_u64().and_then(|number| number.try_into().ok());
    number.ok_or_else(|| {
        let message =
            format!("portMappings: {key} {value} is no port; write a number from 1 to 65535");
        Failure::new(INVALID_CONFIG, message)
    })
}

fn carrier(value: &Value) -> Result<TransportProtocol, Failure> {
    let name = value.as_str().map(str::to_ascii_lowercase);
    match name.as_deref() {
        Some("tcp" | "") => Ok(TransportProtocol::Tcp),
        Some("udp") => Ok(TransportProtocol::Udp),
        _ => {
            let message =
                format!("portMappings: protocol {value} is not published; use tcp or udp");
            Err(Failure::new(UNSUPPORTED_FIELD, message))
        }
    }
}

fn address(key: &str, value: &Value) -> Result<Option<IpAddr>, Failure> {
    let text = value.as_str().unwrap_or(NO_STRING);
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let message = format!("portMappings: {key} {value} is no address of the host");
        Failure::new(INVALID_CONFIG, message)
    })
}

/// What is no address either.
const NO_STRING: &str = "?";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<PortMapping>, Failure> {
        publish(&serde_json::from_str::<Vec<_>>(text).unwrap())
    }

    #[test]
    fn keys_come_in_either_case_of_letters() {
        let podman = r#"[{"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "127.0.0.1"}]"#;
        let containerd = r#"[{"HostPort": 8080, "ContainerPort": 80, "Protocol": "UDP", "HostIP": "127.0.0.1"}]"#;
        let wanted = PortMapping {
            host_ip: Some([127, 0, 0, 1].into()),
            host_port: 8080,
            container_port: 80,
            protocol: TransportProtocol::Udp,
        };
        assert_eq!(read(podman), Ok(vec![wanted.clone()]));
        assert_eq!(read(containerd), Ok(vec![wanted]));
    }

    #[test]
    fn what_is_absent_is_tcp_on_every_address_and_without_a_host_port_nothing() {
        let plain = read(r#"[{"hostPort": 1, "containerPort": 2, "hostIP": "", "protocol": ""}]"#);
        let plain = plain.unwrap();
        assert_eq!(
            (plain[0].host_ip, plain[0].protocol),
            (None, TransportProtocol::Tcp)
        );
        assert_eq!(
            read(r#"[{"hostPort": 0, "containerPort": 80}]"#),
            Ok(vec![])
        );
        assert_eq!(read(r#"[{"containerPort": 80}]"#), Ok(vec![]));
        let v6 = read(r#"[{"hostPort": 1, "containerPort": 2, "hostIP": "::1"}]"#).unwrap();
        assert_eq!(v6[0].host_ip, Some("::1".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_published_is_refused_by_name() {
        for (entry, code, named) in [
            (
                r#"{"hostPort": 1, "containerPort": 2, "protocol": "sctp"}"#,
                UNSUPPORTED_FIELD,
                "sctp",
            ),
            (
                r#"{"hostPort": 1, "containerPort": 2, "range": 3}"#,
                UNSUPPORTED_FIELD,
                "range",
            ),
            (
                r#"{"hostPort": 70000, "containerPort": 2}"#,
                INVALID_CONFIG,
                "70000",
            ),
            (
                r#"{"hostPort": -1, "containerPort": 2}"#,
                INVALID_CONFIG,
                "-1",
            ),
            (r#"{"hostPort": 1}"#, INVALID_CONFIG, "containerPort"),
            (
                r#"{"hostPort": 1, "containerPort": 2, "hostIP": "here"}"#,
                INVALID_CONFIG,
                "here",
            ),
        ] {
            let refused = read(&format!("[{entry}]")).unwrap_err();
            assert_eq!(refused.code, code, "{entry}");
            assert!(refused.message.contains(named), "{refused}");
        }
    }
}
