//! Podman's published ports as the agent's.

use std::net::IpAddr;

use agent_api::{PortMapping, TransportProtocol};

use crate::netavark::wire::{Failure, Mapping};

pub(super) fn published<'m>(
    mappings: impl Iterator<Item = &'m Mapping>,
) -> Result<Vec<PortMapping>, Failure> {
    let mut published = Vec::new();
    for mapping in mappings {
        let host_ip = host_ip(mapping)?;
        for protocol in protocols(mapping)? {
            for at in 0..mapping.range.max(1) {
                published.push(PortMapping {
                    host_ip,
                    host_port: nth(mapping.host_port, at)?,
                    container_port: nth(mapping.container_port, at)?,
                    protocol,
                });
            }
        }
    }
    Ok(published)
}

fn host_ip(mapping: &Mapping) -> Result<Option<IpAddr>, Failure> {
    let text = mapping.host_ip.as_str();
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse().map(Some);
    parsed.map_err(|_| {
        Failure::new(format!(
            "host_ip {text:?} is no address; write one as 192.0.2.1"
        ))
    })
}

fn protocols(mapping: &Mapping) -> Result<Vec<TransportProtocol>, Failure> {
    let words = mapping.protocol.split(',');
    let read = |word| match word {
        "" | "tcp" => Ok(TransportProtocol::Tcp),
        "udp" => Ok(TransportProtocol::Udp),
        other => Err(Failure::new(format!(
            "protocol {other}: ports are published for tcp and udp alone; leave it out"
        ))),
    };
    words.map(read).collect()
}

fn nth(first: u16, at: u16) -> Result<u16, Failure> {
    let too_far = || {
        Failure::new(format!(
            "range: the ports from {first} on end at 65535; shorten it"
        ))
    };
    first.checked_add(at).ok_or_else(too_far)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(more: &str) -> Mapping {
        let text = format!(r#"{{"container_port": 80, "host_port": 8080{more}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn ranges_and_protocols_are_counted_out() {
        let mapping = mapping(r#", "host_ip": "192.0.2.1", "protocol": "tcp,udp", "range": 2"#);
        let published = published([&mapping].into_iter()).unwrap();
        let shown: Vec<_> = published
            .iter()
            .map(|one| (one.host_port, one.container_port, one.protocol))
            .collect();
        assert_eq!(
            shown,
            [
                (8080, 80, TransportProtocol::Tcp),
                (8081, 81, TransportProtocol::Tcp),
                (8080, 80, TransportProtocol::Udp),
                (8081, 81, TransportProtocol::Udp),
            ]
        );
        assert!(published.iter().all(|one| one.host_ip.is_some()));
    }

    #[test]
    fn what_is_absent_is_one_port_of_tcp_on_every_address() {
        let published = published([&mapping("")].into_iter()).unwrap();
        assert_eq!(published.len(), 1);
        assert_eq!(published[0].protocol, TransportProtocol::Tcp);
        assert_eq!(published[0].host_ip, None);
    }

    #[test]
    fn what_cannot_be_published_is_refused_by_name() {
        for (more, name) in [
            (r#", "protocol": "sctp""#, "sctp"),
            (r#", "protocol": "tcp,sctp""#, "sctp"),
            (r#", "host_ip": "here""#, "host_ip"),
            (r#", "range": 65000"#, "range"),
        ] {
            let refused = published([&mapping(more)].into_iter()).unwrap_err();
            assert!(refused.to_string().contains(name), "{refused}");
        }
    }
}
