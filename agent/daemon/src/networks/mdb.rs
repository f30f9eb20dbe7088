//! The multicast groups of networks that snoop, for people to read.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use agent_api::{
    ApiError, ErrorKind, MdbEntryView, MdbFilter, MdbKind, MdbSource, MulticastReport,
};
use switch_core::{
    Access, Dialect, Family, FilterMode, MulticastCounts, PortId, QuerierView, RecordView,
    RouterView,
};

use super::Networks;

impl Networks {
    /// Who asks, who gets every group, and who asked for which.
    pub(crate) fn mdb(&self, called: &str) -> Result<Vec<MdbEntryView>, ApiError> {
        let seen = self.see(called)?;
        let segment = seen.place.segment.as_ref();
        let view = segment.and_then(|segment| segment.bridge.multicast(self.ground.switch.now()));
        let view = view.ok_or_else(|| does_not_snoop(&seen.place.record.name))?;
        let owners = seen.owners().into_iter().collect();
        let asking = Family::ALL.into_iter().zip(view.queriers);
        let queriers = asking.map(|(family, view)| querier(family, view, &owners));
        let routers = view.routers.into_iter().map(|view| router(view, &owners));
        let records = view.records.into_iter().map(|view| record(view, &owners));
        Ok(queriers.chain(routers).chain(records).collect())
    }
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

fn querier(family: Family, view: QuerierView, owners: &Owners) -> MdbEntryView {
    let owner = view
        .port
        .map_or("gateway".to_owned(), |port| owner(port, owners));
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

const IPV4: &str = "ipv4";
const IPV6: &str = "ipv6";
