//! The other hosts: whether frames get there, and who is away.

use agent_api::{ClusterDetail, HostReach, HostView};
use serde_json::json;

use super::some;
use crate::cluster::{milliseconds, span};
use crate::doctor::check::Check;

/// One line for all that are as they should be, and one for each that is down.
pub(super) fn tunnels(cluster: &ClusterDetail) -> Vec<Check> {
    let is_seen = |reach| {
        let others = cluster.hosts.iter().filter(|host| !host.own);
        others.filter(move |host| host.reach == reach)
    };
    let down: Vec<_> = is_seen(HostReach::Down).collect();
    let idle = is_seen(HostReach::Idle).count();
    let own = cluster.hosts.iter().find(|host| host.own);
    let mut checks = vec![all(is_seen(HostReach::Up), idle, down.len())];
    checks.extend(some("tunnels", down.into_iter(), |host| {
        tunnel_down(host, own)
    }));
    checks
}

fn all<'h>(up: impl Iterator<Item = &'h HostView>, idle: usize, down: usize) -> Check {
    let rtts: Vec<Option<u64>> = up
        .map(|host| host.tunnel.as_ref().and_then(|tunnel| tunnel.rtt_us))
        .collect();
    let (least, most) = (rtts.iter().flatten().min(), rtts.iter().flatten().max());
    let mut parts = Vec::new();
    match (rtts.len(), least.zip(most)) {
        (0, _) => {}
        (1, Some((rtt, _))) => parts.push(format!("1 is up, round trip {}", milliseconds(*rtt))),
        (up, Some((least, most))) => parts.push(format!(
            "{up} are up, round trips {} to {}",
            milliseconds(*least),
            milliseconds(*most)
        )),
        (up, None) => parts.push(format!("{up} up")),
    }
    if idle > 0 {
        parts.push(format!(
            "{idle} idle, as no network is shared with the host"
        ));
    }
    if parts.is_empty() {
        parts.push(match down {
            0 => "no other host is there".to_owned(),
            _ => "none is up".to_owned(),
        });
    }
    Check::ok("tunnels", parts.join("; ")).with(json!({
        "up": rtts.len(),
        "idle": idle,
        "down": down,
        "rtt_us": { "least": least, "most": most },
    }))
}

fn tunnel_down(host: &HostView, own: Option<&HostView>) -> Check {
    let what = format!("tunnel to {}", host.name);
    let tunnel = host.tunnel.as_ref();
    let for_s = tunnel.and_then(|tunnel| tunnel.for_s);
    let at = tunnel.map(|tunnel| tunnel.address);
    let found = match for_s {
        Some(for_s) => format!("down for {}", span(for_s)),
        None => "was never up".to_owned(),
    };
    let remedy = match (at, own) {
        (Some(at), Some(own)) => format!(
            "its agent runs, so look at the way: UDP {at} from here, and this host's UDP port at {} from there",
            own.address
        ),
        _ => "this host has no socket for tunnels; its log says why".to_owned(),
    };
    Check::warn(&what, found, remedy).with(json!({
        "host": host.id,
        "name": host.name,
        "address": at,
        "down_s": for_s,
    }))
}

/// Hosts whose lease has run out.
pub(super) fn away(cluster: &ClusterDetail) -> Vec<Check> {
    let away: Vec<_> = cluster
        .hosts
        .iter()
        .filter(|host| host.reach == HostReach::Away && !host.own)
        .collect();
    some("hosts", away.into_iter(), |host| {
        let since = match host.away_s {
            Some(away_s) => format!("away for {}", span(away_s)),
            None => "away since before this agent started".to_owned(),
        };
        let remedy = format!(
            "start its agent; if the host is gone for good, on a manager: tapestry cluster rm {}",
            host.name
        );
        Check::warn(&format!("host {}", host.name), since, remedy).with(json!({
            "host": host.id,
            "name": host.name,
            "address": host.address,
            "away_s": host.away_s,
        }))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use agent_api::{HostState, HostTunnel};

    use super::*;
    use crate::doctor::check::Level;
    use crate::doctor::cluster::certificate::tests::cluster;

    fn host(name: &str, reach: HostReach, rtt_us: Option<u64>) -> HostView {
        HostView {
            id: format!("id-{name}"),
            name: name.to_owned(),
            address: [192, 0, 2, 1].into(),
            state: HostState::Up,
            reach,
            away_s: (reach == HostReach::Away).then_some(300),
            manager: false,
            own: name == "own",
            joined_s: 0,
            certificate_until_s: None,
            tunnel: matches!(reach, HostReach::Up | HostReach::Down).then(|| HostTunnel {
                up: reach == HostReach::Up,
                needed: true,
                for_s: Some(12),
                address: "192.0.2.2:4790".parse().unwrap(),
                relay: None,
                rtt_us,
                udp_payload: None,
                sent_packets: None,
                lost_packets: None,
                counts: BTreeMap::new(),
            }),
            path_mtu: None,
        }
    }

    fn with(hosts: Vec<HostView>) -> ClusterDetail {
        let mut all = vec![HostView {
            tunnel: None,
            ..host("own", HostReach::Up, None)
        }];
        all.extend(hosts);
        ClusterDetail {
            hosts: all,
            ..cluster((0, 0), 0)
        }
    }

    #[test]
    fn tunnels_that_are_as_they_should_be_are_one_line() {
        let found = |hosts| tunnels(&with(hosts)).remove(0).found;
        assert_eq!(found(vec![]), "no other host is there");
        let one = vec![host("a", HostReach::Up, Some(1_050))];
        assert_eq!(found(one), "1 is up, round trip 1.05 ms");
        let several = vec![
            host("a", HostReach::Up, Some(1_050)),
            host("b", HostReach::Up, Some(210)),
            host("c", HostReach::Idle, None),
        ];
        assert_eq!(
            found(several),
            "2 are up, round trips 0.21 ms to 1.05 ms; 1 idle, as no network is shared with the host"
        );
    }

    #[test]
    fn a_tunnel_that_ought_to_be_up_is_a_warning_with_what_to_look_at() {
        let checks = tunnels(&with(vec![host("a", HostReach::Down, None)]));
        assert_eq!(checks.len(), 2);
        assert_eq!(checks[0].found, "none is up");
        let told = checks[1].to_string();
        assert!(
            told.starts_with("warn  tunnel to a: down for 12 s;"),
            "{told}"
        );
        assert!(told.contains("UDP 192.0.2.2:4790 from here"), "{told}");
        assert!(told.contains("port at 192.0.2.1 from there"), "{told}");
        let facts = checks[1].facts.as_ref().unwrap();
        assert_eq!(
            (&facts["name"], &facts["down_s"]),
            (&"a".into(), &12.into())
        );
    }

    #[test]
    fn a_host_that_is_away_comes_with_the_command_that_takes_it_out() {
        let checks = away(&with(vec![
            host("a", HostReach::Away, None),
            host("b", HostReach::Down, None),
        ]));
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].level, Level::Warn);
        let told = checks[0].to_string();
        assert!(told.starts_with("warn  host a: away for 5 min;"), "{told}");
        assert!(told.ends_with("tapestry cluster rm a"), "{told}");
    }
}
