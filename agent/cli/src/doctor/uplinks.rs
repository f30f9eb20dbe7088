//! Networks on NICs of this host: whether they reach their LANs.

use std::path::Path;
use std::time::Duration;

use agent_api::{Client, Driver, UplinkView};

use super::check::Check;

/// Nothing where no network is on a NIC, or no agent says so.
pub(crate) async fn checks(client: &Client) -> Vec<Check> {
    let asked = tokio::time::timeout(PATIENCE, uplinks(client)).await;
    of_uplinks(&asked.unwrap_or_default(), is_radio)
}

async fn uplinks(client: &Client) -> Vec<(String, UplinkView)> {
    let all = client.networks().await.unwrap_or_default();
    let has_ports = |driver| !matches!(driver, Driver::Host | Driver::Null);
    let asked = all.iter().filter(|network| has_ports(network.driver));
    let mut uplinks = Vec::new();
    for summary in asked.take(NETWORKS_MAX) {
        if let Ok(detail) = client.network(&summary.id).await {
            uplinks.extend(detail.uplink.map(|uplink| (summary.name.clone(), uplink)));
        }
    }
    uplinks
}

fn of_uplinks(all: &[(String, UplinkView)], is_radio: impl Fn(&str) -> bool) -> Vec<Check> {
    let mut checks = Vec::new();
    let up = all.iter().filter(|(_, uplink)| uplink.up).count();
    if up > 0 {
        checks.push(Check::ok(
            "uplinks",
            format!("{up} networks reach their LAN"),
        ));
    }
    for (network, uplink) in all {
        if let Some(why) = &uplink.why {
            checks.push(Check::warn(
                "uplinks",
                format!("network {network:?} does not reach its LAN: {why}"),
                "it does as soon as the link is there and up".to_owned(),
            ));
        }
        let link = uplink.link.as_deref().unwrap_or(&uplink.parent);
        if !uplink.translates && is_radio(link) {
            checks.push(Check::warn(
                "uplinks",
                format!("network {network:?} is on {link}, a radio, which sends frames of its own MAC alone"),
                "make the network with --driver ipvlan, which gives all containers that MAC".to_owned(),
            ));
        }
    }
    checks
}

fn is_radio(link: &str) -> bool {
    Path::new("/sys/class/net")
        .join(link)
        .join("phy80211")
        .exists()
}

const PATIENCE: Duration = Duration::from_secs(2);
const NETWORKS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn uplink(up: bool, translates: bool) -> UplinkView {
        UplinkView {
            parent: "wlan0".into(),
            up,
            why: (!up).then(|| "link wlan0 is down".into()),
            link: None,
            mac: None,
            vlan: None,
            mtu: None,
            translates,
        }
    }

    #[test]
    fn what_is_missing_is_named_and_a_radio_wants_one_mac() {
        let all = [
            ("a".to_owned(), uplink(true, true)),
            ("b".to_owned(), uplink(false, false)),
        ];
        let told: Vec<_> = of_uplinks(&all, |link| link == "wlan0")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[1].contains("link wlan0 is down"), "{told:?}");
        assert!(told[2].contains("--driver ipvlan"), "{told:?}");
        assert_eq!(of_uplinks(&[], |_| true).len(), 0);
    }
}
