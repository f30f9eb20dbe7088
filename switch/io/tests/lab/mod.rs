//! Frames, and namespaces with stations, for the tests of the switch.
#![allow(dead_code, unused_imports, reason = "each test program uses its part")]

use std::sync::Arc;

use switch_core::{Bridge, BridgeConfig, PortConfig, PortKind, VnetHeader};
use switch_io::{EngineChoice, Switch, SwitchConfig};

pub(crate) use switch_lab::{Station, enter_private_namespace, eventually, internet_sum};

/// Defines each test once for either engine.
#[macro_export]
macro_rules! on_both_engines {
    ($($name:ident)*) => {
        mod uring {
            $(#[test] fn $name() { super::$name(switch_io::EngineChoice::Uring) })*
        }
        mod epoll {
            $(#[test] fn $name() { super::$name(switch_io::EngineChoice::Epoll) })*
        }
    };
}

pub(crate) fn switch(engine: EngineChoice) -> Switch {
    Switch::start(SwitchConfig {
        engine,
        workers: 2,
        pin: None,
        join: true,
    })
    .unwrap()
}

pub(crate) fn bridge() -> Arc<Bridge> {
    Arc::new(Bridge::new(BridgeConfig::default()))
}

/// One that looks for loops.
pub(crate) fn watchful_bridge() -> Arc<Bridge> {
    Arc::new(Bridge::new(BridgeConfig {
        probe_secret: 0x5ec_4e7,
        ..BridgeConfig::default()
    }))
}

pub(crate) fn tap_port() -> PortConfig {
    PortConfig {
        bum_limit: None,
        ..PortConfig::new(PortKind::Tap, 1500)
    }
}

/// A frame of a local experimental type (IEEE 802 §9.2.3) between stations `src` and `dst`; 255 is everyone.
pub(crate) fn frame(dst: u8, src: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    for station in [dst, src] {
        frame.extend(if station == 255 {
            [255; 6]
        } else {
            [2, 0, 0, 0, 0, station]
        });
    }
    frame.extend([0x88, 0xb5]);
    frame.extend(payload);
    frame
}

/// A TCP/IPv4 superframe of `payload_len` bytes from station 1 to station 2, and its header with segments of `size`.
pub(crate) fn superframe(payload_len: u16, size: u16) -> ([u8; VnetHeader::LEN], Vec<u8>) {
    let mut ip = vec![0x45, 0];
    ip.extend((40 + payload_len).to_be_bytes());
    ip.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let checksum = !internet_sum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut tcp = vec![
        0x10, 0, 0x20, 0, 0, 0, 0, 9, 0, 0, 0, 7, 0x50, 0x18, 1, 0, 0, 0, 0, 0,
    ];
    let mut pseudo = vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 6];
    pseudo.extend((20 + payload_len).to_be_bytes());
    tcp[16..18].copy_from_slice(&internet_sum(&pseudo).to_be_bytes());
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    bytes.extend(ip);
    bytes.extend(tcp);
    bytes.extend((0..payload_len).map(|n| n.to_le_bytes()[0]));
    (vnet(1, 1, 54, size, 34, 16), bytes)
}

pub(crate) fn vnet(
    flags: u8,
    gso_type: u8,
    header_len: u16,
    gso_size: u16,
    start: u16,
    offset: u16,
) -> [u8; 10] {
    let mut raw = [flags, gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
    for (at, field) in [(2, header_len), (4, gso_size), (6, start), (8, offset)] {
        raw[at..at + 2].copy_from_slice(&field.to_ne_bytes());
    }
    raw
}
