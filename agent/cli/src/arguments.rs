//! Argument values with a grammar of their own.

use std::env;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use agent_api::{NetworkMode, PortMapping, TransportProtocol};
use ipnet::IpNet;

/// What one `-p` asks for: one mapping, or one for each number of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publish(pub(crate) Vec<PortMapping>);

/// `[IP:]HOST:CONTAINER[/tcp|/udp]`; IPv6 addresses in brackets, `HOST` and `CONTAINER` numbers or ranges of one size.
pub(crate) fn publish(text: &str) -> Result<Publish, String> {
    let (ports, protocol) = match text.split_once('/') {
        None => (text, TransportProtocol::Tcp),
        Some((ports, protocol)) => (ports, transport(protocol)?),
    };
    let (host_ip, ports) = host_address(ports)?;
    let (host, container) = ports
        .split_once(':')
        .ok_or("name the host's port too, as in 8080:80")?;
    let (host, container) = (port_range(host)?, port_range(container)?);
    if host.len() != container.len() {
        return Err(format!(
            "{} host ports do not fit {} container ports; give ranges of one size",
            host.len(),
            container.len()
        ));
    }
    let mappings = host
        .zip(container)
        .map(|(host_port, container_port)| PortMapping {
            host_ip,
            host_port,
            container_port,
            protocol,
        });
    Ok(Publish(mappings.collect()))
}

/// `bridge`, `host`, `none`, `container:NAME`, or the name of a network.
pub(crate) fn network_mode(text: &str) -> Result<NetworkMode, String> {
    match text {
        "" => Err("a network needs a name".to_owned()),
        "default" | "bridge" => Ok(NetworkMode::Default),
        "host" => Ok(NetworkMode::Host),
        "none" => Ok(NetworkMode::None),
        _ => match text.split_once(':') {
            Some(("container", "")) => Err("name the container, as in container:web".to_owned()),
            Some(("container", name)) => Ok(NetworkMode::Container(name.to_owned())),
            Some(_) => Err("a network's name has no colon".to_owned()),
            None => Ok(NetworkMode::Network(text.to_owned())),
        },
    }
}

/// `K=V`, or `K` for the value in our own environment; nothing where that has none, as Docker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable(pub(crate) Option<String>);

pub(crate) fn variable(text: &str) -> Result<Variable, String> {
    variable_from(text, |name| env::var(name).ok())
}

fn variable_from(text: &str, own: impl Fn(&str) -> Option<String>) -> Result<Variable, String> {
    match text.split_once('=') {
        None if text.is_empty() => Err("a variable needs a name".to_owned()),
        Some(("", _)) => Err("a variable needs a name before '='".to_owned()),
        Some(_) => Ok(Variable(Some(text.to_owned()))),
        None => Ok(Variable(own(text).map(|value| format!("{text}={value}")))),
    }
}

/// What a command gets: the variables that have a value.
pub(crate) fn environment(variables: Vec<Variable>) -> Vec<String> {
    variables
        .into_iter()
        .filter_map(|Variable(set)| set)
        .collect()
}

/// `K=V`; `K` alone has an empty value, as Docker's labels.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err("a key is missing before '='".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `ADDRESS/BITS`.
pub(crate) fn subnet(text: &str) -> Result<IpNet, String> {
    let (address, bits) = text
        .split_once('/')
        .ok_or("write the length of its prefix too, as in 10.1.0.0/16")?;
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("'{address}' is not an IP address"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse().ok().filter(|bits| *bits <= most);
    let net = bits.and_then(|bits| IpNet::new(address, bits).ok());
    net.ok_or_else(|| format!("the prefix of such an address has 0 to {most} bits"))
}

/// Bytes of an IP packet. The agent knows which of these numbers a network can have.
pub(crate) fn mtu(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "take 576 to 65521, and at least 1280 with IPv6".to_owned())
}

fn transport(name: &str) -> Result<TransportProtocol, String> {
    match name {
        "tcp" => Ok(TransportProtocol::Tcp),
        "udp" => Ok(TransportProtocol::Udp),
        other => Err(format!("'{other}' is not published; use tcp or udp")),
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
            Some((at, _)) if text[..at].contains(':') => {
                return Err("an IPv6 address stands in brackets, as in [::1]:8080:80".to_owned());
            }
            Some((at, _)) => (&text[..at], &text[at + 1..]),
        }
    };
    let ip = address
        .parse()
        .map_err(|_| format!("'{address}' is not an IP address"))?;
    Ok((Some(ip), ports))
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let number = |digits: &str| match digits.parse::<u16>() {
        Ok(port) if port > 0 && digits.bytes().all(|digit| digit.is_ascii_digit()) => Ok(port),
        _ => Err(format!("'{digits}' is not a port; ports are 1 to 65535")),
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("the range {text} runs backwards"));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match publish(text) {
            Err(error) => format!("error: {error}"),
            Ok(Publish(mappings)) => mappings
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
    fn publish_says_what_is_wrong() {
        let wrong = [
            "80",
            ":80",
            "0:80",
            "8080:65536",
            "+1:80",
            "8080:80/sctp",
            "1-3:1-2",
            "3-1:3-1",
            "::1:8080:80",
            "[::1:8080:80",
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
    fn subnets_and_mtus_out_of_range_are_told_the_range() {
        assert_eq!(subnet("10.1.0.0/16"), Ok("10.1.0.0/16".parse().unwrap()));
        assert_eq!(subnet("fd00::/64"), Ok("fd00::/64".parse().unwrap()));
        for (wrong, told) in [
            ("10.1.0.0/33", "0 to 32 bits"),
            ("fd00::/129", "0 to 128 bits"),
            ("10.1.0.0/x", "0 to 32 bits"),
            ("10.1.0.0", "prefix"),
            ("ten/8", "'ten' is not an IP address"),
        ] {
            assert!(subnet(wrong).unwrap_err().contains(told), "{wrong}");
        }
        assert_eq!(mtu("1400"), Ok(1400));
        for wrong in ["100000", "-1", "x", ""] {
            assert!(mtu(wrong).unwrap_err().contains("576 to 65521"), "{wrong}");
        }
    }

    #[test]
    fn network_mode_knows_dockers_words() {
        assert_eq!(network_mode("bridge"), Ok(NetworkMode::Default));
        assert_eq!(network_mode("host"), Ok(NetworkMode::Host));
        assert_eq!(network_mode("none"), Ok(NetworkMode::None));
        assert_eq!(network_mode("lab"), Ok(NetworkMode::Network("lab".into())));
        assert_eq!(
            network_mode("container:web"),
            Ok(NetworkMode::Container("web".into()))
        );
        for wrong in ["", "container:", "other:web"] {
            assert!(network_mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn variable_takes_its_value_from_our_environment_where_it_has_none() {
        let own = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        assert_eq!(
            variable_from("A=b=c", own),
            Ok(Variable(Some("A=b=c".into())))
        );
        assert_eq!(variable_from("A=", own), Ok(Variable(Some("A=".into()))));
        assert_eq!(
            variable_from("HOME", own),
            Ok(Variable(Some("HOME=/root".into())))
        );
        assert_eq!(variable_from("NOT_SET", own), Ok(Variable(None)));
        assert!(variable_from("=x", own).is_err());
        assert!(variable_from("", own).is_err());
    }
}
