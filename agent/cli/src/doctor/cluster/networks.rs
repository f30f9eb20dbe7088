//! Networks of the cluster that are not here, or not whole, and endpoints without a part in theirs.

use agent_api::{ClusterHealth, CutOff, NetworkTrouble};
use serde_json::json;

use super::some;
use crate::doctor::check::Check;

pub(super) fn checks(health: &ClusterHealth) -> Vec<Check> {
    let mut checks = some("networks", health.kept_out.iter(), |it| {
        trouble(it, "is not on this host", "not_here")
    });
    checks.extend(some("networks", health.overlapped.iter(), |it| {
        trouble(it, "is not reached from this host as a whole", "overlaps")
    }));
    checks.extend(some("endpoints", health.cut_off.iter(), cut_off));
    checks
}

/// Why it is so says what to do as well.
fn trouble(it: &NetworkTrouble, found: &str, fact: &str) -> Check {
    let what = format!("network {}", it.network);
    let check = Check::warn(&what, format!("{found}: {}", it.why), "");
    Check {
        remedy: None,
        ..check
    }
    .with(json!({ "network": it.network, fact: it.why }))
}

fn cut_off(it: &CutOff) -> Check {
    let what = format!("endpoint {}", it.endpoint);
    let found = format!("cut off from network {:?}: {}", it.network, it.why);
    Check::warn(
        &what,
        found,
        "disconnect it and connect it again, or remove its container",
    )
    .with(json!({ "endpoint": it.endpoint, "network": it.network, "cut_off": it.why }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Level;

    #[test]
    fn what_is_the_matter_with_a_network_is_told_with_its_reason() {
        let trouble = |network: &str, why: &str| NetworkTrouble {
            network: network.into(),
            why: why.into(),
        };
        let health = ClusterHealth {
            managers: Vec::new(),
            kept_out: vec![trouble("far", "its subnet overlaps eth1; take that away")],
            overlapped: vec![trouble("near", "its subnet overlaps eth2; take that away")],
            cut_off: vec![CutOff {
                endpoint: "web".into(),
                network: "gone".into(),
                why: "it was removed".into(),
            }],
        };
        let checks = checks(&health);
        assert!(checks.iter().all(|check| check.level == Level::Warn));
        let said: Vec<_> = checks.iter().map(Check::to_string).collect();
        assert_eq!(
            said,
            [
                "warn  network far: is not on this host: its subnet overlaps eth1; take that away",
                "warn  network near: is not reached from this host as a whole: its subnet overlaps eth2; take that away",
                "warn  endpoint web: cut off from network \"gone\": it was removed; disconnect it and connect it again, \
                 or remove its container",
            ]
        );
        assert_eq!(checks[2].facts.as_ref().unwrap()["endpoint"], "web");
    }
}
