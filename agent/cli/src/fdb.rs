//! `tapestry fdb`: which address a network's switch finds behind which port.

use agent_api::{Client, FdbEntryView};

use crate::failure::Failure;
use crate::listing::{OfNetwork, Sheet};
use crate::output;

/// Show or flush a network's forwarding table
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List the addresses that a network's switch knows
    Ls(OfNetwork),
    Flush(Flush),
}

/// Forget the addresses that a network's switch has learned
#[derive(Debug, clap::Args)]
pub(crate) struct Flush {
    /// Those behind this port only
    #[arg(long, value_name = "N")]
    port: Option<u32>,
    /// The network's name or id
    network: String,
}

pub(crate) async fn run(verb: Verb, client: &Client) -> Result<u8, Failure> {
    match verb {
        Verb::Ls(of) => of.listing.print(&client.fdb(&of.network).await?, &SHEET),
        Verb::Flush(flush) => {
            client.flush_fdb(&flush.network, flush.port).await?;
            Ok(0)
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests::table;
    use agent_api::FdbKind;

    #[test]
    fn static_entries_show_no_age() {
        let entry = |mac: &str, owner: &str, kind, age_s| FdbEntryView {
            mac: mac.into(),
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
}
