//! Moves a MAC between two ports and measures how long frames to it still go to the old one (RFC 2889 §5.8 in spirit).
//!
//! One process holds a packet socket in each of three namespaces. `watch` sends frames to the MAC without pause; the MAC
//! speaks on `old`, then on `new`; the time from that to the first frame that arrives on `new` is the answer.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use switch_io::packet::PacketSocket;

use super::answer;
use crate::netns::enter;
use crate::trouble::Trouble;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[arg(long)]
    watch: PathBuf,
    #[arg(long)]
    old: PathBuf,
    #[arg(long)]
    new: PathBuf,
    #[arg(long)]
    link: String,
}

/// Asks for one move of the `index`th MAC.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Move {
    pub(crate) index: u8,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Moved {
    /// `None`: not within the limit.
    pub(crate) after_us: Option<f64>,
}

pub(super) fn run(options: &Options) -> Result<(), Trouble> {
    let open = |netns: &PathBuf| {
        enter(netns, || PacketSocket::open(&options.link))?
            .map_err(Trouble::io("cannot open a packet socket"))
    };
    let (watch, old, new) = (
        open(&options.watch)?,
        open(&options.old)?,
        open(&options.new)?,
    );
    answer(|request: Move| {
        let station = [0x02, 0xbe, 0, 0, 0, request.index];
        let failed = || Trouble::io("packet socket");
        old.send(&NO_VNET, &frame(BROADCAST, station))
            .map_err(failed())?;
        // The old place has to be known, or there is nothing to move.
        arrival(&watch, &old, station).map_err(failed())?;
        drain(&new).map_err(failed())?;
        let start = Instant::now();
        new.send(&NO_VNET, &frame(BROADCAST, station))
            .map_err(failed())?;
        let arrived = arrival(&watch, &new, station).map_err(failed())?;
        Ok(Moved {
            after_us: arrived.map(|when| when.duration_since(start).as_secs_f64() * 1e6),
        })
    })
}

/// Sends frames from `watch` to `station` until one comes out at `place`.
fn arrival(
    watch: &PacketSocket,
    place: &PacketSocket,
    station: [u8; 6],
) -> std::io::Result<Option<Instant>> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        watch.send(&NO_VNET, &frame(station, WATCHER))?;
        while let Some(received) = place.receive(Duration::from_millis(1))? {
            if received.frame.starts_with(&station) {
                return Ok(Some(Instant::now()));
            }
        }
    }
    Ok(None)
}

fn drain(socket: &PacketSocket) -> std::io::Result<()> {
    while socket.receive(Duration::from_millis(5))?.is_some() {}
    Ok(())
}

/// The shortest frame, of an EtherType for experiments (IEEE 802.1, 0x88B5).
fn frame(to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&from);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}

const WATCHER: [u8; 6] = [0x02, 0xbe, 0, 0, 1, 0];
const BROADCAST: [u8; 6] = [0xff; 6];
const NO_VNET: [u8; 10] = [0; 10];
const LIMIT: Duration = Duration::from_secs(1);
