//! `tapestry flows`: who talks to whom on a network.

use std::io::{IsTerminal, stdout};

use agent_api::{Client, FlowEnd, FlowQuery, FlowReport, FlowView};
use serde::Serialize;

use crate::amount;
use crate::failure::Failure;
use crate::listing::{Listing, Sheet};
use crate::output;
use crate::screen::{self, Ink};

/// Show who talks to whom on a network
///
/// Of the frames that pass this host's switch, one in so many is sampled while the command looks; of few frames, each. Frames, bytes
/// and rates are estimates then, as the last line says. Every frame that is dropped is counted, with its reason: docs/drops.md says
/// what to do. Where the configuration has frames sampled for good ([flows] in agent.toml), flows of the last minutes are shown at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    listing: Listing,
    /// The N largest; 20 unless told otherwise
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(FlowQuery::TOP_MAX)))]
    top: Option<u32>,
    /// Only flows of which frames were dropped, and why
    #[arg(long)]
    drops: bool,
    /// Look again and again, a second each, until interrupted
    #[arg(long, conflicts_with = "duration")]
    live: bool,
    /// Sample one frame in N; 1 looks at each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(FlowQuery::SAMPLE_MAX)))]
    sample: Option<u32>,
    /// Look for so many seconds; 3 unless told otherwise
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=i64::from(FlowQuery::SECONDS_MAX)))]
    duration: Option<u32>,
    /// The network's name or id
    network: String,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let query = FlowQuery {
        top: args.top,
        drops: args.drops,
        sample: args.sample,
        seconds: args.live.then_some(1).or(args.duration),
    };
    loop {
        let report = client.flows(&args.network, &query).await?;
        args.show(report)?;
        if !args.live {
            return Ok(0);
        }
    }
}

impl Args {
    fn show(&self, mut report: FlowReport) -> Result<(), Failure> {
        let flows = std::mem::take(&mut report.flows);
        let shown = flows.into_iter().map(|flow| Shown {
            flow,
            took_ms: report.took_ms,
            drops_only: self.drops,
            is_estimate: report.every > 1,
        });
        let shown: Vec<_> = shown.collect();
        if self.listing.is_json() {
            let fitting = self.listing.fitting(&shown, &SHEET)?.into_iter();
            report.flows = fitting.map(|shown| shown.flow.clone()).collect();
            return output::print(&self.json(&report));
        }
        if self.live && self.listing.is_plain() && stdout().is_terminal() {
            // ECMA-48, 8.3.21 and 8.3.39: to the first place, and all after it is empty.
            output::print("\x1b[H\x1b[J")?;
        }
        self.listing.print(&shown, &SHEET)?;
        match self.listing.is_plain() {
            true => output::print(&screen::painted(&said(&report), Ink::Faint)),
            false => Ok(()),
        }
    }

    /// One report a line, where there are several.
    fn json(&self, report: &FlowReport) -> String {
        match self.live {
            true => serde_json::to_string(report).unwrap_or_default() + "\n",
            false => output::json(report),
        }
    }
}

/// A flow, and how it was looked at.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    flow: FlowView,
    #[serde(skip)]
    took_ms: u64,
    #[serde(skip)]
    drops_only: bool,
    #[serde(skip)]
    is_estimate: bool,
}

const SHEET: Sheet<Shown> = Sheet {
    columns: &[
        ("From", "FROM"),
        ("To", "TO"),
        ("Protocol", "PROTOCOL"),
        ("Verdict", "VERDICT"),
        ("Frames", "FRAMES"),
        ("Bytes", "BYTES"),
        ("Rate", "RATE"),
    ],
    called: 0,
    rows,
};

/// One for what passed, and one for each reason that something was dropped for.
fn rows(shown: &Shown) -> Vec<Vec<String>> {
    let flow = &shown.flow;
    let row = |verdict: String, [frames, bytes, rate]: [String; 3]| {
        let protocol = match flow.vlan {
            Some(vlan) => format!("{} vlan {vlan}", flow.protocol),
            None => flow.protocol.clone(),
        };
        let (from, to) = (end(&flow.from), end(&flow.to));
        vec![from, to, protocol, verdict, frames, bytes, rate]
    };
    let about = if shown.is_estimate { "~" } else { "" };
    let mut rows = Vec::new();
    if flow.frames > 0 && !shown.drops_only {
        let amounts = [
            amount::count(flow.frames),
            amount::bytes(flow.bytes),
            amount::bits(per_second(flow.bytes, shown.took_ms)),
        ];
        rows.push(row(
            output::word(flow.result),
            amounts.map(|amount| format!("{about}{amount}")),
        ));
    }
    rows.extend(flow.drops.iter().map(|(reason, count)| {
        let amounts = [count.to_string(), "-".to_owned(), "-".to_owned()];
        row(format!("dropped: {reason}"), amounts)
    }));
    rows
}

