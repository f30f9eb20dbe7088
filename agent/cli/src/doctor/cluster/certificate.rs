//! Certificates of this host and of others in its cluster, and the CA that signs there.

use agent_api::ClusterDetail;
use serde_json::json;

use super::some;
use crate::cluster::span;
use crate::doctor::check::Check;

pub(super) fn checks(cluster: &ClusterDetail, now_s: u64) -> Vec<Check> {
    let until_s = cluster.certificate_until_s;
    let ca_until_s = cluster.ca.until_s;
    let mut checks = vec![
        certificate(cluster, now_s).with(json!({ "until_s": until_s })),
        ca(cluster, now_s).with(json!({ "until_s": ca_until_s })),
    ];
    checks.extend(of_others(cluster, now_s));
    checks
}

/// Hosts that are up all the same: they cannot renew, and say why in their logs.
fn of_others(cluster: &ClusterDetail, now_s: u64) -> Vec<Check> {
    let ended: Vec<_> = cluster
        .hosts
        .iter()
        .filter(|host| !host.own)
        .filter_map(|host| Some((host, host.certificate_until_s?)))
        .filter(|(_, until_s)| *until_s <= now_s)
        .collect();
    some("certificates", ended.into_iter(), |(host, until_s)| {
        let what = format!("certificate of {}", host.name);
        let found = format!("ended {} ago", span(now_s - until_s));
        let remedy = "see in the log of its agent why it is not renewed, and what time it is there";
        Check::warn(&what, found, remedy).with(json!({
            "host": host.id,
            "name": host.name,
            "until_s": until_s,
        }))
    })
}

/// It is renewed when a third of its life is left at the latest.
fn certificate(cluster: &ClusterDetail, now_s: u64) -> Check {
    let what = "certificate";
    let (from_s, until_s) = (cluster.certificate_from_s, cluster.certificate_until_s);
    let left_s = until_s.saturating_sub(now_s);
    if left_s == 0 {
        return Check::warn(
            what,
            format!(
                "ended {} ago, so other hosts take no tunnel of this one",
                span(now_s - until_s)
            ),
            "see that a manager is reached, and that both clocks are right",
        );
    }
    if left_s < until_s.saturating_sub(from_s) / 4 {
        return Check::warn(
            what,
            format!("ends in {} and should have been renewed", span(left_s)),
            "see in the agent's log why it is not",
        );
    }
    Check::ok(what, format!("ends in {}, is renewed before", span(left_s)))
}

fn ca(cluster: &ClusterDetail, now_s: u64) -> Check {
    let what = "cluster CA";
    let left_s = cluster.ca.until_s.saturating_sub(now_s);
    if left_s < CA_LEFT_S {
        return Check::warn(
            what,
            match left_s {
                0 => "has ended".to_owned(),
                left_s => format!("ends in {}", span(left_s)),
            },
            "on a manager: tapestry cluster ca rotate",
        );
    }
    match cluster.ca.rotation {
        None => Check::ok(what, format!("ends in {}", span(left_s))),
        Some(rotation) => Check::ok(
            what,
            format!(
                "is being rotated, {} of {} hosts that are up have a new certificate",
                rotation.renewed, rotation.up
            ),
        ),
    }
}

const CA_LEFT_S: u64 = 90 * 86_400;

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use agent_api::CaView;

    use super::*;
    use crate::doctor::check::Level;

    const DAY: u64 = 86_400;
    const NOW: u64 = 1000 * DAY;

    /// One that has nobody in it.
    pub(in crate::doctor::cluster) fn cluster(
        certificate_s: (u64, u64),
        ca_until_s: u64,
    ) -> ClusterDetail {
        ClusterDetail {
            id: "c".into(),
            host: "h".into(),
            in_step: true,
            out_of_step: None,
            double: None,
            certificate_from_s: certificate_s.0,
            certificate_until_s: certificate_s.1,
            ca: CaView {
                until_s: ca_until_s,
                rotation: None,
            },
            hosts: Vec::new(),
            managers: Vec::new(),
            refused: 0,
            records_refused: 0,
            denied: 0,
            quic: BTreeMap::new(),
        }
    }

    #[test]
    fn a_certificate_that_was_not_renewed_in_time_is_named() {
        let check = |from_s, until_s| certificate(&cluster((from_s, until_s), 0), NOW);
        assert_eq!(check(NOW - 20 * DAY, NOW + 10 * DAY).level, Level::Ok);
        let late = check(NOW - 24 * DAY, NOW + 6 * DAY);
        assert_eq!(late.level, Level::Warn);
        assert!(late.found.starts_with("ends in 6 d"), "{late}");
        let ended = check(NOW - 40 * DAY, NOW - 10 * DAY);
        assert_eq!(ended.level, Level::Warn);
        assert!(ended.found.starts_with("ended 10 d ago"), "{ended}");
    }

    #[test]
    fn a_ca_that_ends_within_90_days_is_to_be_rotated() {
        let check = |until_s| ca(&cluster((0, 0), until_s), NOW);
        assert_eq!(check(NOW + 90 * DAY).level, Level::Ok);
        let soon = check(NOW + 90 * DAY - 1);
        assert_eq!(soon.level, Level::Warn);
        assert!(
            soon.to_string().ends_with("tapestry cluster ca rotate"),
            "{soon}"
        );
        assert!(check(NOW - 1).found.contains("ended"));
    }
}
