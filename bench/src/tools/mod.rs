//! The traffic tools: this program again, as a process of its own inside a station's namespace.
//!
//! A tool says `ready`, then answers each line of JSON on its standard input with one line on its standard output, and
//! ends with its input. So a search makes no processes, and the CPU time of each end is a process's own.

mod latency;
mod udp_send;
mod udp_sink;
mod wire;

use std::io::{BufRead, Write};

use clap::Subcommand;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::trouble::Trouble;

pub(crate) use latency::{Exchange, Latencies};
pub(crate) use udp_send::{Send, Sent};
pub(crate) use udp_sink::{Count, Counted};
pub(crate) use wire::{Move, Moved};

/// Which tool this process is.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Tool {
    /// Sends datagrams at a rate.
    UdpSend(udp_send::Options),
    /// Counts datagrams.
    UdpSink(udp_sink::Options),
    /// Answers one byte with one byte.
    RrServer(latency::ServerOptions),
    /// Asks, and measures how long answers take.
    RrClient(latency::ClientOptions),
    /// Moves a MAC from one port to another.
    Wire(wire::Options),
}

impl Tool {
    /// Does its work until the standard input ends.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        match self {
            Self::UdpSend(options) => udp_send::run(&options),
            Self::UdpSink(options) => udp_sink::run(&options),
            Self::RrServer(options) => latency::serve(&options),
            Self::RrClient(options) => latency::ask(&options),
            Self::Wire(options) => wire::run(&options),
        }
    }
}

/// Says `ready`, then answers request by request.
fn answer<Q: DeserializeOwned, A: Serialize>(
    mut work: impl FnMut(Q) -> Result<A, Trouble>,
) -> Result<(), Trouble> {
    let failed = |error: serde_json::Error| Trouble::Tool {
        tool: "request".to_owned(),
        reason: error.to_string(),
    };
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(Trouble::io("standard input"))?;
        let request = serde_json::from_str(&line).map_err(failed)?;
        let answer = work(request)?;
        say(&serde_json::to_string(&answer).map_err(failed)?)?;
    }
    Ok(())
}

fn say(line: &str) -> Result<(), Trouble> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(Trouble::io("standard output"))
}

/// Buffer of every measuring socket: large, so that the switch is what drops.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
const UDP_PORT: u16 = 5999;
