//! `tapestry dns`: what a network's containers ask their name server.

use agent_api::{Client, QueryLogEntry};

use crate::failure::Failure;
use crate::lines::Lines;
use crate::output;

/// Watch the names that a network's containers ask for
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Log(Log),
}

/// Show queries as they are answered, until interrupted
#[derive(Debug, clap::Args)]
pub(crate) struct Log {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// The network's name or id
    network: String,
}

pub(crate) async fn run(verb: Verb, client: &Client) -> Result<u8, Failure> {
    let Verb::Log(args) = verb;
    let mut stream = client.dns_log(&args.network).await?;
    let mut lines = Lines::default();
    while let Some(chunk) = stream.chunk().await? {
        let whole = lines.take(&chunk);
        if args.json {
            output::print(&String::from_utf8_lossy(&whole))?;
            continue;
        }
        for line in whole.split(|&byte| byte == b'\n') {
            // A line that is no entry comes from another version, and is left out.
            if let Ok(entry) = serde_json::from_slice(line) {
                output::print(&shown(&entry))?;
            }
        }
    }
    Ok(0)
}

/// `web (10.0.0.2) A www.example.com. NOERROR 2 forwarded 1.2 ms`.
fn shown(entry: &QueryLogEntry) -> String {
    let missed = match entry.missed {
        0 => String::new(),
        missed => format!("({missed} queries not shown)\n"),
    };
    let source = match &entry.endpoint {
        Some(name) => format!("{name} ({})", entry.source),
        None => entry.source.to_string(),
    };
    let took_us = entry.took_us;
    format!(
        "{missed}{source} {} {} {} {} {} {}.{} ms\n",
        or_dash(&entry.record_type),
        or_dash(&entry.name),
        or_dash(&entry.code),
        entry.answers,
        output::word(entry.outcome),
        took_us / 1000,
        took_us % 1000 / 100,
    )
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_api::{QueryOutcome, QueryTransport};

    #[test]
    fn an_entry_is_one_line() {
        let entry = QueryLogEntry {
            at_ms: 0,
            source: [10, 0, 0, 2].into(),
            endpoint: Some("web".into()),
            transport: QueryTransport::Udp,
            name: "www.example.com.".into(),
            record_type: "A".into(),
            outcome: QueryOutcome::Forwarded,
            code: "NOERROR".into(),
            answers: 2,
            took_us: 1234,
            missed: 0,
        };
        insta::assert_snapshot!(shown(&entry), @"web (10.0.0.2) A www.example.com. NOERROR 2 forwarded 1.2 ms");
        let unknown = QueryLogEntry {
            endpoint: None,
            name: String::new(),
            record_type: String::new(),
            code: String::new(),
            outcome: QueryOutcome::Ignored,
            answers: 0,
            missed: 7,
            ..entry
        };
        insta::assert_snapshot!(shown(&unknown), @r"
        (7 queries not shown)
        10.0.0.2 - - - 0 ignored 1.2 ms
        ");
    }
}
