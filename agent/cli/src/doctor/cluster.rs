//! This host's certificate in its cluster, and the CA that signs there.

use std::time::Duration;

use agent_api::{Client, ClusterDetail};

use super::check::Check;
use crate::cluster::{now_s, span};

/// Nothing where there is no cluster, or no agent that could say so.
pub(crate) async fn checks(client: &Client) -> Vec<Check> {
    match tokio::time::timeout(PATIENCE, client.cluster()).await {
        Ok(Ok(cluster)) => {
            let now_s = now_s();
            vec![certificate(&cluster, now_s), ca(&cluster, now_s)]
        }
        _ => Vec::new(),
    }
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
            "see that the host where hosts join is reached, and that both clocks are right",
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
            "on the host where hosts join: tapestry cluster ca rotate",
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

const PATIENCE: Duration = Duration::from_secs(3);
const CA_LEFT_S: u64 = 90 * 86_400;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use agent_api::CaView;

    use super::*;
    use crate::doctor::check::Level;

    const DAY: u64 = 86_400;
    const NOW: u64 = 1000 * DAY;

    fn cluster(certificate_s: (u64, u64), ca_until_s: u64) -> ClusterDetail {
        ClusterDetail {
            id: "c".into(),
            host: "h".into(),
            in_step: true,
            certificate_from_s: certificate_s.0,
            certificate_until_s: certificate_s.1,
            ca: CaView {
                until_s: ca_until_s,
                rotation: None,
            },
            hosts: Vec::new(),
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
