//! Values that stand in both formats: names, addresses, amounts, ports.

use std::net::IpAddr;
use std::str::FromStr;

use agent_api::{PortMapping, TransportProtocol};

use super::digest;
use crate::lab::fault::{Fault, Read, shown};
use crate::lab::wire::clab::Said;

/// Anything that says itself why it is not understood.
pub(super) fn parsed<T: FromStr>(said: &Said, what: &str) -> Read<T> {
    let (at, text) = said;
    text.parse()
        .map_err(|_| Fault::new(*at, format!("{} is not {what}", shown(text))))
}

/// A node's, a lab's: also parts of containers' and hosts' names.
pub(super) fn name(said: &Said, what: &str) -> Read<String> {
    let (at, text) = said;
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_of_it = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !begins_well || !text.chars().all(is_of_it) {
        return Err(Fault::new(
            *at,
            format!(
                "{what} {}: take letters, digits, '_', '.' and '-', beginning with a letter or digit",
                shown(text)
            ),
        ));
    }
    match text.len() > NAME_MAX {
        true => Err(Fault::new(
            *at,
            format!(
                "{what} {} has {} characters; take at most {NAME_MAX}",
                shown(text),
                text.len()
            ),
        )),
        false => Ok(text.clone()),
    }
}

/// A name of at most 63 characters that begins as the whole one does.
pub(super) fn bounded(whole: String) -> String {
    if whole.len() <= NAME_MAX {
        return whole;
    }
    let begin: String = whole.chars().take(NAME_MAX - 17).collect();
    format!("{begin}-{:016x}", digest(&whole))
}

/// What the kernel takes as a link's name (net/core/dev.c, `dev_valid_name`), and a shell too.
pub(super) fn interface(said: &Said) -> Read<()> {
    let (at, name) = said;
    let fits = (1..=15).contains(&name.len()) && name != "." && name != ".." && name != "lo";
    let is_of_it = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    match fits && name.chars().all(is_of_it) {
        true => Ok(()),
        false => Err(Fault::new(
            *at,
            format!(
                "interface {}: take at most 15 letters, digits, '_', '.' and '-', as eth1",
                shown(name)
            ),
        )),
    }
}

/// One of a station's, six bytes.
pub(super) fn mac(said: &Said) -> Read<String> {
    let (at, text) = said;
    let bytes: Option<Vec<u8>> = text
        .split([':', '-'])
        .map(|part| {
            u8::from_str_radix(part, 16)
                .ok()
                .filter(|_| part.len() == 2)
        })
        .collect();
    match bytes.as_deref() {
        Some([first, _, _, _, _, _]) if first & 1 == 0 => Ok(text.replace('-', ":").to_lowercase()),
        _ => Err(Fault::new(
            *at,
            format!(
                "{} is no MAC address of a station; write it as 02:00:00:00:00:01",
                shown(text)
            ),
        )),
    }
}

/// The same for the same interface at every start, below containerlab's own `aa:c1:ab`.
pub(super) fn made_mac(lab: &str, node: &str, interface: &str) -> String {
    let [a, b, c, ..] = digest(&format!("{lab}/{node}/{interface}")).to_be_bytes();
    format!("aa:c1:ab:{a:02x}:{b:02x}:{c:02x}")
}

pub(super) fn mtu(said: &Said) -> Read<u16> {
    let mtu = said.1.parse().ok();
    mtu.filter(|mtu| (MTU_LEAST..=MTU_MOST).contains(mtu))
        .ok_or_else(|| {
            Fault::new(
                said.0,
                format!(
                    "mtu {} is not between {MTU_LEAST} and {MTU_MOST}",
                    shown(&said.1)
                ),
            )
        })
}

/// Bytes, as `512m`, `1Gb` or `1GiB`.
pub(super) fn memory(said: &Said) -> Read<u64> {
    let text = said.1.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let power = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        _ => 9,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let scale = 1024_u64.checked_pow(power).filter(|_| power < 9);
    let bytes = scale.and_then(|scale| {
        let tenths = part.get(..1).and_then(|tenth| tenth.parse::<u64>().ok())?;
        let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
        whole.checked_add(tenths * scale / 10)
    });
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| {
        Fault::new(
            said.0,
            format!(
                "memory {} is no amount; write it as 512m or 2Gb",
                shown(&said.1)
            ),
        )
    })
}

