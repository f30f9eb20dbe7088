//! Names: the servers people choose, and what a network's forwarder did.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A server for names outside the network, as people write it:
///
/// - `8.8.8.8`, `2001:4860:4860::8888`: UDP and TCP
/// - `tls://1.1.1.1[:PORT][#NAME]`: DNS over TLS (RFC 7858)
/// - `https://1.1.1.1[:PORT][/PATH][#NAME]`: DNS over HTTPS (RFC 8484), at `/dns-query` unless told otherwise
/// - `quic://1.1.1.1[:PORT][#NAME]`: DNS over QUIC (RFC 9250)
///
/// `NAME` is what the server's certificate must say; the address itself where absent. IPv6 addresses stand in brackets
/// behind `://`. A server has an address and not only a name, for there would be nobody to ask for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsServer {
    address: IpAddr,
    protocol: DnsProtocol,
    server_port: u16,
    name: Option<String>,
}

/// How a server is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsProtocol {
    Plain,
    Tls,
    Https { path: String },
    Quic,
}

/// What cannot be a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDnsServer {
    #[error(
        "{0:?} is no server; give an IP address, or tls://ADDRESS, https://ADDRESS/PATH or quic://ADDRESS"
    )]
    Scheme(String),
    #[error(
        "{0:?} is not an IP address; give the server's address and its name behind '#', as in tls://1.1.1.1#one.one.one.one"
    )]
    Address(String),
    #[error("{0:?} is not a port; ports are 1 to 65535")]
    Number(String),
    #[error("{0:?} cannot be the name in a certificate; use letters, digits, '-' and '.'")]
    Name(String),
    #[error("{0:?} cannot be the path of a URL; it begins with '/' and has no spaces")]
    Path(String),
}

impl DnsServer {
    pub fn address(&self) -> IpAddr {
        self.address
    }

    pub fn protocol(&self) -> &DnsProtocol {
        &self.protocol
    }

    pub fn server_port(&self) -> u16 {
        self.server_port
    }

    /// What the server's certificate must say instead of the address.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The address, if a `resolv.conf` can name this server.
    pub fn plain(&self) -> Option<IpAddr> {
        (self.protocol == DnsProtocol::Plain).then_some(self.address)
    }
}

impl From<IpAddr> for DnsServer {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            protocol: DnsProtocol::Plain,
            server_port: DNS_PORT,
            name: None,
        }
    }
}

impl FromStr for DnsServer {
    type Err = ParseDnsServer;

    fn from_str(text: &str) -> Result<Self, ParseDnsServer> {
        let Some((scheme, rest)) = text.split_once("://") else {
            let address = text.parse::<IpAddr>();
            return address
                .map(Self::from)
                .map_err(|_| ParseDnsServer::Scheme(shortened(text)));
        };
        let (rest, name) = match rest.split_once('#') {
            Some((rest, name)) => (rest, Some(checked_name(name)?)),
            None => (rest, None),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (protocol, default_port) = match scheme {
            "tls" => (DnsProtocol::Tls, TLS_PORT),
            "quic" => (DnsProtocol::Quic, TLS_PORT),
            "https" => (checked_path(path)?, HTTPS_PORT),
            _ => return Err(ParseDnsServer::Scheme(shortened(text))),
        };
        if !path.is_empty() && !matches!(protocol, DnsProtocol::Https { .. }) {
            return Err(ParseDnsServer::Path(shortened(path)));
        }
        let (address, server_port) = address_and_port(authority)?;
        Ok(Self {
            address,
            protocol,
            server_port: server_port.unwrap_or(default_port),
            name,
        })
    }
}

impl fmt::Display for DnsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default_port, path) = match &self.protocol {
            DnsProtocol::Plain => return write!(f, "{}", self.address),
            DnsProtocol::Tls => ("tls", TLS_PORT, ""),
            DnsProtocol::Quic => ("quic", TLS_PORT, ""),
            DnsProtocol::Https { path } => ("https", HTTPS_PORT, path.as_str()),
        };
        match self.address {
            IpAddr::V4(address) => write!(f, "{scheme}://{address}")?,
            IpAddr::V6(address) => write!(f, "{scheme}://[{address}]")?,
        }
        if self.server_port != default_port {
            write!(f, ":{}", self.server_port)?;
        }
        f.write_str(path)?;
        match &self.name {
            Some(name) => write!(f, "#{name}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for DnsServer {
    type Error = ParseDnsServer;

    fn try_from(text: String) -> Result<Self, ParseDnsServer> {
        text.parse()
    }
}

impl From<DnsServer> for String {
    fn from(server: DnsServer) -> Self {
        server.to_string()
    }
}

/// What a network's forwarder did since the network was made or the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Forwarder {
    /// The servers asked for foreign names, in order.
    pub servers: Vec<String>,
    /// Messages that reached the forwarder.
    pub queries: u64,
    /// Answered from the names of the network.
    pub local: u64,
    /// Answered from what a server said before.
    pub cached: u64,
    /// Asked of a server.
    pub forwarded: u64,
    /// Microseconds that these took in all, from the arrival of a query to its reply.
    #[serde(default)]
    pub forwarding_us: u64,
    /// Refused: malformed, or foreign on an internal network.
    pub refused: u64,
    /// Left unanswered, because they were no queries.
    pub ignored: u64,
    /// Forwarded, and no server helped.
    pub failed: u64,
    /// Refused or dropped because too many waited, of all or of one endpoint.
    pub crowded_out: u64,
    /// Answers of servers that lost private addresses (`-o dns.rebind=block`).
    pub blocked: u64,
    /// TCP connections reset: idle, misbehaving, or making room for others.
    pub connections_reset: u64,
    /// The latest failures of servers, oldest first.
    pub errors: Vec<ForwarderError>,
}

