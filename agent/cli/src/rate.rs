//! `tapestry rate`: what a container may get and send.

use agent_api::{ByteSize, Client, Rate, RateCounts, RateDetail, RateSettings, RateUpdate};

use crate::failure::Failure;
use crate::link::{find, links_of};
use crate::listing::{Listing, Sheet};

/// Say how much a container may get and send
///
/// Ingress is towards the container, egress from it. What is over the rate waits, each flow in a queue of its own. Rates hold from the
/// next frame on, over restarts of the container and of the agent, until they are reset.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Set(Set),
    Show(Show),
    /// Go back to the default of the network; frames that wait leave at once where it has none
    Reset(Place),
}

/// Set rates; what is not named stays
#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    rates: Rates,
}

/// Show rates, and how many frames met them
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    listing: Listing,
    /// The container's name or id; all where absent
    container: Option<String>,
}

// Not a doc comment: clap would show it as the text of each command.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The container's name or id, or that of whatever else is attached
    container: String,
    /// The network, or the interface in the container; may be left out where there is one only
    #[arg(value_name = "NET")]
    network: Option<String>,
}

// Not a doc comment: clap would show it as the text of each command.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Rates {
    /// What it may get, and what it may send, as in 100mbit; 0 for no limit
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// What passes at once after a pause, as in 64kb; 8 ms at the rate where absent
    #[arg(long, value_name = "SIZE")]
    burst: Option<ByteSize>,
    /// What it may get
    #[arg(long, value_name = "RATE")]
    ingress_rate: Option<Rate>,
    /// What it may get at once
    #[arg(long, value_name = "SIZE")]
    ingress_burst: Option<ByteSize>,
    /// What it may send
    #[arg(long, value_name = "RATE")]
    egress_rate: Option<Rate>,
    /// What it may send at once
    #[arg(long, value_name = "SIZE")]
    egress_burst: Option<ByteSize>,
}

impl Rates {
    /// What is said of one way stands over what is said of both.
    pub(crate) fn settings(self) -> RateSettings {
        RateSettings {
            ingress_rate: self.ingress_rate.or(self.rate),
            ingress_burst: self.ingress_burst.or(self.burst),
            egress_rate: self.egress_rate.or(self.rate),
            egress_burst: self.egress_burst.or(self.burst),
        }
    }
}

pub(crate) async fn run(verb: Verb, client: &Client) -> Result<u8, Failure> {
    match verb {
        Verb::Set(args) => {
            let settings = args.rates.settings();
            if settings.is_default() {
                return Err(Failure::usage(
                    "nothing to set; name a rate, as in --rate 100mbit, or use `tapestry rate reset`"
                        .to_owned(),
                ));
            }
            let update = RateUpdate {
                reset: false,
                settings,
            };
            args.place.update(&update, client).await
        }
        Verb::Show(args) => show(args, client).await,
        Verb::Reset(place) => {
            let update = RateUpdate {
                reset: true,
                ..RateUpdate::default()
            };
            place.update(&update, client).await
        }
    }
}

impl Place {
    async fn update(&self, update: &RateUpdate, client: &Client) -> Result<u8, Failure> {
        let link = find(&self.container, self.network.as_deref(), client).await?;
        client.update_rate(&link.endpoint, update).await?;
        Ok(0)
    }
}

async fn show(args: Show, client: &Client) -> Result<u8, Failure> {
    let mut rates = client.rates().await?;
    if let Some(called) = &args.container {
        let links = links_of(called, client).await?;
        rates.retain(|rate| links.iter().any(|link| link.endpoint == rate.endpoint));
    }
    args.listing.print(&rates, &SHEET)
}

/// A row for each direction with a rate, or one for the endpoint.
fn rows(rate: &RateDetail) -> Vec<Vec<String>> {
    let effective = &rate.effective;
    let ways = [
        ("ingress", effective.ingress(), &rate.ingress),
        ("egress", effective.egress(), &rate.egress),
    ];
    let limited = ways.into_iter().filter_map(|(way, limit, counts)| {
        let (limit, burst) = limit?;
        Some(row(rate, way, &limit.to_string(), burst, counts))
    });
    let mut rows: Vec<_> = limited.collect();
    if rows.is_empty() {
        rows.push(row(rate, "-", "-", None, &RateCounts::default()));
    }
    rows
}

fn row(
    rate: &RateDetail,
    way: &str,
    limit: &str,
    burst: Option<ByteSize>,
    counts: &RateCounts,
) -> Vec<String> {
    let burst = burst.map_or_else(|| "-".to_owned(), |burst| burst.to_string());
    let numbers = [
        counts.sent,
        counts.sent_bytes,
        counts.delayed,
        counts.dropped,
        counts.waiting,
    ];
    let words = [&rate.name, &rate.link, &rate.network];
    let words = words.into_iter().cloned();
    let limit = [way.to_owned(), limit.to_owned(), burst];
    let numbers = numbers.map(|number| number.to_string());
    words.chain(limit).chain(numbers).collect()
}

const SHEET: Sheet<RateDetail> = Sheet {
    columns: &[
        ("Name", "NAME"),
        ("If", "IF"),
        ("Network", "NETWORK"),
        ("Way", "WAY"),
        ("Rate", "RATE"),
        ("Burst", "BURST"),
        ("Frames", "FRAMES"),
        ("Bytes", "BYTES"),
        ("Delayed", "DELAYED"),
        ("Dropped", "DROPPED"),
        ("Waiting", "WAITING"),
    ],
    called: 0,
    rows,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests::table;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        rates: Rates,
    }

    fn settings(line: &str) -> String {
        let words = std::iter::once("set").chain(line.split(' '));
        Line::try_parse_from(words)
            .unwrap()
            .rates
            .settings()
            .to_string()
    }

    #[test]
    fn one_way_stands_over_both() {
        assert_eq!(
            settings("--rate 100mbit --burst 64kb"),
            "100mbit burst 64kb"
        );
        assert_eq!(
            settings("--rate 100mbit --egress-rate 1gbit"),
            "ingress 100mbit, egress 1gbit"
        );
        assert_eq!(settings("--rate 1gbit --ingress-rate 0"), "egress 1gbit");
    }

    #[test]
    fn each_way_that_is_limited_has_a_row() {
        let detail = |name: &str, effective: &str| RateDetail {
            endpoint: name.to_owned(),
            name: name.to_owned(),
            network: "lab".to_owned(),
            link: "eth0".to_owned(),
            settings: RateSettings::default(),
            effective: serde_json::from_str(effective).unwrap(),
            ingress: RateCounts {
                frames: 120,
                sent: 100,
                sent_bytes: 150_000,
                delayed: 90,
                dropped: 15,
                waiting: 5,
                refused: 0,
            },
            egress: RateCounts::default(),
        };
        let web = detail(
            "web",
            r#"{"ingress_rate":"100mbit","egress_rate":"1gbit","egress_burst":"64kb"}"#,
        );
        let db = detail("db", r#"{"ingress_rate":"0bit"}"#);
        insta::assert_snapshot!(table(&[web, db], &SHEET), @r"
        NAME      IF        NETWORK   WAY       RATE      BURST     FRAMES    BYTES     DELAYED   DROPPED   WAITING
        web       eth0      lab       ingress   100mbit   -         100       150000    90        15        5
        web       eth0      lab       egress    1gbit     64kb      0         0         0         0         0
        db        eth0      lab       -         -         -         0         0         0         0         0
        ");
    }
}
