//! SRV names of published ports.

use std::net::IpAddr;

use hickory_proto::rr::Name;

use crate::Carrier;

/// Published ports in a row. The container listens on `count` numbers from `number` on, the host on as many from `published` on.
/// A port is found by either number, and clients are sent to the container's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    pub carrier: Carrier,
    pub number: u16,
    pub published: u16,
    pub count: u16,
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
    /// `None` when the name is not of this form. A name that no service can have matches none.
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

    /// Where the service of this name listens: by the container's own number first, then by the host's.
    pub(crate) fn find(&self, services: &[Service]) -> Option<u16> {
        let (number, carrier) = (self.number?, self.carrier?);
        let called = |first: fn(&Service) -> u16| {
            let carried = services.iter().filter(|service| service.carrier == carrier);
            carried.filter_map(move |service| {
                let place = number.checked_sub(first(service))?;
                (place < service.count).then(|| service.number.saturating_add(place))
            })
        };
        called(|service| service.number)
            .next()
            .or_else(|| called(|service| service.published).next())
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
