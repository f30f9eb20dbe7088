//! `tapestry logs`: what a container's command wrote.

use std::io;

use agent_api::Client;
use agent_container::log::{self, LogStream};

use crate::failure::Failure;
use crate::lines::Lines;
use crate::output;

/// Show what a container's command wrote
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on showing what comes, until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Show the last lines only
    #[arg(short = 'n', long, value_name = "N|all", default_value = "all", value_parser = tail)]
    tail: Tail,
    /// The container's name or id
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tail(Option<u64>);

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let mut stream = client.logs(&args.name, args.follow, args.tail.0).await?;
    let mut lines = Lines::default();
    while let Some(chunk) = stream.chunk().await? {
        for line in lines.take(&chunk).split(|&byte| byte == b'\n') {
            show(line)?;
        }
    }
    Ok(0)
}

/// Writes a record's very bytes to the stream they came from. A line that is no record is left out.
fn show(line: &[u8]) -> Result<(), Failure> {
    match log::parse(line) {
        Some(record) if record.stream == LogStream::Stderr => {
            output::write(io::stderr(), &record.bytes)
        }
        Some(record) => output::write(io::stdout(), &record.bytes),
        None => Ok(()),
    }
}

fn tail(text: &str) -> Result<Tail, String> {
    if text == "all" {
        return Ok(Tail(None));
    }
    let lines = text.parse().map_err(|_| "give a number of lines, or all")?;
    Ok(Tail(Some(lines)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_is_a_number_or_all() {
        assert_eq!(tail("all"), Ok(Tail(None)));
        assert_eq!(tail("10"), Ok(Tail(Some(10))));
        assert!(tail("-1").is_err());
    }
}
