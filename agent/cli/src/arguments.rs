//! Argument values with a grammar of their own.

use std::env;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use agent_api::NetworkMode;
use ipnet::IpNet;

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

/// `NAME=ADDRESS`, of an address that somebody else has.
pub(crate) fn aux_address(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = key_value(text)?;
    let address = address
        .parse()
        .map_err(|_| "write who has which address, as in router=10.1.0.9".to_owned())?;
    Ok((name, address))
}

/// A number of bytes, or of what `k`, `m` or `g` stands for, as Docker counts.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err("write bytes, or with k, m or g, as in 512m".to_owned()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a whole number, as in 512m".to_owned())?;
    let bytes = number.checked_mul(1 << shift);
    bytes.filter(|bytes| *bytes >= MEMORY_MIN).ok_or_else(|| {
        format!(
            "it has to be {} MiB at least, as for Docker",
            MEMORY_MIN >> 20
        )
    })
}

/// A number of processors, in billionths.
pub(crate) fn nano_cpus(text: &str) -> Result<u64, String> {
    let wrong = || "write how many processors, 0.01 at least, as in 1.5".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    if text.len() > CPUS_LEN_MAX || !is_number(whole) || !is_number(part) || part.len() > 9 {
        return Err(wrong());
    }
    let nano = format!("{whole}{part:0<9}").parse().map_err(|_| wrong())?;
    match nano {
        10_000_000.. => Ok(nano),
        _ => Err(wrong()),
    }
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

/// A process that has less does not even begin.
const MEMORY_MIN: u64 = 6 << 20;
/// Six digits before the point.
const CPUS_LEN_MAX: usize = 16;

/// What `--ip` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ip {
    Address(Ipv4Addr),
    /// As the DHCP server of the network's LAN has it.
    Dhcp,
}

impl Ip {
    pub(crate) fn address(self) -> Option<Ipv4Addr> {
        match self {
            Self::Address(address) => Some(address),
            Self::Dhcp => None,
        }
    }
}

impl FromStr for Ip {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "dhcp" => Ok(Self::Dhcp),
            _ => text
                .parse()
                .map(Self::Address)
                .map_err(|_| "it is no IPv4 address, nor dhcp".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn sizes_are_dockers() {
        for (text, value) in [
            ("64m", 64 << 20),
            ("2G", 2 << 30),
            ("8388608", 8 << 20),
            ("8192kb", 8 << 20),
        ] {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
        for text in ["", "m", "5m", "-1", "1.5g", "64x", "99999999999g"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_are_counted_in_billionths() {
        for (text, value) in [
            ("1.5", 1_500_000_000),
            ("2", 2_000_000_000),
            (".25", 250_000_000),
        ] {
            assert_eq!(nano_cpus(text), Ok(value), "{text}");
        }
        for text in [
            "",
            ".",
            "0",
            "0.001",
            "-1",
            "1e3",
            "1.0000000001",
            "9999999999999999",
        ] {
            assert!(nano_cpus(text).is_err(), "{text}");
        }
    }
}
