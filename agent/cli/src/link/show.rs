//! `tapestry link show`.

use agent_api::{Client, Impairment, LinkCounts, LinkDetail, LinkSettings, PatchLink};

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
    /// The patch to this network, of the network in place of the container
    #[arg(long, value_name = "NETWORK", requires = "container")]
    patch: Option<String>,
}

pub(super) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    if let (Some(other), Some(network)) = (&args.patch, &args.container) {
        let link = client.patch_link(network, other).await?;
        return args.listing.print(&[link], &PATCH_SHEET);
    }
    let links = match &args.container {
        Some(called) => links_of(called, client).await?,
        None => client.links().await?,
    };
    args.listing.print(&links, &SHEET)
}

/// A row for each direction that is impaired, or one for the link.
fn rows(link: &LinkDetail) -> Vec<Vec<String>> {
    let state = if link.up { "up" } else { "down" };
    let place = [&link.name, &link.link, &link.network, state];
    of_directions(&place, &link.settings, (&link.from, &link.to))
}

fn patch_rows(link: &PatchLink) -> Vec<Vec<String>> {
    let place = [&*link.network, &link.other];
    of_directions(&place, &link.settings, (&link.from, &link.to))
}

fn of_directions(
    place: &[&str],
    settings: &LinkSettings,
    (from, to): (&LinkCounts, &LinkCounts),
) -> Vec<Vec<String>> {
    let directions = [("from", &settings.from, from), ("to", &settings.to, to)];
    let impaired = directions
        .into_iter()
        .filter(|(_, set, _)| **set != Impairment::default());
    let mut rows: Vec<_> = impaired
        .map(|(direction, set, counts)| row(place, direction, &set.to_string(), counts))
        .collect();
    if rows.is_empty() {
        rows.push(row(place, "-", "-", &LinkCounts::default()));
    }
    rows
}

fn row(place: &[&str], direction: &str, set: &str, counts: &LinkCounts) -> Vec<String> {
    let (frames, met) = (counts.frames.to_string(), met(counts));
    let cells = place.iter().copied();
    let cells = cells.chain([direction, set, &frames, &met]);
    cells.map(str::to_owned).collect()
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

const PATCH_SHEET: Sheet<PatchLink> = Sheet {
    columns: &[
        ("Network", "NETWORK"),
        ("Other", "OTHER"),
        ("Direction", "DIRECTION"),
        ("Impairment", "IMPAIRMENT"),
        ("Frames", "FRAMES"),
        ("Met", "MET"),
    ],
    called: 0,
    rows: patch_rows,
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