/// Billionths of a processor.
pub(super) fn nano_cpus(said: &Said) -> Read<u64> {
    let wrong = || {
        Fault::new(
            said.0,
            format!(
                "cpu {} is no amount of processors; write it as 1.5",
                shown(&said.1)
            ),
        )
    };
    let (whole, part) = said.1.split_once('.').unwrap_or((&said.1, "0"));
    let digits = format!("{part:0<9}");
    let is_short = part.len() <= 9 && !part.is_empty();
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u64 = digits.parse().map_err(|_| wrong())?;
    let whole = whole
        .checked_mul(1_000_000_000)
        .and_then(|whole| whole.checked_add(part));
    whole.filter(|nano| *nano > 0 && is_short).ok_or_else(wrong)
}

/// `[[IP:]HOST:]CONTAINER[/udp]`, where HOST and CONTAINER may be ranges of one size.
pub(super) fn ports(said: &Said) -> Read<Vec<PortMapping>> {
    let (at, text) = said;
    let wrong = || {
        Fault::new(
            *at,
            format!(
                "ports {} is not [[IP:]HOST:]CONTAINER[/udp], as 8080:80",
                shown(text)
            ),
        )
    };
    let (ports, protocol) = match text.split_once('/') {
        None => (text.as_str(), TransportProtocol::Tcp),
        Some((ports, "tcp")) => (ports, TransportProtocol::Tcp),
        Some((ports, "udp")) => (ports, TransportProtocol::Udp),
        Some(_) => return Err(wrong()),
    };
    let (rest, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (ip, host) = match rest.rsplit_once(':') {
        Some((ip, host)) => (Some(ip), host),
        None => (None, rest),
    };
    let host_ip = ip.map(|ip| ip.trim_matches(['[', ']']).parse::<IpAddr>());
    let host_ip = host_ip.transpose().map_err(|_| wrong())?;
    let container = port_range(container).ok_or_else(wrong)?;
    let host = match host.is_empty() {
        true => vec![0; container.len()],
        false => port_range(host).ok_or_else(wrong)?,
    };
    if host.len() != container.len() {
        return Err(wrong());
    }
    let each = host.into_iter().zip(container);
    Ok(each
        .map(|(host_port, container_port)| PortMapping {
            host_ip,
            host_port,
            container_port,
            protocol,
        })
        .collect())
}

fn port_range(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then(|| (first..=last).collect())
}

const NAME_MAX: usize = 63;
const MTU_LEAST: u16 = 576;
const MTU_MOST: u16 = 65_521;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        (Default::default(), text.to_owned())
    }

    #[test]
    fn amounts_are_read_as_they_are_written() {
        for (text, bytes) in [
            ("512m", 512 << 20),
            ("1Gb", 1 << 30),
            ("1.5 GiB", 3 << 29),
            ("64", 64),
        ] {
            assert_eq!(memory(&said(text)).unwrap(), bytes, "{text}");
        }
        for text in ["", "x", "1t", "-1", "0", "1.m"] {
            assert!(memory(&said(text)).is_err(), "{text}");
        }
        assert_eq!(nano_cpus(&said("1.5")).unwrap(), 1_500_000_000);
        for text in ["0", "a", "1.", "1.0000000001"] {
            assert!(nano_cpus(&said(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_are_read_as_docker_does() {
        let read = |text: &str| {
            let ports = ports(&said(text)).unwrap();
            let each = ports
                .iter()
                .map(|port| (port.host_port, port.container_port));
            each.collect::<Vec<_>>()
        };
        assert_eq!(read("8080:80"), [(8080, 80)]);
        assert_eq!(read("80/udp"), [(0, 80)]);
        assert_eq!(read("127.0.0.1:80-81:90-91/tcp"), [(80, 90), (81, 91)]);
        assert_eq!(read("[::1]:80:80"), [(80, 80)]);
        for text in ["", "a:80", "80-81:90", "1.2.3:80:80", "80/sctp", "0"] {
            assert!(ports(&said(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn made_addresses_are_stations_own() {
        let made = made_mac("lab", "r1", "eth1");
        assert_eq!(mac(&said(&made)).unwrap(), made);
        assert_ne!(made, made_mac("lab", "r1", "eth2"));
        assert!(mac(&said("01:00:5e:00:00:01")).is_err());
    }

    #[test]
    fn long_names_stay_apart() {
        let long = "a".repeat(70);
        let (one, other) = (bounded(format!("{long}1")), bounded(format!("{long}2")));
        assert!(one.len() <= 63 && one != other);
    }
}
