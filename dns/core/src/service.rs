//! SRV names of published ports.

use std::net::IpAddr;

use hickory_proto::rr::Name;

/// What carries a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    Tcp,
    Udp,
}

/// A published port, by the number that the container listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    pub carrier: Carrier,
    pub number: u16,
}

impl Service {
    pub const fn tcp(number: u16) -> Self {
        let carrier = Carrier::Tcp;
        Self { carrier, number }
    }

    pub const fn udp(number: u16) -> Self {
        let carrier = Carrier::Udp;
        Self { carrier, number }
    }
}

/// Where a service is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTarget {
    /// The endpoint's `name.network`.
    pub target: Name,
    pub number: u16,
    pub addresses: Vec<IpAddr>,
}

/// `_service._proto.base` (RFC 2782), with the service a number or a well-known name.
#[derive(Clone, Debug)]
pub(crate) struct ServiceName {
    number: Option<u16>,
    carrier: Option<Carrier>,
    pub(crate) base: Name,
}

impl ServiceName {
    /// `None` when the name is not of this form. What no service can be called matches none.
    pub(crate) fn parse(name: &Name) -> Option<Self> {
        let mut labels = name.iter();
        let service = labels.next()?.strip_prefix(b"_")?;
        let carrier = labels.next()?.strip_prefix(b"_")?;
        Some(Self {
            number: number_of(service),
            carrier: [(&b"tcp"[..], Carrier::Tcp), (b"udp", Carrier::Udp)]
                .into_iter()
                .find(|(name, _)| carrier.eq_ignore_ascii_case(name))
                .map(|(_, carrier)| carrier),
            base: name.base_name().base_name(),
        })
    }

    pub(crate) fn is(&self, service: &Service) -> bool {
        self.number == Some(service.number) && self.carrier == Some(service.carrier)
    }
}

fn number_of(service: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(service).ok()?;
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    WELL_KNOWN
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, number)| *number)
}

/// The registry's names (IANA, service names and port numbers) of services that containers publish most.
const WELL_KNOWN: [(&str, u16); 16] = [
    ("amqp", 5672),
    ("domain", 53),
    ("ftp", 21),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("imap", 143),
    ("ldap", 389),
    ("mqtt", 1883),
    ("ms-sql-s", 1433),
    ("mysql", 3306),
    ("ntp", 123),
    ("postgresql", 5432),
    ("redis", 6379),
    ("smtp", 25),
    ("ssh", 22),
];
