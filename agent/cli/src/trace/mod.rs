//! `tapestry trace`: what becomes of a frame, and why.

mod live;
mod made_up;
mod pcap;
mod text;

use std::path::PathBuf;

use agent_api::{Client, TracePayload, TraceRequest};

use crate::failure::Failure;

/// Say what becomes of a frame, step by step, or follow frames as they pass
///
/// A frame that is made up runs through the network's switch as a real one would, on a copy of it: nothing is sent, learned or
/// counted. What leaves by the host port is followed through the host's routes and the agent's own rules of the packet filter.
/// The status is 0 also for a frame that is dropped; the last line says so, and docs/drops.md what to do.
///
/// With --live, the frames that pass are shown with what becomes of them, drops first; a busy network is sampled. On a network of
/// several hosts, a frame is shown by each switch that it passes, with the host's name; --here leaves out those of other hosts.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["to", "frame", "pcap", "live"]))]
pub(crate) struct Args {
    /// The network's name or id
    network: String,
    /// With --live, only these frames: host A, mac M, port N, arp, ip, ip6, icmp, tcp, udp, with not and and
    #[arg(requires = "live")]
    filter: Vec<String>,
    /// Where the frame comes in: a container, a port's number, host or gateway
    #[arg(long, value_name = "CONTAINER|PORT", required_unless_present = "live")]
    from: Option<String>,
    /// To whom it goes; an echo request, unless told otherwise
    #[arg(long, value_name = "NAME|IP|MAC")]
    to: Option<String>,
    /// A datagram to this port
    #[arg(long, value_name = "PORT", requires = "to", conflicts_with_all = ["tcp", "arp"])]
    udp: Option<u16>,
    /// The first segment of a connection to this port
    #[arg(long, value_name = "PORT", requires = "to", conflicts_with = "arp")]
    tcp: Option<u16>,
    /// The question who has the address, by ARP or neighbor discovery
    #[arg(long, requires = "to")]
    arp: bool,
    /// The frame itself in hexadecimal digits, from the destination MAC on; may be repeated
    #[arg(long, value_name = "HEX")]
    frame: Vec<String>,
    /// The frames of a capture, pcap or pcapng; each finds what those before it left
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Follow the frames that pass, until interrupted
    #[arg(long, conflicts_with = "from")]
    live: bool,
    /// With --live, only frames that are dropped
    #[arg(long, requires = "live")]
    drops: bool,
    /// With --live, only what passes this host's switch
    #[arg(long, requires = "live")]
    here: bool,
    /// With --live, end after so many lines
    #[arg(short = 'c', long, value_name = "N", requires = "live", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    match args.live {
        true => live::run(args, client).await,
        false => made_up::run(args, client).await,
    }
}

impl Args {
    fn request(&self) -> Result<TraceRequest, Failure> {
        let frames = match &self.pcap {
            Some(path) => pcap::frames(path)?,
            None => self.frame.iter().map(|text| digits(text)).collect(),
        };
        Ok(TraceRequest {
            from: self.from.clone().unwrap_or_default(),
            to: self.to.clone(),
            payload: self.payload(),
            frames,
        })
    }

    fn payload(&self) -> Option<TracePayload> {
        match (self.udp, self.tcp, self.arp) {
            (Some(port), _, _) => Some(TracePayload::Udp(port)),
            (_, Some(port), _) => Some(TracePayload::Tcp(port)),
            (_, _, true) => Some(TracePayload::Arp),
            _ => None,
        }
    }
}

/// Without what people put between the digits.
fn digits(text: &str) -> String {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let is_digit = |letter: &char| !letter.is_whitespace() && !matches!(letter, ':' | '-');
    text.chars().filter(is_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_may_be_written_apart() {
        assert_eq!(digits("0x02:42 ac-11"), "0242ac11");
        assert_eq!(digits("zz"), "zz", "the agent says what is wrong");
    }
}
