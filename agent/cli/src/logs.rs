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
    /// Put the time before each line
    #[arg(short, long)]
    timestamps: bool,
    /// The container's name or id
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tail(Option<u64>);

/// A line of the log, as the container's supervisor writes it.
#[derive(Debug, Deserialize)]
struct Entry {
    log: String,
    stream: String,
    time: String,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let mut stream = client.logs(&args.name, args.follow, args.tail.0).await?;
    let mut lines = Lines::default();
    while let Some(chunk) = stream.chunk().await? {
        for line in lines.take(&chunk).split_terminator('\n') {
            show(line, args.timestamps)?;
        }
    }
    Ok(0)
}

/// What the command wrote to standard error goes to ours; a line that is no entry is shown as it is.
fn show(line: &str, timestamps: bool) -> Result<(), Failure> {
    let Ok(entry) = serde_json::from_str::<Entry>(line) else {
        return output::print(&format!("{line}\n"));
    };
    let text = if timestamps {
        format!("{} {}", entry.time, entry.log)
    } else {
        entry.log
    };
    match entry.stream.as_str() {
        "stderr" => output::write(io::stderr(), text.as_bytes()),
        _ => output::print(&text),
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
    fn tail_is_a_number_or_all() {
        assert_eq!(tail("all"), Ok(Tail(None)));
        assert_eq!(tail("10"), Ok(Tail(Some(10))));
        assert!(tail("-1").is_err());
    }
}
