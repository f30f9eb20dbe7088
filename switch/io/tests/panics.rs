//! A worker that panics takes nobody along.

#![allow(clippy::unwrap_used, reason = "tests")]

mod lab;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lab::{bridge, eventually, frame, tap_port};
use switch_core::{Block, Bridge, PortConfig, PortId, PortKind};
use switch_io::{
    Capabilities, ChannelEnd, ChannelPort, EngineChoice, FrameBuffer, FramePort, Switch,
    SwitchConfig, SwitchEvent, Written, channel,
};

on_both_engines! {
    a_panic_while_reading_takes_no_port_along
    a_panic_while_writing_takes_no_port_along
    ports_come_and_go_while_workers_end
    a_sandboxs_port_that_ends_workers_time_and_again_is_cut_off
    a_port_that_the_host_needs_breaks_the_switch_instead
    a_thousand_ports_have_a_new_worker_at_once
}

const WAIT: Duration = Duration::from_secs(10);

/// Panics as often as it was told to.
struct Panicky {
    channel: ChannelPort,
    faults: Arc<PlannedFaults>,
}

#[derive(Default)]
struct PlannedFaults {
    reads: AtomicU32,
    writes: AtomicU32,
}

fn take(fault: &AtomicU32) {
    let planned = fault.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(1)
    });
    assert!(planned.is_err(), "as if the device had a fault");
}

impl FramePort for Panicky {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let read = self.channel.read(buffers);
        take(&self.faults.reads);
        read
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        take(&self.faults.writes);
        self.channel.write(envelopes)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }
}

/// A switch of one worker, with two stations that are well and one whose device is not.
struct Ward {
    switch: Switch,
    bridge: Arc<Bridge>,
    well: [ChannelEnd; 2],
    ill: ChannelEnd,
    ill_port: PortId,
    faults: Arc<PlannedFaults>,
}

impl Ward {
    fn new(engine: EngineChoice, kind: PortKind) -> Self {
        let config = SwitchConfig {
            engine,
            workers: 1,
            ..SwitchConfig::default()
        };
        let switch = Switch::start(config).unwrap();
        let bridge = bridge();
        let well = [1, 2].map(|_| attach(&switch, &bridge));
        let (channel, ill) = channel(1024, Capabilities::ALL).unwrap();
        let faults = Arc::new(PlannedFaults::default());
        let device = Panicky {
            channel,
            faults: Arc::clone(&faults),
        };
        let config = PortConfig { kind, ..tap_port() };
        let ill_port = switch.add_port(&bridge, Box::new(device), config).unwrap();
        let ward = Self {
            switch,
            bridge,
            well,
            ill,
            ill_port,
            faults,
        };
        ward.exchange(&ward.well[0], 1, &ward.ill, 3);
        ward.exchange(&ward.well[1], 2, &ward.ill, 3);
        ward
    }

    /// One station asks, the other answers.
    fn exchange(&self, one: &ChannelEnd, one_mac: u8, other: &ChannelEnd, other_mac: u8) {
        let start = Instant::now();
        loop {
            one.send(&frame(other_mac, one_mac, b"ask"));
            if arrives(other, b"ask") {
                other.send(&frame(one_mac, other_mac, b"answer"));
                if arrives(one, b"answer") {
                    return;
                }
            }
            assert!(
                start.elapsed() < WAIT,
                "{one_mac} does not reach {other_mac}"
            );
        }
    }

    fn assert_others_are_well(&self) {
        self.exchange(&self.well[0], 1, &self.well[1], 2);
    }

    fn ended(&self, count: u64) {
        eventually("workers are replaced", || self.switch.restarts() == count);
    }
}

fn attach(switch: &Switch, bridge: &Arc<Bridge>) -> ChannelEnd {
    let (port, end) = channel(1024, Capabilities::ALL).unwrap();
    switch.add_port(bridge, Box::new(port), tap_port()).unwrap();
    end
}

/// Whether a frame with this payload comes soon.
fn arrives(end: &ChannelEnd, payload: &[u8]) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(200) {
        if let Ok(received) = end.recv_timeout(Duration::from_millis(200))
            && received.frame()[14..].starts_with(payload)
        {
            return true;
        }
    }
    false
}

