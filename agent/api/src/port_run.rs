//! Published ports in a row.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{PortMapping, TransportProtocol};

/// `-p [IP:]HOST:CONTAINER[/udp]`, or as many of them in a row as `ports` says.
///
/// What is kept and sent of published ports is kept and sent per run, so that thousands cost little more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortRun {
    /// Every address of the host where absent.
    #[schema(value_type = Option<String>)]
    pub host_ip: Option<IpAddr>,
    /// The first one. Zero: the kernel picks a free one, and the run is one port long.
    pub host_port: u16,
    /// What the first one leads to.
    pub container_port: u16,
    pub protocol: TransportProtocol,
    /// How many, on both sides: one where absent.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub ports: u16,
}

impl PortRun {
    /// Host ports with the container's port of each.
    pub fn pairs(&self) -> impl Iterator<Item = (u16, u16)> + use<> {
        let (host_port, container_port) = (self.host_port, self.container_port);
        // No run reaches beyond 65535, where its mappings could not.
        (0..self.ports).map(move |at| {
            (
                host_port.saturating_add(at),
                container_port.saturating_add(at),
            )
        })
    }

    /// Whether the mapping is one of the run.
    pub fn has(&self, mapping: &PortMapping) -> bool {
        let pair = (mapping.host_port, mapping.container_port);
        self.protocol == mapping.protocol
            && self.host_ip == mapping.host_ip
            && self.pairs().any(|own| own == pair)
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

    /// Why it cannot be a run.
    fn fault(&self) -> Option<&'static str> {
        let most = self.ports.saturating_sub(1);
        let fits = |first: u16| first.checked_add(most).is_some();
        if self.ports == 0 {
            return Some("a run of ports has at least one");
        }
        if self.host_port == 0 && self.ports > 1 {
            return Some("a run of ports needs a number to begin with");
        }
        let fit = fits(self.host_port) && fits(self.container_port);
        (!fit).then_some("a run of ports ends at 65535")
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

const fn one() -> u16 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_one(ports: &u16) -> bool {
    *ports == 1
}

const fn word(protocol: TransportProtocol) -> &'static str {
    match protocol {
        TransportProtocol::Tcp => "tcp",
        TransportProtocol::Udp => "udp",
    }
}

/// Lists of mappings as runs, for serde's `with`.
pub mod port_runs {
    use serde::de::{Deserializer, Error};
    use serde::ser::Serializer;

    use super::{Deserialize, PortMapping, PortRun, runs};

    pub fn serialize<S: Serializer>(mappings: &[PortMapping], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(runs(mappings))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PortMapping>, D::Error> {
        let runs = Vec::<PortRun>::deserialize(from)?;
        let ports: usize = runs.iter().map(|run| usize::from(run.ports)).sum();
        if ports > PORTS_MAX {
            return Err(D::Error::custom("more ports than there are"));
        }
        if let Some(fault) = runs.iter().find_map(PortRun::fault) {
            return Err(D::Error::custom(fault));
        }
        let mappings = runs.iter().flat_map(|run| {
            let PortRun {
                host_ip, protocol, ..
            } = *run;
            run.pairs()
                .map(move |(host_port, container_port)| PortMapping {
                    host_ip,
                    host_port,
                    container_port,
                    protocol,
                })
        });
        Ok(mappings.collect())
    }

    /// All of both protocols, on a few addresses.
    const PORTS_MAX: usize = 1 << 20;
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
    fn a_run_has_its_mappings_and_no_others() {
        let run = run(None, 8000, 2);
        assert!(run.has(&mapping(8000, 80)) && run.has(&mapping(8001, 81)));
        assert!(!run.has(&mapping(8001, 80)) && !run.has(&mapping(8002, 82)));
        let elsewhere = PortMapping {
            host_ip: Some([127, 0, 0, 1].into()),
            ..mapping(8000, 80)
        };
        assert!(!run.has(&elsewhere));
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
    fn a_list_is_written_as_runs_and_read_back() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Kept(#[serde(with = "port_runs")] Vec<PortMapping>);
        let mut mappings: Vec<_> = (20_000..30_000).map(|port| mapping(port, port)).collect();
        mappings.push(mapping(8080, 80));
        let kept = Kept(mappings);
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(
            text,
            r#"[{"host_ip":null,"host_port":20000,"container_port":20000,"protocol":"tcp","ports":10000},{"host_ip":null,"host_port":8080,"container_port":80,"protocol":"tcp"}]"#
        );
        assert_eq!(serde_json::from_str::<Kept>(&text).unwrap(), kept);
        for (host_port, ports) in [(0, 2), (65_535, 2), (80, 0)] {
            let text = format!(
                r#"[{{"host_port":{host_port},"container_port":1,"protocol":"tcp","ports":{ports}}}]"#
            );
            assert!(serde_json::from_str::<Kept>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_run_is_shown_as_it_was_asked_for() {
        assert_eq!(run(None, 8080, 1).to_string(), "8080/tcp");
        assert_eq!(run(None, 8000, 10).to_string(), "8000-8009/tcp");
        assert_eq!(run(Some("::1"), 80, 1).to_string(), "[::1]:80/tcp");
    }
}
