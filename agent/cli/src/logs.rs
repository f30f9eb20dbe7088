//! `tapestry logs`: what a container's command wrote.

use std::io;

use agent_api::Client;
use serde::Deserialize;

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

/// What the command wrote at once, as the container's supervisor keeps it.
#[derive(Debug, Deserialize)]
struct Record {
    stream: Source,
    text: Option<String>,
    /// Instead of `text`, where that is no UTF-8.
    hex: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Stdout,
    Stderr,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let mut stream = client.logs(&args.name, args.follow, args.tail.0).await?;
    let mut lines = Lines::default();
    while let Some(chunk) = stream.chunk().await? {
        for line in lines.take(&chunk).split_terminator('\n') {
            show(line)?;
        }
    }
    Ok(0)
}

/// Writes a record's very bytes to the stream they came from. A line that is no record is left out.
fn show(line: &str) -> Result<(), Failure> {
    let Ok(record) = serde_json::from_str::<Record>(line) else {
        return Ok(());
    };
    let bytes = match (record.text, record.hex) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(hex)) => bytes_of(&hex),
        (None, None) => return Ok(()),
    };
    match record.stream {
        Source::Stdout => output::write(io::stdout(), &bytes),
        Source::Stderr => output::write(io::stderr(), &bytes),
    }
}

/// Two digits a byte; what is no digit is left out.
fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks_exact(2);
    let digits = pairs.filter_map(|pair| std::str::from_utf8(pair).ok());
    digits
        .filter_map(|pair| u8::from_str_radix(pair, 16).ok())
        .collect()
}

/// Cuts chunks into whole lines.
#[derive(Default)]
struct Lines {
    /// The line that is not whole yet.
    rest: Vec<u8>,
}

impl Lines {
    /// All lines that end in this chunk.
    fn take(&mut self, chunk: &[u8]) -> String {
        self.rest.extend_from_slice(chunk);
        let Some(last) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            return String::new();
        };
        let rest = self.rest.split_off(last + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        String::from_utf8_lossy(&whole).into_owned()
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
        assert_eq!(lines.take(b"ab"), "");
        assert_eq!(lines.take(b"c\nd\ne"), "abc\nd\n");
        assert_eq!(lines.take(b"\n"), "e\n");
    }

    #[test]
    fn hex_gives_back_the_bytes() {
        assert_eq!(bytes_of("ff00"), [0xff, 0]);
    }

    #[test]
    fn tail_is_a_number_or_all() {
        assert_eq!(tail("all"), Ok(Tail(None)));
        assert_eq!(tail("10"), Ok(Tail(Some(10))));
        assert!(tail("-1").is_err());
    }
}
