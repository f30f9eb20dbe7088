//! `tapestry logs`: what a container's command wrote.

use std::io;

use agent_api::Client;
use agent_daemon::container::log::{self, LogStream};

use crate::failure::Failure;
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

/// Cuts chunks into whole lines.
#[derive(Default)]
struct Lines {
    /// The line that is not whole yet.
    rest: Vec<u8>,
}

impl Lines {
    /// All lines that end in this chunk.
    fn take(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(chunk);
        let Some(last) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            return Vec::new();
        };
        let rest = self.rest.split_off(last + 1);
        std::mem::replace(&mut self.rest, rest)
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
    fn lines_are_put_together_from_chunks() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"ab"), b"");
        assert_eq!(lines.take(b"c\nd\ne"), b"abc\nd\n");
        assert_eq!(lines.take(b"\n"), b"e\n");
    }

    #[test]
    fn tail_is_a_number_or_all() {
        assert_eq!(tail("all"), Ok(Tail(None)));
        assert_eq!(tail("10"), Ok(Tail(Some(10))));
        assert!(tail("-1").is_err());
    }
}
