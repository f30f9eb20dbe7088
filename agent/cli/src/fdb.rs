//! `tapestry fdb`: which address a network's switch finds behind which port.

use agent_api::{Client, FdbEntryCreate, FdbEntryView, FdbPart};

use crate::failure::Failure;
use crate::listing::{OfNetwork, Sheet};
use crate::output;

/// Show, configure or flush a network's forwarding table
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List the addresses that a network's switch knows
    Ls(OfNetwork),
    Add(Add),
    Rm(Rm),
    Flush(Flush),
}

/// Configure an address, so that the switch need not learn it
///
/// It stays until it is removed, also when agent or containers restart. A static address follows its station when that sends from
/// another port; a sticky one never moves, and nobody else may send from it.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// It follows its station (the default)
    #[arg(long = "static", conflicts_with = "sticky")]
    _static: bool,
    /// It never moves
    #[arg(long)]
    sticky: bool,
    /// The network's name or id
    network: String,
    /// The address, as in 0a:00:00:00:00:01
    mac: String,
    /// Where it is: a container's name, host, or a number of `port ls`
    port: String,
}

/// Forget an address, be it configured or learned
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// The network's name or id
    network: String,
    /// The address
    mac: String,
}

/// Forget the addresses that a network's switch has learned
#[derive(Debug, clap::Args)]
pub(crate) struct Flush {
    /// Those behind this port only: a container's name, or a number of `port ls`
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Those that somebody configured, instead of what was learned
    #[arg(long = "static", conflicts_with = "learned")]
    configured: bool,
    /// What was learned (the default)
    #[arg(long)]
    learned: bool,
    /// The network's name or id
    network: String,
}

pub(crate) async fn run(verb: Verb, client: &Client) -> Result<u8, Failure> {
    match verb {
        Verb::Ls(of) => {
            let entries = client.fdb(&of.network).await?;
            let is_aware = entries.iter().any(|entry| entry.vlan.is_some());
            let sheet = if is_aware { &SHEET_OF_VLANS } else { &SHEET };
            return of.listing.print(&entries, sheet);
        }
        Verb::Add(add) => {
            let entry = FdbEntryCreate {
                mac: add.mac,
                port: add.port,
                sticky: add.sticky,
            };
            client.add_fdb_entry(&add.network, &entry).await?;
        }
        Verb::Rm(rm) => client.remove_fdb_entry(&rm.network, &rm.mac).await?,
        Verb::Flush(flush) => {
            let part = match flush.configured {
                true => FdbPart::Static,
                false => FdbPart::Learned,
            };
            let port = flush.port.as_deref();
            client.flush_fdb(&flush.network, port, part).await?;
        }
    }
    Ok(0)
}

fn rows(entry: &FdbEntryView) -> Vec<Vec<String>> {
    let age = entry
        .age_s
        .map_or("-".to_owned(), |age_s| format!("{age_s}s"));
    vec![vec![
        entry.mac.clone(),
        entry.port.to_string(),
        entry.owner.clone(),
        output::word(entry.kind),
        age,
    ]]
}

fn rows_of_vlans(entry: &FdbEntryView) -> Vec<Vec<String>> {
    output::with_vlan(rows(entry), entry.vlan)
}

const SHEET: Sheet<FdbEntryView> = Sheet {
    columns: &[
        ("MAC", "MAC"),
        ("Port", "PORT"),
        ("Owner", "OWNER"),
        ("Kind", "KIND"),
        ("Age", "AGE"),
    ],
    called: 0,
    rows,
};

/// Of a network that is aware of VLANs.
const SHEET_OF_VLANS: Sheet<FdbEntryView> = Sheet {
    columns: &[
        ("MAC", "MAC"),
        ("Vlan", "VLAN"),
        ("Port", "PORT"),
        ("Owner", "OWNER"),
        ("Kind", "KIND"),
        ("Age", "AGE"),
    ],
    called: 0,
    rows: rows_of_vlans,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests::table;
    use agent_api::FdbKind;

    #[test]
    fn static_entries_show_no_age() {
        let entry = |mac: &str, owner: &str, kind, age_s| FdbEntryView {
            mac: mac.into(),
            vlan: None,
            port: 3,
            owner: owner.into(),
            kind,
            age_s,
        };
        let entries = [
            entry("02:42:ac:11:00:02", "web", FdbKind::Sticky, None),
            entry("0a:00:00:00:00:01", "host", FdbKind::Learned, Some(12)),
        ];
        insta::assert_snapshot!(table(&entries, &SHEET), @r"
        MAC                 PORT      OWNER     KIND      AGE
        02:42:ac:11:00:02   3         web       sticky    -
        0a:00:00:00:00:01   3         host      learned   12s
        ");
    }

    #[test]
    fn vlans_are_shown_where_there_are_any() {
        let entry = FdbEntryView {
            mac: "02:42:ac:11:00:02".into(),
            vlan: Some(10),
            port: 3,
            owner: "web".into(),
            kind: FdbKind::Sticky,
            age_s: None,
        };
        insta::assert_snapshot!(table(&[entry], &SHEET_OF_VLANS), @r"
        MAC                 VLAN      PORT      OWNER     KIND      AGE
        02:42:ac:11:00:02   10        3         web       sticky    -
        ");
    }
}
