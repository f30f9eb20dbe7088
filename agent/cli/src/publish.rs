//! `-p`, `-P` and `--expose`: which of a container's ports are the host's too, in Docker's words.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use agent_api::{PortChoice, PortMapping, TransportProtocol};

/// What one `-p` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Publish {
    /// One mapping, or one for each number of a range. Of host port 0, the kernel picks one.
    Each(Vec<PortMapping>),
    /// The first free port of a range leads to one port.
    OneOf(PortChoice),
}

/// What one `--expose` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exposed(Vec<(u16, TransportProtocol)>);

/// `[[IP:]HOST:]CONTAINER[/tcp|/udp]`; IPv6 addresses in brackets, `HOST` and `CONTAINER` numbers or ranges.
pub(crate) fn publish(text: &str) -> Result<Publish, String> {
    let (ports, protocol) = with_protocol(text)?;
    let (host_ip, ports) = host_address(ports)?;
    let (host, container) = ports.split_once(':').unwrap_or(("", ports));
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Err(format!(
            "write {ip}::{container} for a free port of that address, or {ip}:PORT:{container}"
        ));
    }
    let container = port_range(container)?;
    let mapping = |(host_port, container_port)| PortMapping {
        host_ip,
        host_port,
        container_port,
        protocol,
    };
    if host.is_empty() || host == "0" {
        let open = container.map(|container_port| mapping((0, container_port)));
        return Ok(Publish::Each(open.collect()));
    }
    let host = port_range(host)?;
    match (host.len(), container.len()) {
        (left, right) if left == right => {
            Ok(Publish::Each(host.zip(container).map(mapping).collect()))
        }
        (_, 1) => Ok(Publish::OneOf(PortChoice {
            host_ip,
            first: *host.start(),
            last: *host.end(),
            container_port: *container.start(),
            protocol,
        })),
        _ => Err(format!(
            "ports {ports} are ranges of different sizes; give ranges of one size, or one port of the container"
        )),
    }
}

/// `PORT[-PORT][/tcp|/udp]`.
pub(crate) fn expose(text: &str) -> Result<Exposed, String> {
    if text.contains(':') {
        return Err(
            "name ports of the container only, as in 80/tcp; publish them by -P".to_owned(),
        );
    }
    let (ports, protocol) = with_protocol(text)?;
    Ok(Exposed(
        port_range(ports)?.map(|port| (port, protocol)).collect(),
    ))
}

/// `PORT[/tcp|/udp]`.
pub(crate) fn port(text: &str) -> Result<(u16, TransportProtocol), String> {
    let (port, protocol) = with_protocol(text)?;
    Ok((port_number(port)?, protocol))
}

/// All that is published: what `-p` says, and a free host port for each of the `exposed` that it says nothing about.
pub(crate) fn all(
    published: Vec<Publish>,
    exposed: &[Exposed],
) -> (Vec<PortMapping>, Vec<PortChoice>) {
    let (mut mappings, mut choices) = (Vec::new(), Vec::new());
    for asked in published {
        match asked {
            Publish::Each(each) => mappings.extend(each),
            Publish::OneOf(choice) => choices.push(choice),
        }
    }
    let mapped = mappings
        .iter()
        .map(|mapping| (mapping.container_port, mapping.protocol));
    let chosen = choices
        .iter()
        .map(|choice| (choice.container_port, choice.protocol));
    let mut named: BTreeSet<_> = mapped.chain(chosen).collect();
    for (container_port, protocol) in exposed.iter().flat_map(|Exposed(ports)| ports) {
        if named.insert((*container_port, *protocol)) {
            mappings.push(PortMapping {
                host_ip: None,
                host_port: 0,
                container_port: *container_port,
                protocol: *protocol,
            });
        }
    }
    (mappings, choices)
}

fn with_protocol(text: &str) -> Result<(&str, TransportProtocol), String> {
    match text.split_once('/') {
        None => Ok((text, TransportProtocol::Tcp)),
        Some((ports, protocol)) => Ok((ports, transport(protocol)?)),
    }
}

fn transport(name: &str) -> Result<TransportProtocol, String> {
    match name.to_ascii_lowercase().as_str() {
        "tcp" => Ok(TransportProtocol::Tcp),
        "udp" => Ok(TransportProtocol::Udp),
        "sctp" => Err(
            "sctp is not published; use tcp or udp, or talk to the container's own address"
                .to_owned(),
        ),
        _ => Err(format!("'{name}' is not published; use tcp or udp")),
    }
}

