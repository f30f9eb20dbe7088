//! A client's datagrams to a port of this host, and where they should go.

use std::net::IpAddr;

use agent_core::firewall::Published;

/// A client's datagrams to an address of this host.
pub(super) struct Association {
    pub(super) to: IpAddr,
    pub(super) to_port: u16,
    pub(super) answers: IpAddr,
    pub(super) answers_port: u16,
}

impl Association {
    /// Whether its datagrams do not go where they should by now.
    pub(super) fn is_stale(&self, published: &[&Published], withdrawn: &[&Published]) -> bool {
        let redirected = self.answers != self.to;
        let mut wanted = published.iter().filter(|run| self.is_to(run)).peekable();
        if wanted.peek().is_some() {
            return !wanted.any(|run| self.reaches(run));
        }
        redirected
            && withdrawn
                .iter()
                .any(|run| self.is_to(run) && self.reaches(run))
    }

    fn is_to(&self, run: &Published) -> bool {
        let any = run.host_ip.is_none_or(|host_ip| host_ip.is_unspecified());
        run.target_of(self.to_port).is_some()
            && self.to.is_ipv4() == run.container.is_ipv4()
            && (any || run.host_ip == Some(self.to))
            && !self.is_proxied()
    }

    /// The filter leads no such packet on.
    fn is_proxied(&self) -> bool {
        match self.to {
            IpAddr::V4(_) => false,
            IpAddr::V6(to) => to.is_loopback() || to.is_unicast_link_local(),
        }
    }

    fn reaches(&self, run: &Published) -> bool {
        let answers = std::net::SocketAddr::new(self.answers, self.answers_port);
        run.target_of(self.to_port) == Some(answers)
    }
}

#[cfg(test)]
mod tests {
    use agent_api::TransportProtocol;

    use super::*;

    fn published(host_ip: Option<&str>, container: &str) -> Published {
        Published {
            protocol: TransportProtocol::Udp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port: 53,
            container: container.parse().unwrap(),
            ports: 1,
        }
    }

    fn association(to: &str, answers: &str) -> Association {
        let to: std::net::SocketAddr = to.parse().unwrap();
        let answers: std::net::SocketAddr = answers.parse().unwrap();
        Association {
            to: to.ip(),
            to_port: to.port(),
            answers: answers.ip(),
            answers_port: answers.port(),
        }
    }

    #[test]
    fn what_goes_to_the_host_or_another_container_is_stale_once_published() {
        let now = published(None, "172.17.0.3:53");
        let stale = |answers| association("192.0.2.1:53", answers).is_stale(&[&now], &[]);
        assert!(stale("192.0.2.1:53"));
        assert!(stale("172.17.0.2:53"));
        assert!(!stale("172.17.0.3:53"));
        assert!(!association("192.0.2.1:54", "192.0.2.1:54").is_stale(&[&now], &[]));
        assert!(association("127.0.0.1:53", "127.0.0.1:53").is_stale(&[&now], &[]));
        let now = published(None, "[fd00::3]:53");
        assert!(!association("[::1]:53", "[::1]:53").is_stale(&[&now], &[]));
    }

    #[test]
    fn each_port_of_a_range_has_its_own_target() {
        let range = Published {
            ports: 10,
            ..published(None, "172.17.0.3:1053")
        };
        let stale = |to, answers| association(to, answers).is_stale(&[&range], &[]);
        assert!(!stale("192.0.2.1:60", "172.17.0.3:1060"));
        assert!(stale("192.0.2.1:60", "172.17.0.3:1053"));
        assert!(!stale("192.0.2.1:63", "192.0.2.1:63"));
    }

    #[test]
    fn what_goes_to_a_container_is_stale_once_withdrawn() {
        let then = published(Some("192.0.2.1"), "172.17.0.2:53");
        let stale = |to, answers| association(to, answers).is_stale(&[], &[&then]);
        assert!(stale("192.0.2.1:53", "172.17.0.2:53"));
        assert!(!stale("192.0.2.1:53", "192.0.2.1:53"));
        assert!(!stale("192.0.2.9:53", "172.17.0.2:53"));
    }
}
