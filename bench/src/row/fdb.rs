//! The forwarding table alone: size, learning, moving (RFC 2889 §5.7, §5.8, without a wire).

use std::hint::black_box;
use std::time::Instant;

use switch_core::{
    Bridge, BridgeConfig, FdbConfig, Frame, PortConfig, PortId, PortKind, Time, Verdict,
};

use super::{Effort, Metric, Row};
use crate::lab::{Lab, Topology};
use crate::statistics::as_f64;
use crate::trouble::Trouble;

/// What is asked of the table.
#[derive(Debug)]
pub(crate) enum Fdb {
    /// What a unicast frame costs with so many entries.
    Size(u32),
    /// How many new stations a second.
    Learn,
    /// A station speaks on another port; the next frame to it must go there.
    Move,
}

impl Row for Fdb {
    fn name(&self) -> String {
        match self {
            Self::Size(entries) => format!("fdb-{entries}"),
            Self::Learn => "fdb-learn".to_owned(),
            Self::Move => "fdb-move".to_owned(),
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Size(entries) => format!(
                "decision about a unicast frame with {entries} learned entries: between {ACTIVE} stations that talk, and between all"
            ),
            Self::Learn => {
                format!("stations learned a second by one thread, {LEARNED} of them")
            }
            Self::Move => "frames that still went to a moved station's old port after its first frame from the new one".to_owned(),
        }
    }

    fn metrics(&self) -> &'static [Metric] {
        match self {
            Self::Size(_) => const { &[Metric::lower("active", "ns"), Metric::lower("all", "ns")] },
            Self::Learn => const { &[Metric::higher("", "k/s")] },
            Self::Move => const { &[Metric::lower("", "frames")] },
        }
    }

    fn topology(&self) -> Topology {
        Topology::stations(0)
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn run(&self, _lab: &mut Lab, _effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let bridge = bridge();
        match self {
            Self::Size(entries) => costs_ns(&bridge, *entries),
            Self::Learn => Ok(vec![learned_a_second(&bridge)? / 1e3]),
            Self::Move => Ok(vec![f64::from(astray(&bridge)?)]),
        }
    }
}

/// Between the stations that talk, and between all.
fn costs_ns(bridge: &Bridge, entries: u32) -> Result<Vec<f64>, Trouble> {
    for station in 0..entries {
        learn(bridge, station, port_of(station))?;
    }
    Ok(vec![
        cost_ns(bridge, ACTIVE.min(entries))?,
        cost_ns(bridge, entries)?,
    ])
}

fn learned_a_second(bridge: &Bridge) -> Result<f64, Trouble> {
    let start = Instant::now();
    for station in 0..LEARNED {
        learn(bridge, station, port_of(station))?;
    }
    Ok(f64::from(LEARNED) / start.elapsed().as_secs_f64())
}

/// Frames to the old port of a station that moved.
fn astray(bridge: &Bridge) -> Result<u32, Trouble> {
    let mut astray = 0_u32;
    for station in 0..1000 {
        learn(bridge, station, PortId(1))?;
        learn(bridge, station, PortId(2))?;
        let bytes = frame(station, WATCHER);
        let verdict = bridge.forward(NOW, PortId(3), &parse(&bytes)?);
        astray += u32::from(verdict != Verdict::Unicast(PortId(2)));
    }
    Ok(astray)
}

/// Ports that learn without limit and without a guard, as uplinks do.
fn bridge() -> Bridge {
    let bridge = Bridge::new(BridgeConfig {
        fdb: FdbConfig {
            learned_max: usize::MAX,
            hash_seed: 7,
            ..FdbConfig::default()
        },
        ..BridgeConfig::default()
    });
    for port in 1..=PORTS {
        bridge.add_port(PortId(port), PortConfig::new(PortKind::Uplink, 1500));
    }
    bridge
}

fn learn(bridge: &Bridge, station: u32, port: PortId) -> Result<(), Trouble> {
    let bytes = frame(WATCHER, station);
    black_box(bridge.forward(NOW, port, &parse(&bytes)?));
    Ok(())
}

/// Nanoseconds a decision between two of the first `stations`, one after the other in an order that no cache foresees.
fn cost_ns(bridge: &Bridge, stations: u32) -> Result<f64, Trouble> {
    let mut place = 1_u32;
    let mut next = || {
        // Numerical Recipes' generator: cheap, and the same in every run.
        place = place.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (place >> 8) % stations
    };
    let frames: Vec<(PortId, Vec<u8>)> = (0..FRAMES)
        .map(|_| {
            let from = next();
            (port_of(from), frame(next(), from))
        })
        .collect();
    let parsed: Vec<(PortId, Frame<'_>)> = frames
        .iter()
        .map(|(port, bytes)| Ok((*port, parse(bytes)?)))
        .collect::<Result<_, Trouble>>()?;
    let mut best = f64::INFINITY;
    for _ in 0..REPEATS {
        let start = Instant::now();
        for (port, frame) in &parsed {
            black_box(bridge.forward(NOW, *port, frame));
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best * 1e9 / as_f64(parsed.len()))
}

fn port_of(station: u32) -> PortId {
    PortId(1 + station % PORTS)
}

/// A unicast frame with nothing in it.
fn frame(to: u32, from: u32) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    bytes[0] = 2;
    bytes[2..6].copy_from_slice(&to.to_be_bytes());
    bytes[6] = 2;
    bytes[8..12].copy_from_slice(&from.to_be_bytes());
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Frame<'_>, Trouble> {
    Frame::parse(bytes).map_err(|reason| Trouble::Unsupported(format!("{reason:?}")))
}

const NOW: Time = Time::from_millis(1000);
const PORTS: u32 = 64;
const ACTIVE: u32 = 100;
const LEARNED: u32 = 100_000;
const WATCHER: u32 = u32::MAX;
const FRAMES: usize = 65_536;
/// The best of these is taken: what disturbs only ever adds.
const REPEATS: usize = 5;
