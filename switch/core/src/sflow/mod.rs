//! Samples of frames and counters of ports as sFlow version 5 (<https://sflow.org/sflow_version_5.txt>; RFC 3176 is version 4).
//!
//! # Theory of operation
//!
//! An [`Exporter`] is a poll machine. Samples and counters go in, each as one record; a datagram comes out when the next record would not
//! fit, and when [`Exporter::flush`] asks for what there is. Every port is a data source with numbers of its own, from which a collector
//! finds what was lost on the way. Numbers of ports may be beyond 24 bits, so records are of the expanded kind, and only those.
//!
//! ```text
//! datagram                                             record: flow sample, expanded (0, 3)
//! +--------------------------------------------------+ +-----------------------------------------------------+
//! | 5 | address: 1 IPv4 or 2 IPv6, bytes | sub-agent | | 3 | length | number | source: 0, port | 1 in N       |
//! | number | up for ms | records | record ...        | | pool | lost | in: 0, port | out: format, value        |
//! +--------------------------------------------------+ | 1 | (0, 1) | length | 1 Ethernet | length on the wire |
//!                                                      | stripped | bytes | head, padded to 4                |
//!                                                      +-----------------------------------------------------+
//! record: counters sample, expanded (0, 4)
//! +----------------------------------------------------------------------------------------------------------+
//! | 4 | length | number | source: 0, port | 2 | (0, 1) | 88 | generic counters | (0, 1005) | length | port's name |
//! +----------------------------------------------------------------------------------------------------------+
//! ```
//!
//! All numbers are big-endian (XDR, RFC 4506). The pool is what the samples stand for, since nobody counts frames as the wire would.

#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::{DropReason, PortCounts, PortId, Verdict};

/// A frame that was sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord<'f> {
    pub ingress: PortId,
    pub verdict: Verdict,
    /// It stands for so many.
    pub stands_for: u32,
    /// Of the frame on the wire, without its check sequence.
    pub len: u32,
    /// Its beginning, from the Ethernet header on.
    pub head: &'f [u8],
}

/// A port and what it has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRecord<'n> {
    pub port: PortId,
    pub name: &'n str,
    pub is_up: bool,
    /// "Receive" is what came from the port.
    pub counts: &'n PortCounts,
}

/// Writes datagrams for one collector.
#[derive(Debug)]
pub struct Exporter {
    /// By which the collector knows this host.
    agent: IpAddr,
    datagrams: u32,
    sources: BTreeMap<PortId, Source>,
    /// Records of the next datagram.
    body: Vec<u8>,
    records: u32,
}

/// What a collector hears of a port again and again.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    flows: u32,
    counters: u32,
    pool: u32,
}

impl Exporter {
    /// Bytes of a datagram at most: it crosses Ethernet in one piece, and most tunnels.
    pub const DATAGRAM_LEN_MAX: usize = 1400;

    pub fn new(agent: IpAddr) -> Self {
        Self {
            agent,
            datagrams: 0,
            sources: BTreeMap::new(),
            body: Vec::with_capacity(Self::DATAGRAM_LEN_MAX),
            records: 0,
        }
    }

    /// Takes a sample. Gives the datagram that had no room for it.
    pub fn flow(&mut self, uptime_ms: u32, flow: &FlowRecord<'_>) -> Option<Vec<u8>> {
        let source = self.sources.entry(flow.ingress).or_default();
        source.flows = source.flows.wrapping_add(1);
        source.pool = source.pool.wrapping_add(flow.stands_for);
        let record = write::flow(*source, flow);
        self.add(uptime_ms, &record)
    }

    /// Takes what a port has counted, likewise.
    pub fn port(&mut self, uptime_ms: u32, port: &PortRecord<'_>) -> Option<Vec<u8>> {
        let source = self.sources.entry(port.port).or_default();
        source.counters = source.counters.wrapping_add(1);
        let record = write::port(*source, port);
        self.add(uptime_ms, &record)
    }

    /// The datagram with what has none yet.
    pub fn flush(&mut self, uptime_ms: u32) -> Option<Vec<u8>> {
        if self.records == 0 {
            return None;
        }
        self.datagrams = self.datagrams.wrapping_add(1);
        let mut datagram = write::head(self.agent, self.datagrams, uptime_ms, self.records);
        datagram.append(&mut self.body);
        self.records = 0;
        Some(datagram)
    }

    /// Forgets the ports that are not `open`.
    pub fn forget_but(&mut self, open: impl Fn(PortId) -> bool) {
        self.sources.retain(|port, _| open(*port));
    }

    fn add(&mut self, uptime_ms: u32, record: &[u8]) -> Option<Vec<u8>> {
        let len = write::HEAD_LEN_MAX + self.body.len() + record.len();
        let full = match len > Self::DATAGRAM_LEN_MAX {
            true => self.flush(uptime_ms),
            false => None,
        };
        self.body.extend_from_slice(record);
        self.records += 1;
        full
    }
}

/// Where a frame went, by format and value.
fn output(verdict: Verdict) -> (u32, u32) {
    match verdict {
        Verdict::Unicast(egress) => (SINGLE, egress.0),
        // To how many is not known here.
        Verdict::Flood | Verdict::Group(_) => (MULTIPLE, 0),
        Verdict::Reply | Verdict::Probe | Verdict::Taken => (SINGLE, SWITCH),
        Verdict::Drop(reason) => (DISCARDED, discard(reason)),
    }
}

/// Of the codes that there are, the one that fits best.
const fn discard(reason: DropReason) -> u32 {
    match reason {
        DropReason::Oversize => 262,
        DropReason::BumRate => 261,
        DropReason::QueueFull | DropReason::TapFull => 259,
        DropReason::RogueDhcp | DropReason::RogueRa | DropReason::RogueRedirect => 258,
        _ => 256,
    }
}

const SINGLE: u32 = 0;
const DISCARDED: u32 = 1;
const MULTIPLE: u32 = 2;
/// The switch itself.
const SWITCH: u32 = 0x3fff_ffff;