/// `web:80`, `192.0.2.1:443`, `02:42:ac:11:00:02`, `broadcast`.
fn end(end: &FlowEnd) -> String {
    let address = end
        .address
        .map(|address| match (address, end.transport_port) {
            (std::net::IpAddr::V6(address), Some(_)) => format!("[{address}]"),
            (address, _) => address.to_string(),
        });
    let mac = || match end.mac.as_str() {
        BROADCAST => "broadcast".to_owned(),
        mac => mac.to_owned(),
    };
    let who = end.name.clone().or(address).unwrap_or_else(mac);
    match end.transport_port {
        Some(port) => format!("{who}:{port}"),
        None => who,
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn per_second(bytes: u64, took_ms: u64) -> f64 {
    bytes as f64 * 1000.0 / took_ms.max(1) as f64
}

/// How it was looked, and what is not shown.
fn said(report: &FlowReport) -> String {
    let (seconds, tenths) = (report.took_ms / 1000, report.took_ms % 1000 / 100);
    let how = match report.every {
        0 | 1 => "every frame was looked at".to_owned(),
        every => format!(
            "1 frame in {every} is sampled: frames, bytes and rates are estimates, drops are counted"
        ),
    };
    let mut said = format!("{how}; {seconds}.{tenths} s, {} samples", report.samples);
    if report.lost > 0 {
        said += &format!(", {} more were lost", report.lost);
    }
    if report.more > 0 {
        said += &format!("; {} more flows, --top shows them", report.more);
    }
    said.push('\n');
    if !report.drops.is_empty() {
        let drops = report.drops.iter();
        let drops: Vec<_> = drops
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        said += &format!(
            "dropped at the network's ports meanwhile: {}\n",
            drops.join(", ")
        );
    }
    said
}

const BROADCAST: &str = "ff:ff:ff:ff:ff:ff";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use agent_api::TraceResult;

    use super::*;
    use crate::listing::tests::table;

    fn flow(to: FlowEnd, drops: BTreeMap<String, u64>) -> FlowView {
        FlowView {
            from: FlowEnd {
                name: Some("web".to_owned()),
                mac: "02:42:ac:11:00:02".to_owned(),
                address: None,
                transport_port: Some(80),
            },
            to,
            protocol: "tcp".to_owned(),
            vlan: None,
            port: "web".to_owned(),
            result: TraceResult::Sent,
            frames: 12_340,
            bytes: 18_500_000,
            samples: 12,
            drops,
        }
    }

    fn shown(drops_only: bool) -> [Shown; 2] {
        let outside = FlowEnd {
            address: Some("2001:db8::1".parse().unwrap()),
            transport_port: Some(443),
            ..FlowEnd::default()
        };
        let all = FlowEnd {
            mac: BROADCAST.to_owned(),
            ..FlowEnd::default()
        };
        let drops = BTreeMap::from([("bum_rate".to_owned(), 7)]);
        let mut tagged = flow(all, drops);
        tagged.vlan = Some(10);
        [flow(outside, BTreeMap::new()), tagged].map(|flow| Shown {
            flow,
            took_ms: 3000,
            drops_only,
            is_estimate: true,
        })
    }

    #[test]
    fn estimates_are_marked_and_drops_are_counted() {
        insta::assert_snapshot!(table(&shown(false), &SHEET), @r"
        FROM      TO                  PROTOCOL      VERDICT             FRAMES    BYTES      RATE
        web:80    [2001:db8::1]:443   tcp           sent                ~12.3 k   ~18.5 MB   ~49.3 Mbit/s
        web:80    broadcast           tcp vlan 10   sent                ~12.3 k   ~18.5 MB   ~49.3 Mbit/s
        web:80    broadcast           tcp vlan 10   dropped: bum_rate   7         -          -
        ");
        insta::assert_snapshot!(table(&shown(true), &SHEET), @r"
        FROM      TO          PROTOCOL      VERDICT             FRAMES    BYTES     RATE
        web:80    broadcast   tcp vlan 10   dropped: bum_rate   7         -         -
        ");
    }

    #[test]
    fn the_last_line_says_how_it_was_looked() {
        let report = FlowReport {
            network: "lab".to_owned(),
            took_ms: 3040,
            every: 100,
            samples: 412,
            lost: 3,
            flows: Vec::new(),
            more: 5,
            evicted: 0,
            drops: BTreeMap::from([("bum_rate".to_owned(), 7)]),
        };
        insta::assert_snapshot!(said(&report), @r"
        1 frame in 100 is sampled: frames, bytes and rates are estimates, drops are counted; 3.0 s, 412 samples, 3 more were lost; 5 more flows, --top shows them
        dropped at the network's ports meanwhile: bum_rate 7
        ");
        let each = FlowReport {
            every: 1,
            lost: 0,
            more: 0,
            drops: BTreeMap::new(),
            ..report
        };
        insta::assert_snapshot!(said(&each), @"every frame was looked at; 3.0 s, 412 samples");
    }
}
