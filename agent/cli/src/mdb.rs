//! `tapestry mdb`: who listens to which multicast group.

use agent_api::{Client, MdbEntryView, MdbFilter, MdbKind};

use crate::failure::Failure;
use crate::listing::{OfNetwork, Sheet};
use crate::output;

/// Show who listens to which multicast group
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List the listeners, routers and queriers of a network that was made with -o snooping=on
    Ls(OfNetwork),
}

pub(crate) async fn run(verb: Verb, client: &Client) -> Result<u8, Failure> {
    let Verb::Ls(of) = verb;
    let entries = client.mdb(&of.network).await?;
    let is_aware = entries.iter().any(|entry| entry.vlan.is_some());
    let sheet = if is_aware { &SHEET_OF_VLANS } else { &SHEET };
    of.listing.print(&entries, sheet)
}

fn rows(entry: &MdbEntryView) -> Vec<Vec<String>> {
    let group = match (entry.group, &entry.family) {
        (Some(group), _) => group.to_string(),
        (None, Some(family)) => format!("all {family}"),
        (None, None) => "all".to_owned(),
    };
    vec![vec![
        group,
        entry.port.map_or("-".to_owned(), |port| port.to_string()),
        entry.owner.clone(),
        output::word(entry.kind),
        sources(entry),
        entry
            .expires_s
            .map_or("-".to_owned(), |left| format!("{left}s")),
    ]]
}

fn rows_of_vlans(entry: &MdbEntryView) -> Vec<Vec<String>> {
    output::with_vlan(rows(entry), entry.vlan)
}

/// Those that reach the port, or those that do not.
fn sources(entry: &MdbEntryView) -> String {
    let list = |of_time: bool| {
        let sources = entry.sources.iter();
        let sources = sources.filter(|source| source.expires_s.is_some() == of_time);
        let sources = sources.map(|source| source.address.to_string());
        sources.collect::<Vec<_>>().join(", ")
    };
    match (entry.filter, entry.kind) {
        (Some(MdbFilter::Include), _) => list(true),
        (Some(MdbFilter::Exclude), _) => match list(false) {
            blocked if blocked.is_empty() => "all".to_owned(),
            blocked => format!("all but {blocked}"),
        },
        (None, MdbKind::Querier) => list(false),
        (None, _) => "all".to_owned(),
    }
}

const SHEET: Sheet<MdbEntryView> = Sheet {
    columns: &[
        ("Group", "GROUP"),
        ("Port", "PORT"),
        ("Owner", "OWNER"),
        ("Kind", "KIND"),
        ("Sources", "SOURCES"),
        ("Expires", "EXPIRES"),
    ],
    called: 0,
    rows,
};

/// Of a network that is aware of VLANs.
const SHEET_OF_VLANS: Sheet<MdbEntryView> = Sheet {
    columns: &[
        ("Group", "GROUP"),
        ("Vlan", "VLAN"),
        ("Port", "PORT"),
        ("Owner", "OWNER"),
        ("Kind", "KIND"),
        ("Sources", "SOURCES"),
        ("Expires", "EXPIRES"),
    ],
    called: 0,
    rows: rows_of_vlans,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests::table;
    use agent_api::MdbSource;

    fn entry(group: Option<&str>, owner: &str, kind: MdbKind) -> MdbEntryView {
        MdbEntryView {
            group: group.map(|group| group.parse().unwrap()),
            vlan: None,
            port: Some(4),
            owner: owner.into(),
            kind,
            family: Some("ipv4".into()),
            filter: None,
            sources: Vec::new(),
            expires_s: Some(255),
        }
    }

    #[test]
    fn a_row_says_which_sources_reach_a_port() {
        let source = |address: &str, expires_s| MdbSource {
            address: address.parse().unwrap(),
            expires_s,
        };
        let listener = |filter, sources| MdbEntryView {
            filter: Some(filter),
            sources,
            ..entry(Some("239.1.1.1"), "web", MdbKind::Listener)
        };
        let querier = MdbEntryView {
            port: None,
            sources: vec![source("172.18.0.1", None)],
            expires_s: None,
            ..entry(None, "gateway", MdbKind::Querier)
        };
        let anything = MdbEntryView {
            family: None,
            ..entry(None, "new", MdbKind::Everything)
        };
        let entries = [
            querier,
            entry(None, "pim", MdbKind::Router),
            anything,
            listener(MdbFilter::Exclude, vec![]),
            listener(
                MdbFilter::Exclude,
                vec![source("10.0.0.1", Some(1)), source("10.0.0.2", None)],
            ),
            listener(MdbFilter::Include, vec![source("10.0.0.3", Some(7))]),
        ];
        insta::assert_snapshot!(table(&entries, &SHEET), @r"
        GROUP       PORT      OWNER     KIND         SOURCES            EXPIRES
        all ipv4    -         gateway   querier      172.18.0.1         -
        all ipv4    4         pim       router       all                255s
        all         4         new       everything   all                255s
        239.1.1.1   4         web       listener     all                255s
        239.1.1.1   4         web       listener     all but 10.0.0.2   255s
        239.1.1.1   4         web       listener     10.0.0.3           255s
        ");
    }

    #[test]
    fn vlans_are_shown_where_there_are_any() {
        let in_vlan = |vlan, entry| MdbEntryView {
            vlan: Some(vlan),
            ..entry
        };
        let entries = [
            in_vlan(10, entry(None, "pim", MdbKind::Router)),
            in_vlan(20, entry(Some("239.1.1.1"), "tv", MdbKind::Listener)),
        ];
        insta::assert_snapshot!(table(&entries, &SHEET_OF_VLANS), @r"
        GROUP       VLAN      PORT      OWNER     KIND       SOURCES   EXPIRES
        all ipv4    10        4         pim       router     all       255s
        239.1.1.1   20        4         tv        listener   all       255s
        ");
    }
}
