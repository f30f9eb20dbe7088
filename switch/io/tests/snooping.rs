//! A network that snoops, with many listeners of many groups who come and go.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "lab/mod.rs"]
mod lab;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::{eventually, internet_sum, switch, tap_port};
use switch_core::{Bridge, BridgeConfig, SnoopingConfig};
use switch_io::{Capabilities, ChannelEnd, EngineChoice, Switch, channel};

/// Of each of the 64 but the first, all groups but the first are a coming and going while a source sends to the first.
#[test]
fn a_group_reaches_its_listener_alone_however_many_others_come_and_go() {
    let switch = switch(EngineChoice::Auto);
    let bridge = Arc::new(Bridge::new(BridgeConfig {
        snooping: Some(SnoopingConfig::default()),
        ..BridgeConfig::default()
    }));
    let source = attach(&switch, &bridge);
    let stations: Vec<_> = (0..STATIONS).map(|_| attach(&switch, &bridge)).collect();
    settle(&source, &stations);
    let [listener, others @ ..] = stations.as_slice() else {
        unreachable!()
    };
    listener.send(&membership(1, GROUP, REPORT));
    eventually("the listener is known", || {
        source.send(&to(GROUP));
        got(listener) > 0
    });

    let over = AtomicBool::new(false);
    let (sent, heard, changes) = std::thread::scope(|scope| {
        let changing = scope.spawn(|| come_and_go(others, &over));
        let hearing = scope.spawn(|| {
            let mut heard = 0;
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_micros(100));
                heard += got(listener);
            }
            heard
        });
        let start = Instant::now();
        let mut sent = 0_u64;
        while start.elapsed() < LOAD {
            match source.send(&to(GROUP)) {
                true => sent += 1,
                false => std::thread::yield_now(),
            }
        }
        over.store(true, Ordering::Relaxed);
        (sent, hearing.join().unwrap(), changing.join().unwrap())
    });
    println!("{sent} frames and {changes} reports in {LOAD:?}, {heard} frames heard");
    assert!(
        sent > 10_000 && heard > 10_000,
        "{sent} sent, {heard} heard"
    );
    assert!(changes > 2 * u64::from(GROUPS) * STATIONS, "{changes}");
}

fn attach(switch: &Switch, bridge: &Arc<Bridge>) -> ChannelEnd {
    let (port, end) = channel(256, Capabilities::NONE).unwrap();
    switch.add_port(bridge, Box::new(port), tap_port()).unwrap();
    end
}

/// Everybody gets everything until all have had the time to say what they want.
fn settle(source: &ChannelEnd, stations: &[ChannelEnd]) {
    let start = Instant::now();
    loop {
        source.send(&to(GROUP));
        std::thread::sleep(Duration::from_millis(200));
        if stations.iter().map(got).sum::<u64>() == 0 {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(40), "never");
    }
}

/// How many frames of the first group have come.
fn got(station: &ChannelEnd) -> u64 {
    let frames = std::iter::from_fn(|| station.try_recv().ok());
    let wanted = frames.filter(|frame| frame.frame()[..6] == mac(GROUP));
    wanted.map(|_| 1).sum()
}

/// Each joins and leaves every other group, and none hears of the first. How many reports it was.
fn come_and_go(stations: &[ChannelEnd], over: &AtomicBool) -> u64 {
    let mut reports = 0;
    while !over.load(Ordering::Relaxed) {
        for kind in [REPORT, LEAVE] {
            for (station, number) in stations.iter().zip(2..) {
                for group in 0..GROUPS {
                    let is_taken = station.send(&membership(number, group, kind));
                    reports += u64::from(is_taken);
                }
                assert_eq!(got(station), 0, "station {number}");
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }
    reports
}

fn mac(group: u8) -> [u8; 6] {
    [1, 0, 0x5e, 1, 1, group]
}

/// A datagram from somebody who listens to nothing.
fn to(group: u8) -> Vec<u8> {
    packet(
        200,
        group,
        17,
        &[0x0f, 0xa0, 0x0f, 0xa1, 0, 12, 0, 0, 1, 2, 3, 4],
    )
}

/// IGMPv2 (RFC 2236 §2).
fn membership(from: u8, group: u8, kind: u8) -> Vec<u8> {
    let mut message = [kind, 0, 0, 0, 239, 1, 1, group];
    let sum = !internet_sum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(from, group, 2, &message)
}

fn packet(from: u8, group: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap();
    let mut header = vec![0x45, 0];
    header.extend(total.to_be_bytes());
    header.extend([0, 0, 0, 0, 1, protocol, 0, 0]);
    header.extend([10, 0, 0, from, 239, 1, 1, group]);
    let sum = !internet_sum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let ethernet = [&mac(group)[..], &[2, 0, 0, 0, 0, from], &[8, 0]].concat();
    [ethernet, header, payload.to_vec()].concat()
}

const STATIONS: u64 = 64;
const GROUPS: u8 = 100;
/// The one that the source sends to.
const GROUP: u8 = 200;
const REPORT: u8 = 0x16;
const LEAVE: u8 = 0x17;
const LOAD: Duration = Duration::from_secs(2);
