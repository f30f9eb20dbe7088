//! `tapestry capture`: what passes a network, a container or one port, as lines or as pcapng.

mod files;
mod filter;
mod recording;
mod text;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use agent_api::{Capture, Client, ClientError, LogStream};

use self::files::{Files, Ring};
use self::recording::{Limits, Recording, Sink};
use self::text::Text;
use crate::failure::Failure;

/// Capture the frames of a network, a container or one port
///
/// Prints a line for each frame, or writes pcapng, which Wireshark and tcpdump read. Of a network, every port of this host is
/// captured, also those that come later. A capture that does not keep up loses frames of the capture, which are counted, and
/// none of the traffic.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tapestry capture lab icmp                          every ping on network lab
  tapestry capture web:eth0 -w web.pcapng            one link of a container
  tapestry capture lab:host -c 10                    the network's way out
  tapestry capture lab -w - | wireshark -k -i -      live in Wireshark
  ssh host tapestry capture lab -w - | wireshark -k -i -
  tapestry capture lab -w lab.pcapng -C 100 -W 5     the last 500 MB, in five files")]
pub(crate) struct Args {
    /// Write pcapng to this file; - is standard output
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after so many frames
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Keep so many bytes of each frame
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(14..=262_144))]
    snaplen: Option<u32>,
    /// End after a time, as in 30s, 5m or 1h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Begin another file when one has so many million bytes, or what k, m or g stands for
    #[arg(short = 'C', long, value_name = "SIZE", value_parser = size, requires = "write")]
    ring_size: Option<u64>,
    /// Keep so many files, and overwrite the oldest
    #[arg(short = 'W', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), requires = "ring_size")]
    ring_files: Option<u32>,
    /// A network or a container, or one port of it: web:eth0, lab:web, lab:host, lab:3
    #[arg(value_name = "NAME[:PORT]")]
    target: String,
    /// Only frames that match, in tcpdump's language: icmp and host 10.0.0.2
    filter: Vec<String>,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let is_stdout = args.write.as_deref().is_some_and(|path| path == "-");
    if is_stdout && std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "a capture is nothing for a terminal; add: | wireshark -k -i -, or leave out -w for lines",
        ));
    }
    if is_stdout && args.ring_size.is_some() {
        return Err(Failure::usage(
            "standard output is one stream; files in a ring need a name, as in: -w lab.pcapng",
        ));
    }
    let snap_len = args.snap_len();
    let filter = args.filter.join(" ");
    let (name, of) = match args.target.split_once(':') {
        Some((name, of)) => (name, Some(of.to_owned())),
        None => (args.target.as_str(), None),
    };
    let capture = Capture {
        of,
        snap_len,
        program: filter::compile(&filter, snap_len.unwrap_or(SNAP_LEN_MAX))?,
        filter,
    };
    let stream = ask(client, name, &capture).await?;
    // Only now: a capture that the agent refuses leaves no file behind.
    let sink = match &args.write {
        None => Sink::Text(Text::new()),
        Some(_) if is_stdout => Sink::Stdout,
        Some(path) => Sink::Files(Files::create(path, args.ring())?),
    };
    let limits = Limits {
        count: args.count,
        duration: args.duration,
    };
    let told = format!("capturing {}; ^C ends it", args.target);
    Recording::new(sink).run(stream, limits, &told).await
}

impl Args {
    /// For a line, the headers are enough.
    fn snap_len(&self) -> Option<u32> {
        self.snaplen
            .or_else(|| self.write.is_none().then_some(SNAP_LEN_OF_LINES))
    }

    fn ring(&self) -> Option<Ring> {
        self.ring_size.map(|size| Ring {
            size,
            files: self.ring_files,
        })
    }
}

/// A container is meant before a network that is called so, as with `inspect`.
async fn ask(client: &Client, name: &str, capture: &Capture) -> Result<LogStream, Failure> {
    match client.capture_container(name, capture).await {
        Err(error) if error.is_not_found() => {}
        answer => return Ok(answer?),
    }
    client.capture_network(name, capture).await.map_err(|error| {
        if error.is_not_found() {
            return Failure::said(format!(
                "no container and no network is called {name:?}; `tapestry ps` and `tapestry network ls` list them"
            ));
        }
        ClientError::into(error)
    })
}

/// `30s`, `5m`, `1h`; a bare number is of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("write a time with s, m or h, as in 30s".to_owned()),
    };
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
    let seconds = number.and_then(|number| number.checked_mul(seconds));
    let seconds = seconds.filter(|seconds| *seconds <= DURATION_MAX_S);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "write a whole number and s, m or h, as in 30s; at most 8760h".to_owned())
}

/// A bare number is of millions of bytes, as tcpdump has it.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 1_000_000,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return Err("write millions of bytes, or a number with k, m or g".to_owned()),
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .and_then(|it| it.checked_mul(unit));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "write a whole number, as in 100 for 100 MB".to_owned())
}

const SNAP_LEN_MAX: u32 = 262_144;
const SNAP_LEN_OF_LINES: u32 = 256;
const DURATION_MAX_S: u64 = 8760 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(size("100"), Ok(100_000_000));
        assert_eq!(size("64k"), Ok(65_536));
        for wrong in ["", "0", "s", "-1s", "1.5h", "3d", "9999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0", "k", "-1", "3x", "99999999999999999999"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
