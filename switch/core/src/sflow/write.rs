//! Records from what they say.

use std::net::IpAddr;

use super::{FlowRecord, PortRecord, Source, output};
use crate::{DropReason, PortCounts};

/// What is before the records.
pub(super) fn head(agent: IpAddr, number: u32, uptime_ms: u32, records: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(super::Exporter::DATAGRAM_LEN_MAX);
    word(&mut out, VERSION);
    match agent {
        IpAddr::V4(address) => {
            word(&mut out, 1);
            out.extend(address.octets());
        }
        IpAddr::V6(address) => {
            word(&mut out, 2);
            out.extend(address.octets());
        }
    }
    word(&mut out, 0);
    for field in [number, uptime_ms, records] {
        word(&mut out, field);
    }
    out
}

/// A flow sample.
pub(super) fn flow(source: Source, flow: &FlowRecord<'_>) -> Vec<u8> {
    let (format, value) = output(flow.verdict);
    let head = &flow.head[..flow.head.len().min(HEADER_LEN_MAX)];
    record(FLOW_SAMPLE_EXPANDED, |out| {
        let port = flow.ingress.0;
        let (pool, lost) = (source.pool, 0);
        for field in [source.flows, IF_INDEX, port, flow.stands_for, pool, lost] {
            word(out, field);
        }
        for field in [0, port, format, value, 1] {
            word(out, field);
        }
        out.extend(record(RAW_HEADER, |out| {
            let on_wire = flow.len.saturating_add(CHECK_LEN);
            for field in [ETHERNET, on_wire, CHECK_LEN] {
                word(out, field);
            }
            opaque(out, head);
        }));
    })
}

/// A counters sample.
pub(super) fn port(source: Source, port: &PortRecord<'_>) -> Vec<u8> {
    record(COUNTERS_SAMPLE_EXPANDED, |out| {
        for field in [source.counters, IF_INDEX, port.port.0, 2] {
            word(out, field);
        }
        out.extend(record(GENERIC, |out| generic(out, port)));
        let name = port.name.as_bytes();
        out.extend(record(PORT_NAME, |out| {
            opaque(out, &name[..name.len().min(NAME_LEN_MAX)]);
        }));
    })
}

fn generic(out: &mut Vec<u8>, port: &PortRecord<'_>) {
    let counts = port.counts;
    let (at_egress, at_ingress) = dropped(counts);
    word(out, port.port.0);
    word(out, ETHERNET_CSMACD);
    // No speed is said: it is what the processor makes of it.
    out.extend(0_u64.to_be_bytes());
    word(out, FULL_DUPLEX);
    word(
        out,
        if port.is_up {
            ADMIN_UP | OPER_UP
        } else {
            ADMIN_UP
        },
    );
    out.extend(counts.rx_bytes.to_be_bytes());
    // Kinds of frames are not counted apart.
    for field in [
        low(counts.rx_frames),
        UNKNOWN,
        UNKNOWN,
        low(at_ingress),
        UNKNOWN,
        UNKNOWN,
    ] {
        word(out, field);
    }
    out.extend(counts.tx_bytes.to_be_bytes());
    for field in [
        low(counts.tx_frames),
        UNKNOWN,
        UNKNOWN,
        low(at_egress),
        UNKNOWN,
    ] {
        word(out, field);
    }
    word(out, NOT_PROMISCUOUS);
}

/// What was for the port, and what came from it.
fn dropped(counts: &PortCounts) -> (u64, u64) {
    let sum = |at_egress: bool| {
        let drops = counts.drop_reasons();
        let drops = drops.filter(|(reason, _)| DropReason::is_at_egress(*reason) == at_egress);
        drops.map(|(_, count)| count).sum()
    };
    (sum(true), sum(false))
}

/// Counters of 32 bits start over.
fn low(count: u64) -> u32 {
    u32::try_from(count & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

fn record(kind: u32, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    word(&mut out, kind);
    word(&mut out, 0);
    body(&mut out);
    let len = u32::try_from(out.len() - 8).unwrap_or(u32::MAX);
    out[4..8].copy_from_slice(&len.to_be_bytes());
    out
}

fn opaque(out: &mut Vec<u8>, bytes: &[u8]) {
    word(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
    let padding = bytes.len().next_multiple_of(4) - bytes.len();
    out.extend(std::iter::repeat_n(0, padding));
}

fn word(out: &mut Vec<u8>, word: u32) {
    out.extend_from_slice(&word.to_be_bytes());
}

const VERSION: u32 = 5;
/// With an IPv6 address.
pub(super) const HEAD_LEN_MAX: usize = 40;
const FLOW_SAMPLE_EXPANDED: u32 = 3;
const COUNTERS_SAMPLE_EXPANDED: u32 = 4;
const RAW_HEADER: u32 = 1;
const GENERIC: u32 = 1;
const PORT_NAME: u32 = 1005;
/// What a number of a data source is.
const IF_INDEX: u32 = 0;
const ETHERNET: u32 = 1;
/// The frame check sequence, which is on a wire and nowhere here.
const CHECK_LEN: u32 = 4;
/// IANAifType.
const ETHERNET_CSMACD: u32 = 6;
const FULL_DUPLEX: u32 = 1;
const ADMIN_UP: u32 = 1;
const OPER_UP: u32 = 2;
const NOT_PROMISCUOUS: u32 = 2;
const UNKNOWN: u32 = u32::MAX;
/// As most agents take.
const HEADER_LEN_MAX: usize = 128;
const NAME_LEN_MAX: usize = 255;
