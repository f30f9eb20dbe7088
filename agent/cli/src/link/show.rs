//! `tapestry link show`.

use agent_api::{Client, Impairment, LinkCounts, LinkDetail};

use super::links_of;
use crate::failure::Failure;
use crate::listing::{Listing, Sheet};

/// Show links, what goes wrong at them, and how many frames met it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    listing: Listing,
    /// The container's name or id; all links where absent
    container: Option<String>,
}

pub(super) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let links = match &args.container {
        Some(called) => links_of(called, client).await?,
        None => client.links().await?,
    };
    args.listing.print(&links, &SHEET)
}

/// A row for each direction that is impaired, or one for the link.
fn rows(link: &LinkDetail) -> Vec<Vec<String>> {
    let directions = [
        ("from", &link.settings.from, &link.from),
        ("to", &link.settings.to, &link.to),
    ];
    let impaired = directions
        .into_iter()
        .filter(|(_, set, _)| **set != Impairment::default());
    let mut rows: Vec<_> = impaired
        .map(|(direction, set, counts)| row(link, direction, &set.to_string(), counts))
        .collect();
    if rows.is_empty() {
        rows.push(row(link, "-", "-", &LinkCounts::default()));
    }
    rows
}

fn row(link: &LinkDetail, direction: &str, set: &str, counts: &LinkCounts) -> Vec<String> {
    vec![
        link.name.clone(),
        link.link.clone(),
        link.network.clone(),
        if link.up { "up" } else { "down" }.to_owned(),
        direction.to_owned(),
        set.to_owned(),
        counts.frames.to_string(),
        met(counts),
    ]
}

/// `fault=count`, in the order in which a frame would meet them.
fn met(counts: &LinkCounts) -> String {
    let all = [
        ("lost", counts.lost),
        ("duplicated", counts.duplicated),
        ("corrupted", counts.corrupted),
        ("reordered", counts.reordered),
        ("delayed", counts.delayed),
        ("overflowed", counts.overflowed),
        ("refused", counts.refused),
        ("waiting", counts.waiting),
    ];
    let met = all.into_iter().filter(|(_, count)| *count > 0);
    let met: Vec<_> = met
        .map(|(fault, count)| format!("{fault}={count}"))
        .collect();
    match met.is_empty() {
        true => "-".to_owned(),
        false => met.join(" "),
    }
}

const SHEET: Sheet<LinkDetail> = Sheet {
    columns: &[
        ("Name", "NAME"),
        ("If", "IF"),
        ("Network", "NETWORK"),
        ("State", "STATE"),
        ("Direction", "DIRECTION"),
        ("Impairment", "IMPAIRMENT"),
        ("Frames", "FRAMES"),
        ("Met", "MET"),
    ],
    called: 0,
    rows,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::tests::link;
    use crate::listing::tests::table;

    #[test]
    fn each_direction_that_is_impaired_has_a_row() {
        let mut impaired = link("web", "eth0", "lab");
        impaired.settings = serde_json::from_value(serde_json::json!({
            "from": {"delay": "50ms", "jitter": "5ms", "loss": "10%"}, "to": {"rate": "10mbit"}, "seed": 7,
        }))
        .unwrap();
        impaired.from = LinkCounts {
            frames: 120,
            lost: 11,
            delayed: 109,
            ..LinkCounts::default()
        };
        let down = LinkDetail {
            up: false,
            ..link("db", "eth0", "lab")
        };
        insta::assert_snapshot!(table(&[impaired, down], &SHEET), @r"
        NAME      IF        NETWORK   STATE     DIRECTION   IMPAIRMENT                       FRAMES    MET
        web       eth0      lab       up        from        delay 50ms jitter 5ms loss 10%   120       lost=11 delayed=109
        web       eth0      lab       up        to          rate 10mbit                      0         -
        db        eth0      lab       down      -           -                                0         -
        ");
    }
}