/// Splits `IP:` off, where there is one.
fn host_address(text: &str) -> Result<(Option<IpAddr>, &str), String> {
    let (address, ports) = if let Some(bracketed) = text.strip_prefix('[') {
        bracketed
            .split_once("]:")
            .ok_or("the bracket of the IPv6 address is not closed by ']:'")?
    } else {
        match text.rmatch_indices(':').nth(1) {
            None => return Ok((None, text)),
            Some((0, _)) => return Ok((None, &text[1..])),
            Some((at, _)) if text[..at].contains(':') => {
                return Err("an IPv6 address stands in brackets, as in [::1]:8080:80".to_owned());
            }
            Some((at, _)) => (&text[..at], &text[at + 1..]),
        }
    };
    let ip = address
        .parse()
        .map_err(|_| format!("'{address}' is not an IP address"))?;
    if !ports.contains(':') {
        return Err(format!(
            "write [{ip}]::{ports} for a free port of that address, or [{ip}]:PORT:{ports}"
        ));
    }
    Ok((Some(ip), ports))
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port_number(first)?, port_number(last)?);
    if first > last {
        return Err(format!("the range {text} runs backwards"));
    }
    Ok(first..=last)
}

fn port_number(digits: &str) -> Result<u16, String> {
    match digits.parse::<u16>() {
        Ok(port) if port > 0 && digits.bytes().all(|digit| digit.is_ascii_digit()) => Ok(port),
        _ => Err(format!("'{digits}' is not a port; ports are 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match publish(text) {
            Err(error) => format!("error: {error}"),
            Ok(Publish::OneOf(choice)) => format!(
                "{:?} one of {}-{} -> {}",
                choice.host_ip, choice.first, choice.last, choice.container_port
            ),
            Ok(Publish::Each(mappings)) => mappings
                .iter()
                .map(|mapping| {
                    format!(
                        "{:?} {} -> {} {:?}",
                        mapping.host_ip,
                        mapping.host_port,
                        mapping.container_port,
                        mapping.protocol
                    )
                })
                .collect::<Vec<_>>()
                .join(", "),
        }
    }

    #[test]
    fn publish_reads_addresses_ranges_and_protocols() {
        assert_eq!(shown("8080:80"), "None 8080 -> 80 Tcp");
        assert_eq!(shown("53:53/udp"), "None 53 -> 53 Udp");
        assert_eq!(shown("53:53/UDP"), "None 53 -> 53 Udp");
        assert_eq!(
            shown("127.0.0.1:8080:80/tcp"),
            "Some(127.0.0.1) 8080 -> 80 Tcp"
        );
        assert_eq!(shown("[::1]:8080:80"), "Some(::1) 8080 -> 80 Tcp");
        assert_eq!(
            shown("8000-8001:80-81"),
            "None 8000 -> 80 Tcp, None 8001 -> 81 Tcp"
        );
    }

    #[test]
    fn publish_leaves_the_hosts_port_open_where_none_is_named() {
        for text in ["80", ":80", "::80", "0:80"] {
            assert_eq!(shown(text), "None 0 -> 80 Tcp", "{text}");
        }
        assert_eq!(shown("80-81/udp"), "None 0 -> 80 Udp, None 0 -> 81 Udp");
        assert_eq!(shown("127.0.0.1::80"), "Some(127.0.0.1) 0 -> 80 Tcp");
        assert_eq!(shown("[::1]::80"), "Some(::1) 0 -> 80 Tcp");
        assert_eq!(shown("8000-8010:80"), "None one of 8000-8010 -> 80");
    }

    #[test]
    fn publish_says_what_is_wrong() {
        let wrong = [
            "8080:65536",
            "+1:80",
            "8080:80/sctp",
            "8080:80/icmp",
            "1-3:1-2",
            "8080:80-81",
            "3-1:3-1",
            "::1:8080:80",
            "[::1:8080:80",
            "[::1]:80",
            "127.0.0.1:80",
            "host:8080:80",
            "[127.0.0.1]8080:80",
            "",
            "a:b",
        ];
        let said: Vec<_> = wrong
            .into_iter()
            .map(|text| format!("{text:<18} {}", shown(text)))
            .collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn exposed_ports_are_published_where_nothing_else_publishes_them() {
        let published = ["8080:80", "9000-9010:81"].map(|text| publish(text).unwrap());
        let exposed = ["80-82", "53/udp", "53/udp"].map(|text| expose(text).unwrap());
        let (mappings, choices) = all(published.into(), &exposed);
        let shown: Vec<_> = mappings
            .iter()
            .map(|mapping| (mapping.host_port, mapping.container_port))
            .collect();
        assert_eq!(shown, [(8080, 80), (0, 82), (0, 53)]);
        assert_eq!(choices.len(), 1);
        for wrong in ["8080:80", "0", "80/sctp", "3-1", ""] {
            assert!(expose(wrong).is_err(), "{wrong}");
        }
    }
}
