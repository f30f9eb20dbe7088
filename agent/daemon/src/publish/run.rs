//! Published ports in a row.

use std::net::{IpAddr, SocketAddr};

use agent_api::{PortMapping, TransportProtocol};

/// Neighbouring ports of one host address that lead to equally neighbouring ports of a container: `-p 8000-8999:3000-3999`.
///
/// What is kept for published ports is kept per run, so that a range of thousands costs little more than one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRun {
    pub protocol: TransportProtocol,
    /// Every address, IPv4 and IPv6, where absent.
    pub host_ip: Option<IpAddr>,
    /// The first one. Zero: the kernel picks a free one, and the run is one port long.
    pub host_port: u16,
    /// What the first one leads to.
    pub container_port: u16,
    /// How many, at least one.
    pub ports: u16,
}

impl PortRun {
    /// Host ports with the container's port of each.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (u16, u16)> + use<> {
        let (host_port, container_port) = (self.host_port, self.container_port);
        // No run reaches beyond 65535, where its mappings could not.
        (0..self.ports).map(move |at| {
            (
                host_port.saturating_add(at),
                container_port.saturating_add(at),
            )
        })
    }

    /// Whether some packet is meant by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let last = |run: &Self| run.host_port.saturating_add(run.ports - 1);
        let same_address = self.host_ip.is_none()
            || other.host_ip.is_none()
            || self.host_ip == other.host_ip
            || is_any_of_family(self.host_ip, other.host_ip)
            || is_any_of_family(other.host_ip, self.host_ip);
        self.protocol == other.protocol
            && self.host_port != 0
            && other.host_port != 0
            && self.host_port <= last(other)
            && other.host_port <= last(self)
            && same_address
    }

    fn of(mappings: &[PortMapping]) -> Option<Self> {
        let first = mappings.first()?;
        Some(Self {
            protocol: first.protocol,
            host_ip: first.host_ip,
            host_port: first.host_port,
            container_port: first.container_port,
            // A run's ports differ, so there are fewer than 65536.
            ports: u16::try_from(mappings.len()).ok()?,
        })
    }
}

impl std::fmt::Display for PortRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host_ip {
            Some(ip) => write!(f, "{}", SocketAddr::new(ip, self.host_port))?,
            None => write!(f, "{}", self.host_port)?,
        }
        if self.ports > 1 {
            write!(f, "-{}", self.host_port.saturating_add(self.ports - 1))?;
        }
        write!(f, "/{}", word(self.protocol))
    }
}

/// The mappings as runs, in their order; together they have as many ports as there are mappings.
pub fn runs(mappings: &[PortMapping]) -> impl Iterator<Item = PortRun> {
    mappings.chunk_by(continues).filter_map(PortRun::of)
}

fn continues(one: &PortMapping, next: &PortMapping) -> bool {
    one.protocol == next.protocol
        && one.host_ip == next.host_ip
        && one.host_port != 0
        && one.host_port.checked_add(1) == Some(next.host_port)
        && one.container_port.checked_add(1) == Some(next.container_port)
}

fn is_any_of_family(any: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    matches!((any, other), (Some(any), Some(other))
        if any.is_unspecified() && any.is_ipv4() == other.is_ipv4())
}

pub(super) const fn word(protocol: TransportProtocol) -> &'static str {
    match protocol {
        TransportProtocol::Tcp => "tcp",
        TransportProtocol::Udp => "udp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(host_port: u16, container_port: u16) -> PortMapping {
        PortMapping {
            host_ip: None,
            host_port,
            container_port,
            protocol: TransportProtocol::Tcp,
        }
    }

    fn run(host_ip: Option<&str>, host_port: u16, ports: u16) -> PortRun {
        PortRun {
            protocol: TransportProtocol::Tcp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port,
            container_port: 80,
            ports,
        }
    }

    #[test]
    fn neighbours_of_one_distance_are_one_run() {
        let mappings = [
            mapping(8000, 80),
            mapping(8001, 81),
            mapping(8002, 90),
            mapping(9000, 91),
            mapping(0, 1),
            mapping(1, 2),
        ];
        let found: Vec<_> = runs(&mappings)
            .map(|run| (run.host_port, run.container_port, run.ports))
            .collect();
        let expected = [
            (8000, 80, 2),
            (8002, 90, 1),
            (9000, 91, 1),
            (0, 1, 1),
            (1, 2, 1),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_run_ends_at_the_last_port() {
        let mappings = [mapping(65534, 1), mapping(65535, 2)];
        let found: Vec<_> = runs(&mappings).collect();
        assert_eq!(found.len(), 1);
        let pairs: Vec<_> = found[0].pairs().collect();
        assert_eq!(pairs, [(65534, 1), (65535, 2)]);
    }

    #[test]
    fn runs_overlap_where_a_packet_is_meant_by_both() {
        let run_8000 = run(None, 8000, 10);
        assert!(run_8000.overlaps(&run(Some("192.0.2.1"), 8009, 1)));
        assert!(!run_8000.overlaps(&run(None, 8010, 1)));
        assert!(!run_8000.overlaps(&run(None, 7000, 1000)));
        let any = run(Some("0.0.0.0"), 80, 1);
        assert!(any.overlaps(&run(Some("192.0.2.1"), 80, 1)));
        assert!(!any.overlaps(&run(Some("2001:db8::1"), 80, 1)));
        assert!(!run(Some("192.0.2.1"), 80, 1).overlaps(&run(Some("192.0.2.2"), 80, 1)));
        let picked = run(None, 0, 1);
        assert!(!picked.overlaps(&picked));
    }

    #[test]
    fn a_run_is_shown_as_it_was_asked_for() {
        assert_eq!(run(None, 8080, 1).to_string(), "8080/tcp");
        assert_eq!(run(None, 8000, 10).to_string(), "8000-8009/tcp");
        assert_eq!(run(Some("::1"), 80, 1).to_string(), "[::1]:80/tcp");
    }
}
