//! Whatever a station sends, the switch lives on and every frame is accounted for.

#![allow(clippy::unwrap_used, reason = "tests")]

mod lab;

use std::io;

use lab::{bridge, eventually, frame, superframe, tap_port};
use proptest::prelude::*;
use switch_core::PortId;
use switch_io::{Capabilities, ChannelEnd, EngineChoice, Switch, SwitchConfig, channel};

type Envelope = ([u8; 10], Vec<u8>);

/// Nonsense, and a superframe with nonsense written over parts of it and its header.
fn envelopes() -> impl Strategy<Value = Vec<Envelope>> {
    let nonsense = (
        any::<[u8; 10]>(),
        prop::collection::vec(any::<u8>(), 0..200),
    );
    let faults = prop::collection::vec((0..70_usize, any::<u8>()), 0..4);
    let damaged = (100..8000_u16, 1..1500_u16, faults).prop_map(|(len, size, faults)| {
        let (mut header, mut bytes) = superframe(len, size);
        for (at, value) in faults {
            match header.get_mut(at) {
                Some(byte) => *byte = value,
                None => bytes[at - header.len()] = value,
            }
        }
        (header, bytes)
    });
    prop::collection::vec(prop_oneof![nonsense, damaged], 1..60)
}

fn attach(switch: &Switch, bridge: &std::sync::Arc<switch_core::Bridge>) -> (PortId, ChannelEnd) {
    let (port, end) = channel(1024, Capabilities::ALL).unwrap();
    (
        switch.add_port(bridge, Box::new(port), tap_port()).unwrap(),
        end,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_frame_is_sent_once_or_dropped_once(envelopes in envelopes(), uring: bool) {
        let engine = if uring { EngineChoice::Uring } else { EngineChoice::Epoll };
        let switch = Switch::start(SwitchConfig { engine, ..SwitchConfig::default() }).unwrap();
        let bridge = bridge();
        let (from, station) = attach(&switch, &bridge);
        let (to, other) = attach(&switch, &bridge);
        for (header, bytes) in &envelopes {
            prop_assert!(station.send_with(header, bytes));
        }
        let count = u64::try_from(envelopes.len()).unwrap();
        eventually("every frame is accounted for", || {
            let (from, to) = (switch.counters(from).unwrap(), switch.counters(to).unwrap());
            let dropped: u64 = from.drop_reasons().map(|(_, count)| count).sum();
            from.rx_frames == count && to.tx_frames + dropped == count
        });
        let received = std::iter::from_fn(|| other.try_recv().ok()).count();
        prop_assert_eq!(u64::try_from(received).unwrap(), switch.counters(to).unwrap().tx_frames);

        let honest = frame(255, 9, b"still here");
        station.send(&honest);
        let mut last = other.recv_timeout(std::time::Duration::from_secs(5));
        while let Ok(next) = other.try_recv() {
            last = io::Result::Ok(next);
        }
        let last = last.unwrap();
        prop_assert_eq!(last.frame(), &honest[..]);
    }
}
