//! What the API shows of this host's cluster: who is in it, and how they are seen from here.

use std::net::SocketAddr;

use agent_api::{
    ClusterDetail, HostReach, HostState, HostTunnel, HostView, ManagerHealth, ManagerView,
    OutOfStep,
};
use agent_cluster::{Greeting, HostSeen, ManagerSeen, Member};
use agent_core::shared::others::name_of;
use overlay_core::HostId;
use overlay_io::QuicTunnel;

use super::path_mtu::of_connection;
use super::{Sharing, view};

impl Sharing {
    pub(super) fn detail(&self, member: &Member) -> ClusterDetail {
        let (certificate_from_s, certificate_until_s) = member.certificate_s();
        let out_of_step = member.out_of_step();
        let quic = self.tunnels.quic();
        let managers = member.managers();
        let hosts = member.hosts().into_iter();
        let hosts = hosts.map(|host| self.host(member, host, quic.as_deref()));
        ClusterDetail {
            id: member.cluster().to_owned(),
            host: member.host().to_owned(),
            in_step: out_of_step.is_none(),
            out_of_step: out_of_step.map(|step| OutOfStep {
                for_s: step.since.elapsed().as_secs(),
                why: step.why,
            }),
            double: member.double(),
            certificate_from_s,
            certificate_until_s,
            ca: view::ca(member.ca_state()),
            hosts: hosts.collect(),
            managers: managers.iter().map(|it| manager(member, it)).collect(),
            refused: member.refused(),
            records_refused: self.refused.count(),
            denied: member.denied(),
            quic: view::quic(&self.tunnels),
        }
    }

    fn host(&self, member: &Member, host: HostSeen, quic: Option<&QuicTunnel>) -> HostView {
        let (is_own, is_alive) = (host.id == member.host(), host.alive.is_some());
        let tunnel = quic.and_then(|quic| self.tunnel(quic, &host.id));
        let reach = match is_own {
            true => HostReach::Up,
            false => view::reach(is_alive, tunnel.as_ref(), quic.is_some()),
        };
        let away = self.away_for(&host.id).filter(|_| !is_alive);
        let alive = host.alive.as_ref();
        let address = alive.map_or(host.record.address, |alive| alive.address);
        let over_quic = tunnel.as_ref().and_then(of_connection);
        HostView {
            own: is_own,
            state: match is_alive {
                true => HostState::Up,
                false => HostState::Down,
            },
            reach,
            away_s: away.map(|away| away.as_secs()),
            manager: host.is_manager,
            certificate_until_s: alive.and_then(|alive| Some(alive.certificate.as_ref()?.until_s)),
            path_mtu: over_quic.or_else(|| self.tunnels.vxlan_path(None, address)),
            address,
            tunnel,
            name: host.record.name,
            joined_s: host.record.joined_s,
            id: host.id,
        }
    }

    fn tunnel(&self, quic: &QuicTunnel, host: &str) -> Option<HostTunnel> {
        let tunnel = view::host_tunnel(quic, host)?;
        let age = self.tunnel_age(&HostId::new(host).ok()?, tunnel.up);
        Some(HostTunnel {
            for_s: age.map(|age| age.as_secs()),
            ..tunnel
        })
    }

    /// Asks the managers, for a second or two. Nothing outside of clusters.
    pub(crate) fn greet_managers(&self) -> Vec<ManagerHealth> {
        let Some(member) = self.member() else {
            return Vec::new();
        };
        let mut managers = member.managers();
        managers.truncate(GREETED_MAX);
        let greetings = member.greet_all(&managers);
        let answers = managers.iter().zip(greetings);
        answers
            .map(|(seen, answer)| health(manager(&member, seen), answer))
            .collect()
    }
}

fn manager(member: &Member, seen: &ManagerSeen) -> ManagerView {
    let address: SocketAddr = seen.address;
    ManagerView {
        host: seen.host.clone(),
        name: name_of(&member.world(), &seen.host),
        address,
        asked: seen.is_asked,
    }
}

fn health(manager: ManagerView, answer: Result<Greeting, String>) -> ManagerHealth {
    let (greeting, silent) = match answer {
        Ok(greeting) => (Some(greeting), None),
        Err(why) => (None, Some(why)),
    };
    ManagerHealth {
        manager,
        silent,
        took_us: greeting
            .as_ref()
            .and_then(|greeting| u64::try_from(greeting.took.as_micros()).ok()),
        clock_ahead_s: greeting.map(|greeting| greeting.clock_ahead_s),
    }
}

/// Five are a cluster's most.
const GREETED_MAX: usize = 16;