/// A failure of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ForwarderError {
    /// Seconds since the epoch, of the last time.
    pub at_s: u64,
    pub server: String,
    pub error: String,
    pub times: u64,
}

/// A line of `GET /v1/networks/{name}/dns/log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueryLogEntry {
    /// Milliseconds since the epoch, of the reply.
    pub at_ms: u64,
    #[schema(value_type = String)]
    pub source: IpAddr,
    /// The endpoint with that address, where there is one.
    pub endpoint: Option<String>,
    pub transport: QueryTransport,
    /// As asked, absolute; empty for what was no query.
    pub name: String,
    /// `A`, `AAAA`, ...
    pub record_type: String,
    pub outcome: QueryOutcome,
    /// `NOERROR`, `NXDOMAIN`, ...; empty where nothing was answered.
    pub code: String,
    pub answers: u16,
    /// From the arrival to the reply, in microseconds.
    pub took_us: u64,
    /// Entries before this one that the reader was too slow for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueryTransport {
    Udp,
    Tcp,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueryOutcome {
    /// The names of the network.
    Local,
    /// What a server said before.
    Cached,
    /// A server.
    Forwarded,
    Refused,
    Ignored,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn address_and_port(authority: &str) -> Result<(IpAddr, Option<u16>), ParseDnsServer> {
    let not_an_address = || ParseDnsServer::Address(shortened(authority));
    let (address, digits) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']').ok_or_else(not_an_address)?;
            let address: Ipv6Addr = address.parse().map_err(|_| not_an_address())?;
            (IpAddr::V6(address), rest)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (address, rest) = authority.split_at(end);
            let address = address.parse().map_err(|_| not_an_address())?;
            (IpAddr::V4(address), rest)
        }
    };
    if digits.is_empty() {
        return Ok((address, None));
    }
    let number = digits.strip_prefix(':').ok_or_else(not_an_address)?;
    match number.parse::<u16>() {
        Ok(port) if port > 0 && number.bytes().all(|digit| digit.is_ascii_digit()) => {
            Ok((address, Some(port)))
        }
        _ => Err(ParseDnsServer::Number(shortened(number))),
    }
}

fn checked_name(name: &str) -> Result<String, ParseDnsServer> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_address = name.parse::<IpAddr>().is_ok();
    if is_address || (name.len() <= 253 && name.split('.').all(is_label)) {
        return Ok(name.to_ascii_lowercase());
    }
    Err(ParseDnsServer::Name(shortened(name)))
}

fn checked_path(path: &str) -> Result<DnsProtocol, ParseDnsServer> {
    let path = match path {
        "" | "/" => HTTPS_PATH,
        path => path,
    };
    if path.len() <= 255 && path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(DnsProtocol::Https {
            path: path.to_owned(),
        });
    }
    Err(ParseDnsServer::Path(shortened(path)))
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

const DNS_PORT: u16 = 53;
const TLS_PORT: u16 = 853;
const HTTPS_PORT: u16 = 443;
/// RFC 8484 §4.1.1 uses it in all its examples, and so does everybody.
const HTTPS_PATH: &str = "/dns-query";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_written_as_they_were_read() {
        for text in [
            "8.8.8.8",
            "2001:db8::1",
            "tls://1.1.1.1",
            "tls://1.1.1.1:8853#one.one.one.one",
            "quic://[2001:db8::1]:8853",
            "https://8.8.8.8/dns-query#dns.google",
            "https://[2001:db8::1]:8443/q?x=1",
        ] {
            let server: DnsServer = text.parse().unwrap();
            assert_eq!(server.to_string(), text);
            let json = serde_json::to_string(&server).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<DnsServer>(&json).unwrap(), server);
        }
    }

    #[test]
    fn what_is_left_out_has_its_usual_value() {
        let server = |text: &str| text.parse::<DnsServer>().unwrap();
        assert_eq!(server("tls://1.1.1.1").server_port(), 853);
        assert_eq!(server("quic://1.1.1.1:853").to_string(), "quic://1.1.1.1");
        let https = server("https://1.1.1.1/");
        assert_eq!(https.server_port(), 443);
        assert_eq!(https.to_string(), "https://1.1.1.1/dns-query");
        assert_eq!(https.plain(), None);
        assert_eq!(server("::1").plain(), Some("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_server_is_refused_with_advice() {
        for (wrong, advice) in [
            ("", "give an IP address"),
            ("dns.google", "give an IP address"),
            ("8.8.8.8:53", "give an IP address"),
            ("ftp://8.8.8.8", "tls://ADDRESS"),
            ("tls://dns.google", "behind '#'"),
            ("tls://2001:db8::1", "behind '#'"),
            ("tls://[::1]853", "behind '#'"),
            ("tls://1.1.1.1:0", "1 to 65535"),
            ("tls://1.1.1.1:+1", "1 to 65535"),
            ("tls://1.1.1.1#a b", "certificate"),
            ("tls://1.1.1.1#", "certificate"),
            ("quic://1.1.1.1/x", "path"),
            ("https://1.1.1.1/a b", "path"),
        ] {
            let error = wrong.parse::<DnsServer>().unwrap_err().to_string();
            assert!(error.contains(advice), "{wrong}: {error}");
        }
    }
}
