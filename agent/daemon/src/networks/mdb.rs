//! The multicast groups of networks that snoop, for people to read.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use agent_api::{
    ApiError, ErrorKind, MdbEntryView, MdbFilter, MdbKind, MdbSource, MulticastReport,
};
use switch_core::vlan::Vid;
use switch_core::{
    Access, Dialect, Family, FilterMode, MulticastCounts, MulticastView, PortId, QuerierView,
    RecordView, RouterView,
};

use super::Networks;

impl Networks {
    /// Who asks, who gets every group, and who asked for which.
    pub(crate) fn mdb(&self, called: &str) -> Result<Vec<MdbEntryView>, ApiError> {
        let seen = self.see(called)?;
        let segment = seen.place.segment.as_ref();
        let views = segment.and_then(|segment| segment.bridge.multicast(self.ground.switch.now()));
        let views = views.ok_or_else(|| does_not_snoop(&seen.place.record.name))?;
        let owners = seen.owners().into_iter().collect();
        let home = seen.place.record.vlans().map(|vlans| vlans.default);
        let of_one = |view: MulticastView| {
            let itself = if view.vlan == home { GATEWAY } else { NETWORK };
            rows(view, itself, &owners)
        };
        Ok(views.into_iter().flat_map(of_one).collect())
    }
}

/// Of one VLAN. `itself` is who asks where no other does.
fn rows(view: MulticastView, itself: &str, owners: &Owners) -> Vec<MdbEntryView> {
    let asking = Family::ALL.into_iter().zip(view.queriers);
    let queriers = asking.map(|(family, view)| querier(family, view, itself, owners));
    let routers = view.routers.into_iter().map(|view| router(view, owners));
    let records = view.records.into_iter().map(|view| record(view, owners));
    let vlan = view.vlan.map(Vid::get);
    let rows = queriers.chain(routers).chain(records);
    rows.map(|row| MdbEntryView { vlan, ..row }).collect()
}

type Owners = HashMap<PortId, String>;

fn does_not_snoop(network: &str) -> ApiError {
    let why = format!(
        "network {network:?} does not snoop, multicast goes to everybody there; make it with -o snooping=on"
    );
    ApiError::new(ErrorKind::Conflict, why)
}

fn record(view: RecordView, owners: &Owners) -> MdbEntryView {
    let sources = view.sources.into_iter().map(|(address, left)| MdbSource {
        address,
        expires_s: left.map(|left| left.as_secs()),
    });
    MdbEntryView {
        group: Some(view.group),
        vlan: None,
        port: Some(view.port.0),
        owner: owner(view.port, owners),
        kind: MdbKind::Listener,
        family: Some(if view.group.is_ipv4() { IPV4 } else { IPV6 }.to_owned()),
        filter: Some(match view.mode {
            FilterMode::Include => MdbFilter::Include,
            FilterMode::Exclude => MdbFilter::Exclude,
        }),
        sources: sources.collect(),
        expires_s: seconds(view.expires_in),
    }
}

fn router(view: RouterView, owners: &Owners) -> MdbEntryView {
    MdbEntryView {
        kind: match view.access {
            Access::StaticRouter => MdbKind::Static,
            Access::Everything => MdbKind::Everything,
            Access::Router | Access::Listener | Access::Filtered | Access::Edge => MdbKind::Router,
        },
        family: view.family.map(name),
        expires_s: seconds(view.expires_in),
        ..of_all(Some(view.port), owner(view.port, owners))
    }
}

fn querier(family: Family, view: QuerierView, itself: &str, owners: &Owners) -> MdbEntryView {
    let owner = view
        .port
        .map_or(itself.to_owned(), |port| owner(port, owners));
    MdbEntryView {
        family: Some(name(family)),
        sources: vec![MdbSource {
            address: view.address,
            expires_s: None,
        }],
        expires_s: seconds(view.expires_in),
        ..of_all(view.port, owner)
    }
}

fn of_all(port: Option<PortId>, owner: String) -> MdbEntryView {
    MdbEntryView {
        group: None,
        vlan: None,
        port: port.map(|port| port.0),
        owner,
        kind: MdbKind::Querier,
        family: None,
        filter: None,
        sources: Vec::new(),
        expires_s: None,
    }
}

fn owner(port: PortId, owners: &Owners) -> String {
    owners.get(&port).cloned().unwrap_or_default()
}

fn name(family: Family) -> String {
    match family {
        Family::V4 => IPV4,
        Family::V6 => IPV6,
    }
    .to_owned()
}

fn seconds(left: Option<Duration>) -> Option<u64> {
    left.map(|left| left.as_secs())
}

pub(super) fn report(counts: &MulticastCounts) -> MulticastReport {
    let by_dialect = |counts: &[u64; Dialect::ALL.len()]| {
        let counts = Dialect::ALL.iter().zip(counts);
        let counts = counts.filter(|(_, count)| **count > 0);
        counts
            .map(|(dialect, count)| (dialect.name().to_owned(), *count))
            .collect::<BTreeMap<_, _>>()
    };
    MulticastReport {
        queries: by_dialect(&counts.queries),
        reports: by_dialect(&counts.reports),
        leaves: by_dialect(&counts.leaves),
        invalid: counts.invalid,
        full: counts.full,
        queries_sent: counts.queries_sent,
    }
}

/// Who asks where the network does: as its gateway, or in its own name where that does not live.
const GATEWAY: &str = "gateway";
const NETWORK: &str = "network";
const IPV4: &str = "ipv4";
const IPV6: &str = "ipv6";