fn a_panic_while_reading_takes_no_port_along(engine: EngineChoice) {
    let ward = Ward::new(engine, PortKind::Tap);
    for round in 1..4 {
        ward.faults.reads.store(1, Ordering::Relaxed);
        ward.ill.send(&frame(1, 3, b"what the device panics at"));
        ward.ended(round);
        ward.assert_others_are_well();
    }
    ward.exchange(&ward.ill, 3, &ward.well[0], 1);
}

fn a_panic_while_writing_takes_no_port_along(engine: EngineChoice) {
    let ward = Ward::new(engine, PortKind::Tap);
    for round in 1..4 {
        ward.faults.writes.store(1, Ordering::Relaxed);
        ward.well[0].send(&frame(3, 1, b"what the device panics at"));
        ward.ended(round);
        ward.assert_others_are_well();
    }
    ward.exchange(&ward.ill, 3, &ward.well[0], 1);
}

fn ports_come_and_go_while_workers_end(engine: EngineChoice) {
    let ward = Ward::new(engine, PortKind::Tap);
    for round in 1..=6 {
        ward.faults.reads.store(1, Ordering::Relaxed);
        ward.ill.send(&frame(1, 3, b"what the device panics at"));
        let (port, end) = channel(64, Capabilities::ALL).unwrap();
        let added = ward
            .switch
            .add_port(&ward.bridge, Box::new(port), tap_port());
        ward.exchange(&end, 9, &ward.well[0], 1);
        ward.switch.remove_port(added.unwrap());
        ward.ended(round);
    }
    ward.assert_others_are_well();
}

fn a_sandboxs_port_that_ends_workers_time_and_again_is_cut_off(engine: EngineChoice) {
    let ward = Ward::new(engine, PortKind::Tap);
    let events = ward.switch.events();
    ward.faults.reads.store(u32::MAX, Ordering::Relaxed);
    ward.ill.send(&frame(1, 3, b"what the device panics at"));
    let blocked = SwitchEvent::PortBlocked(ward.ill_port, Block::Fault);
    eventually("the port is cut off", || {
        let _ = ward.ill.send(&frame(1, 3, b"more of it"));
        events.try_recv() == Ok(blocked)
    });
    ward.assert_others_are_well();
    assert_eq!(ward.bridge.blocked(ward.ill_port), Some(Block::Fault));
    let restarts = ward.switch.restarts();
    ward.well[0].send(&frame(3, 1, b"for whom is cut off"));
    ward.ill.send(&frame(1, 3, b"from whom is cut off"));
    ward.assert_others_are_well();
    assert_eq!(ward.switch.restarts(), restarts);
    let counts = ward.switch.counters(ward.ill_port).unwrap();
    assert_eq!(counts.tx_frames, 2, "what came before");
    ward.switch.remove_port(ward.ill_port);
    assert!(ward.switch.counters(ward.ill_port).is_none());
}

fn a_port_that_the_host_needs_breaks_the_switch_instead(engine: EngineChoice) {
    let ward = Ward::new(engine, PortKind::Host);
    let events = ward.switch.events();
    ward.faults.reads.store(u32::MAX, Ordering::Relaxed);
    eventually("the switch is broken", || {
        let _ = ward.ill.send(&frame(1, 3, b"what the device panics at"));
        events.try_recv() == Ok(SwitchEvent::Broken)
    });
    assert_eq!(ward.bridge.blocked(ward.ill_port), None);
}

fn a_thousand_ports_have_a_new_worker_at_once(engine: EngineChoice) {
    let ward = Ward::new(engine, PortKind::Tap);
    let crowd = bridge();
    let crowded: Vec<_> = (0..1000).map(|_| attach(&ward.switch, &crowd)).collect();
    ward.faults.reads.store(1, Ordering::Relaxed);
    let start = Instant::now();
    ward.ill.send(&frame(1, 3, b"what the device panics at"));
    ward.ended(1);
    ward.assert_others_are_well();
    println!("others are well after {:?}", start.elapsed());
    let last = &crowded[999];
    last.send(&frame(255, 9, b"ask"));
    assert!(arrives(&crowded[0], b"ask"));
}
