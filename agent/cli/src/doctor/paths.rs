//! The paths that VXLAN takes: whether they carry what networks send. Over QUIC frames are cut to what a path carries.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use agent_api::{Client, Driver, NetworkDetail, PathMtu, PathMtuFound};
use serde_json::json;

use super::check::Check;

/// Nothing where no network is over VXLAN, or no agent says so.
pub(crate) async fn checks(client: &Client) -> Vec<Check> {
    let asked = tokio::time::timeout(PATIENCE, overlays(client)).await;
    let details = asked.unwrap_or_default();
    of_paths(details.iter().flat_map(paths))
}

async fn overlays(client: &Client) -> Vec<NetworkDetail> {
    let all = client.networks().await.unwrap_or_default();
    let mut details = Vec::new();
    for summary in all.iter().filter(|it| it.driver == Driver::Overlay) {
        details.extend(client.network(&summary.id).await);
    }
    details
}

/// What is known of the way to a remote, and what a network sends there.
struct Path {
    remote: IpAddr,
    found: PathMtu,
    network: String,
    mtu: u32,
}

fn paths(network: &NetworkDetail) -> impl Iterator<Item = Path> {
    let overlay = network.overlay.iter().filter(|it| it.encap == "vxlan");
    let tunnels = overlay.flat_map(|overlay| &overlay.tunnels);
    tunnels.filter_map(|tunnel| {
        Some(Path {
            remote: tunnel.address,
            found: tunnel.path_mtu?,
            network: network.summary.name.clone(),
            mtu: u32::from(network.mtu),
        })
    })
}

fn of_paths(all: impl Iterator<Item = Path>) -> Vec<Check> {
    // Of the networks with a remote, the one that wants most.
    let mut paths: BTreeMap<IpAddr, Path> = BTreeMap::new();
    for path in all {
        let most = paths.get(&path.remote);
        if most.is_none_or(|most| most.mtu < path.mtu) {
            paths.insert(path.remote, path);
        }
    }
    let wide = paths.values().filter(|path| path.is_wide()).count();
    let mut checks = Vec::new();
    if wide > 0 {
        let found = format!("{wide} over VXLAN carry what their networks send");
        checks.push(Check::ok("paths", found));
    }
    let others = paths.values().filter(|path| !path.is_wide());
    checks.extend(others.take(LINES_MAX).map(Path::check));
    checks
}

impl Path {
    /// What VXLAN puts around a packet, in bytes.
    const fn overhead(&self) -> u32 {
        match self.remote {
            IpAddr::V4(_) => 50,
            IpAddr::V6(_) => 70,
        }
    }

    fn is_wide(&self) -> bool {
        let needed = self.mtu + self.overhead();
        self.found.bytes.is_some_and(|bytes| bytes >= needed)
    }

    fn check(&self) -> Check {
        let what = format!("path to {}", self.remote);
        let name = &self.network;
        let (found, remedy) = match self.found.bytes {
            Some(bytes) => {
                let by = match self.found.found {
                    PathMtuFound::Measured => "measured",
                    PathMtuFound::Told | PathMtuFound::Unfindable => "as routers or routes say",
                };
                let fits = bytes.saturating_sub(self.overhead());
                let found = format!(
                    "carries {bytes} bytes ({by}), which leaves {fits} of the {} of network {name:?}",
                    self.mtu
                );
                let remedy =
                    format!("senders are told; to spare them that, make it with --mtu {fits}");
                (found, remedy)
            }
            None => (
                "its MTU is unfindable: nobody there answers probes, and no router says anything"
                    .to_owned(),
                format!("if long packets get lost, make network {name:?} with a smaller --mtu"),
            ),
        };
        Check::hint(&what, found, remedy).with(json!({
            "remote": self.remote,
            "network": name,
            "mtu": self.mtu,
            "path_mtu": self.found,
        }))
    }
}

const PATIENCE: Duration = Duration::from_secs(3);
const LINES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(remote: &str, found: PathMtuFound, bytes: Option<u32>, mtu: u32) -> Path {
        Path {
            remote: remote.parse().unwrap(),
            found: PathMtu { found, bytes },
            network: format!("net-{mtu}"),
            mtu,
        }
    }

    #[test]
    fn wide_paths_are_one_line_and_each_other_one_has_its_own() {
        use PathMtuFound::{Measured, Told, Unfindable};
        let all = [
            path("192.0.2.1", Measured, Some(1500), 1450),
            path("192.0.2.2", Measured, Some(1500), 1400),
            path("192.0.2.3", Measured, Some(1400), 1300),
            path("192.0.2.3", Measured, Some(1400), 1450),
            path("2001:db8::1", Told, Some(1420), 1430),
            path("192.0.2.4", Unfindable, None, 1450),
        ];
        let lines: Vec<_> = of_paths(all.into_iter())
            .iter()
            .map(Check::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "ok    paths: 2 over VXLAN carry what their networks send",
                "ok    path to 192.0.2.3: carries 1400 bytes (measured), which leaves 1350 of the 1450 of network \"net-1450\"; \
                 senders are told; to spare them that, make it with --mtu 1350",
                "ok    path to 192.0.2.4: its MTU is unfindable: nobody there answers probes, and no router says anything; \
                 if long packets get lost, make network \"net-1450\" with a smaller --mtu",
                "ok    path to 2001:db8::1: carries 1420 bytes (as routers or routes say), which leaves 1350 of the 1430 of \
                 network \"net-1430\"; senders are told; to spare them that, make it with --mtu 1350",
            ]
        );
        assert!(of_paths(std::iter::empty()).is_empty());
    }
}
