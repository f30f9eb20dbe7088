//! The switch between in-process ports: what goes where, what is counted, what is bounded.
#![allow(clippy::unwrap_used, reason = "tests")]

mod lab;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lab::{bridge, eventually, frame, internet_sum, superframe, switch, tap_port, vnet};
use switch_core::{DropReason, Mac, PortConfig, PortId, PortKind, VnetHeader};
use switch_io::{
    Capabilities, ChannelEnd, ChannelPort, EngineChoice, EngineKind, FrameBuffer, FramePort,
    StartSwitch, Switch, SwitchConfig, SwitchEvent, Written, channel, patch,
};

on_both_engines! {
    frames_flood_until_their_destination_is_learned
    a_superframe_reaches_a_strong_port_whole_and_a_weak_one_in_segments
    superframes_and_others_stay_in_order_for_a_weak_port
    superframes_and_others_of_a_flood_stay_in_order_for_a_weak_port
    what_is_short_leaves_before_the_bulk_of_others
    an_open_checksum_is_completed_for_a_weak_port
    lying_vnet_headers_are_dropped_and_counted
    a_stalled_reader_does_not_hurt_another_port
    what_a_port_that_is_not_read_loses_is_counted_there
    frames_longer_than_the_egress_mtu_are_dropped
    a_port_is_removed_under_load
    removal_is_idempotent
    a_station_that_hangs_up_is_reported
    networks_do_not_mix
    the_bridge_answers_for_registered_endpoints
    a_busy_port_does_not_starve_another
    a_polled_port_changes_its_reader_in_order
    ports_spread_while_one_worker_has_too_much
    what_a_trunk_reads_comes_from_the_port_it_names
    what_is_for_one_port_leaves_by_no_other
    a_patch_carries_frames_between_bridges_as_they_are
    what_a_full_patch_drops_is_counted_once
    four_thousand_ports_work
}

const WAIT: Duration = Duration::from_secs(5);

fn attach(
    switch: &Switch,
    bridge: &std::sync::Arc<switch_core::Bridge>,
    config: PortConfig,
) -> (PortId, ChannelEnd) {
    attach_with(switch, bridge, config, 1024, Capabilities::ALL)
}

fn attach_with(
    switch: &Switch,
    bridge: &std::sync::Arc<switch_core::Bridge>,
    config: PortConfig,
    capacity: usize,
    capabilities: Capabilities,
) -> (PortId, ChannelEnd) {
    let (port, end) = channel(capacity, capabilities).unwrap();
    (
        switch.add_port(bridge, Box::new(port), config).unwrap(),
        end,
    )
}

fn is_empty(end: &ChannelEnd) -> bool {
    end.try_recv()
        .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Reads for the port that `origin` names.
struct Trunk {
    channel: ChannelPort,
    origin: Arc<AtomicU32>,
}

impl FramePort for Trunk {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let count = self.channel.read(buffers)?;
        let origin = PortId(self.origin.load(Ordering::Relaxed));
        for buffer in &mut buffers[..count] {
            buffer.set_origin(origin);
        }
        Ok(count)
    }

    fn write(&self, _envelopes: &[&[u8]]) -> Written {
        Written::default()
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }
}

fn a_patch_carries_frames_between_bridges_as_they_are(engine: EngineChoice) {
    let (switch, one, other) = (switch(engine), bridge(), bridge());
    let (_, a) = attach(&switch, &one, tap_port());
    let (_, b) = attach(&switch, &other, tap_port());
    let (to_other, to_one) = patch(64).unwrap();
    let config = PortConfig::new(PortKind::Patch, 1500);
    let to_other = switch.add_port(&one, Box::new(to_other), config).unwrap();
    let to_one = switch.add_port(&other, Box::new(to_one), config).unwrap();
    let (header, whole) = superframe(2_000, 1_000);
    a.send_with(&header, &whole);
    let received = b.recv_timeout(WAIT).unwrap();
    assert_eq!(
        (received.vnet(), received.frame()),
        (&header[..], &whole[..])
    );
    b.send(&frame(1, 2, b"back"));
    assert_eq!(a.recv_timeout(WAIT).unwrap().frame(), frame(1, 2, b"back"));
    assert_eq!(
        one.fdb().lookup(Mac::new([2, 0, 0, 0, 0, 2])),
        Some(to_other)
    );
    switch.remove_port(to_other);
    switch.remove_port(to_one);
    let (_, beside) = attach(&switch, &one, tap_port());
    a.send(&frame(255, 1, b"for this network alone"));
    beside.recv_timeout(WAIT).unwrap();
    assert!(is_empty(&b));
}

fn what_a_full_patch_drops_is_counted_once(engine: EngineChoice) {
    let (switch, one) = (switch(engine), bridge());
    let (_, a) = attach(&switch, &one, tap_port());
    // Nobody reads the other side.
    let (device, _unread) = patch(10).unwrap();
    let config = PortConfig::new(PortKind::Patch, 1500);
    let port = switch.add_port(&one, Box::new(device), config).unwrap();
    for n in 0..25_u16 {
        a.send(&frame(255, 1, &n.to_be_bytes()));
    }
    eventually("drops are counted", || {
        dropped(&switch, port, DropReason::QueueFull) == 15
    });
    let counts = switch.counters(port).unwrap();
    assert_eq!((counts.tx_frames, counts.drop_reasons().count()), (10, 1));
}

fn what_a_trunk_reads_comes_from_the_port_it_names(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (a_port, a) = attach(&switch, &bridge, tap_port());
    let (b_port, b) = attach(&switch, &bridge, tap_port());
    let (channel, outside) = channel(64, Capabilities::ALL).unwrap();
    let origin = Arc::new(AtomicU32::new(b_port.0));
    let trunk = Trunk {
        channel,
        origin: Arc::clone(&origin),
    };
    let trunk_port = switch.add_trunk(Box::new(trunk)).unwrap();
    let sent = frame(9, 2, b"from b, by the trunk");
    outside.send(&sent);
    assert_eq!(a.recv_timeout(WAIT).unwrap().frame(), sent);
    assert!(is_empty(&b), "it is not flooded to where it came from");
    a.send(&frame(2, 1, b"answer"));
    b.recv_timeout(WAIT).unwrap();

    origin.store(4_000_000, Ordering::Relaxed);
    outside.send(&sent);
    eventually("what comes from nowhere is counted", || {
        dropped(&switch, trunk_port, DropReason::NoEgress) == 1
    });
    assert!(is_empty(&a));
    assert_eq!(switch.counters(a_port).unwrap().rx_frames, 1);
}

fn what_is_for_one_port_leaves_by_no_other(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (station_port, station) = attach(&switch, &bridge, tap_port());
    let (_, a) = attach(&switch, &bridge, tap_port());
    let (b_port, b) = attach(&switch, &bridge, tap_port());
    a.send(&frame(9, 1, b"1 is behind a"));
    b.recv_timeout(WAIT).unwrap();
    station.recv_timeout(WAIT).unwrap();
    for destination in [1, 77] {
        let answer = frame(destination, 50, b"for b");
        assert!(station.send_to(b_port, &answer));
        assert_eq!(b.recv_timeout(WAIT).unwrap().frame(), answer);
    }
    let (elsewhere, foreign) = attach(&switch, &self::bridge(), tap_port());
    assert!(station.send_to(elsewhere, &frame(1, 50, b"for another network")));
    eventually("it is counted", || {
        dropped(&switch, station_port, DropReason::EgressGone) == 1
    });
    assert!(is_empty(&a) && is_empty(&foreign) && is_empty(&b));
}

fn dropped(switch: &Switch, port: PortId, reason: DropReason) -> u64 {
    switch.counters(port).unwrap().dropped(reason)
}

fn frames_flood_until_their_destination_is_learned(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (a_port, a) = attach(&switch, &bridge, tap_port());
    let (b_port, b) = attach(&switch, &bridge, tap_port());
    let (_, c) = attach(&switch, &bridge, tap_port());
    let unknown = frame(2, 1, b"to an unknown station");
    a.send(&unknown);
    for end in [&b, &c] {
        assert_eq!(end.recv_timeout(WAIT).unwrap().frame(), unknown);
    }
    assert!(is_empty(&a), "nothing returns to its sender");
    b.send(&frame(1, 2, b"answer"));
    a.recv_timeout(WAIT).unwrap();
    a.send(&frame(2, 1, b"to a known one"));
    b.recv_timeout(WAIT).unwrap();
    assert!(is_empty(&c));
    eventually("the sends are counted", || {
        let counts = switch.counters(a_port).unwrap();
        (counts.rx_frames, counts.tx_frames) == (2, 1)
    });
    eventually("the sends are counted", || {
        let counts = switch.counters(b_port).unwrap();
        (counts.rx_frames, counts.tx_frames, counts.tx_bytes) == (1, 2, 35 + 28)
    });
}

fn a_superframe_reaches_a_strong_port_whole_and_a_weak_one_in_segments(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (a_port, a) = attach(&switch, &bridge, tap_port());
    let (_, strong) = attach(&switch, &bridge, tap_port());
    let (_, weak) = attach_with(&switch, &bridge, tap_port(), 1024, Capabilities::NONE);
    let (header, whole) = superframe(64_000, 1448);
    a.send_with(&header, &whole);
    let received = strong.recv_timeout(WAIT).unwrap();
    assert_eq!(received.frame(), whole);
    assert_eq!(received.vnet(), header);

    let mut payload: Vec<u8> = Vec::new();
    while payload.len() < 64_000 {
        let segment = weak.recv_timeout(WAIT).unwrap();
        assert_eq!(segment.vnet(), VnetHeader::NONE.to_bytes());
        let bytes = segment.frame();
        assert_eq!(internet_sum(&bytes[14..34]), 0xffff);
        let mut tcp = vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 6];
        tcp.extend(u16::try_from(bytes.len() - 34).unwrap().to_be_bytes());
        tcp.extend(&bytes[34..]);
        assert_eq!(internet_sum(&tcp), 0xffff);
        assert!(bytes.len() <= 54 + 1448);
        payload.extend(&bytes[54..]);
    }
    assert_eq!(payload, whole[54..]);
    assert!(
        switch
            .counters(a_port)
            .unwrap()
            .drop_reasons()
            .next()
            .is_none()
    );
}

fn superframes_and_others_stay_in_order_for_a_weak_port(engine: EngineChoice) {
    stay_in_order_for_a_weak_port(engine, 2);
}

fn superframes_and_others_of_a_flood_stay_in_order_for_a_weak_port(engine: EngineChoice) {
    stay_in_order_for_a_weak_port(engine, 3);
}

/// Frames to station 2, where the weak port has the station `its`.
fn stay_in_order_for_a_weak_port(engine: EngineChoice, its: u8) {
    let (switch, bridge) = (switch(engine), bridge());
    let (_, weak) = attach_with(&switch, &bridge, tap_port(), 64, Capabilities::NONE);
    let (_, other) = attach(&switch, &bridge, tap_port());
    weak.send(&frame(255, its, b"now the bridge knows the station"));
    let (port, a) = channel(64, Capabilities::ALL).unwrap();
    let (header, whole) = superframe(2_000, 1_000);
    let (_, short) = superframe(8, 8);
    for _ in 0..2 {
        a.send_with(&header, &whole);
        a.send(&short);
    }
    other.recv_timeout(WAIT).unwrap();
    // What waits in the channel is one batch.
    switch
        .add_port(&bridge, Box::new(port), tap_port())
        .unwrap();
    for len in [1_054, 1_054, 62, 1_054, 1_054, 62] {
        assert_eq!(weak.recv_timeout(WAIT).unwrap().frame().len(), len);
    }
}

fn what_is_short_leaves_before_the_bulk_of_others(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (_, two) = attach(&switch, &bridge, tap_port());
    let (port, a) = channel(64, Capabilities::ALL).unwrap();
    let (header, whole) = superframe(2_000, 1_000);
    for _ in 0..2 {
        a.send_with(&header, &whole);
        a.send(&frame(2, 1, b"of others"));
    }
    // What waits in the channel is one batch.
    switch
        .add_port(&bridge, Box::new(port), tap_port())
        .unwrap();
    for len in [23, 23, 2_054, 2_054] {
        assert_eq!(two.recv_timeout(WAIT).unwrap().frame().len(), len);
    }
}

fn an_open_checksum_is_completed_for_a_weak_port(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (_, a) = attach(&switch, &bridge, tap_port());
    let (_, weak) = attach_with(&switch, &bridge, tap_port(), 8, Capabilities::NONE);
    let (_, bytes) = superframe(100, 0);
    a.send_with(&vnet(1, 0, 0, 0, 34, 16), &bytes);
    let received = weak.recv_timeout(WAIT).unwrap();
    assert_eq!(received.vnet(), VnetHeader::NONE.to_bytes());
    let mut tcp = vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, 120];
    tcp.extend(&received.frame()[34..]);
    assert_eq!(internet_sum(&tcp), 0xffff);
}

fn lying_vnet_headers_are_dropped_and_counted(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (a_port, a) = attach(&switch, &bridge, tap_port());
    let (_, b) = attach(&switch, &bridge, tap_port());
    let (_, bytes) = superframe(3000, 1448);
    let lies = [
        (vnet(1, 3, 54, 1448, 34, 16), DropReason::VnetGsoType),
        (vnet(1, 1, 54, 0, 34, 16), DropReason::VnetGsoSize),
        (vnet(1, 0, 0, 0, 4000, 16), DropReason::VnetChecksum),
        (vnet(1, 4, 54, 1448, 34, 16), DropReason::VnetHeaders),
        (vnet(1, 1, 54, 2000, 34, 16), DropReason::Oversize),
    ];
    for (header, _) in &lies {
        a.send_with(header, &bytes);
    }
    a.send(&[0; 5]);
    let honest = frame(2, 1, b"honest");
    a.send(&honest);
    assert_eq!(b.recv_timeout(WAIT).unwrap().frame(), honest);
    for (_, reason) in lies {
        assert_eq!(dropped(&switch, a_port, reason), 1, "{reason}");
    }
    assert_eq!(dropped(&switch, a_port, DropReason::Runt), 1);
}

fn a_stalled_reader_does_not_hurt_another_port(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (a_port, a) = attach(&switch, &bridge, tap_port());
    let (stalled_port, stalled) = attach_with(&switch, &bridge, tap_port(), 10, Capabilities::ALL);
    let (_, b) = attach(&switch, &bridge, tap_port());
    for n in 0..1000_u16 {
        a.send(&frame(255, 1, &n.to_be_bytes()));
        assert_eq!(b.recv_timeout(WAIT).unwrap().frame()[14..], n.to_be_bytes());
    }
    eventually("drops are counted", || {
        dropped(&switch, stalled_port, DropReason::QueueFull) == 990
    });
    assert_eq!(switch.counters(a_port).unwrap().drop_reasons().count(), 0);
    assert_eq!(switch.counters(stalled_port).unwrap().tx_frames, 10);
    assert!(stalled.try_recv().is_ok());
}

fn what_a_port_that_is_not_read_loses_is_counted_there(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (device, end) = channel(10, Capabilities::ALL).unwrap();
    for _ in 0..25 {
        end.send(&frame(2, 1, b"early"));
    }
    let port = switch
        .add_port(&bridge, Box::new(device), tap_port())
        .unwrap();
    assert_eq!(dropped(&switch, port, DropReason::EdgeFull), 15);
}

fn frames_longer_than_the_egress_mtu_are_dropped(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (a_port, a) = attach(&switch, &bridge, tap_port());
    let (narrow_port, narrow) = attach(
        &switch,
        &bridge,
        PortConfig {
            mtu: 1000,
            ..tap_port()
        },
    );
    let (_, b) = attach(&switch, &bridge, tap_port());
    a.send(&frame(255, 1, &[0; 1001]));
    a.send(&frame(255, 1, &[0; 1000]));
    a.send(&frame(255, 1, &[0; 1501]));
    assert_eq!(b.recv_timeout(WAIT).unwrap().frame().len(), 1015);
    assert_eq!(narrow.recv_timeout(WAIT).unwrap().frame().len(), 1014);
    eventually("each drop is counted where the frame did not fit", || {
        let at = |port| dropped(&switch, port, DropReason::Oversize);
        (at(a_port), at(narrow_port)) == (1, 1)
    });
}

fn a_port_is_removed_under_load(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (a_port, a) = attach(&switch, &bridge, tap_port());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                a.send(&frame(255, 1, b"load"));
            }
        });
        for _ in 0..50 {
            let (port, b) = attach(&switch, &bridge, tap_port());
            b.recv_timeout(WAIT).unwrap();
            b.send(&frame(1, 2, b"answer"));
            switch.remove_port(port);
            assert!(switch.counters(port).is_none());
            let end = std::iter::from_fn(|| Some(b.try_recv()))
                .find_map(Result::err)
                .unwrap();
            assert_eq!(
                end.kind(),
                io::ErrorKind::BrokenPipe,
                "the port is closed when it is removed"
            );
        }
        done.store(true, Ordering::Relaxed);
    });
    switch.remove_port(a_port);
    assert!(!a.send(b"nobody listens"));
}

fn removal_is_idempotent(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (port, _end) = attach(&switch, &bridge, tap_port());
    switch.remove_port(port);
    switch.remove_port(port);
    switch.remove_port(PortId(77));
}

fn a_station_that_hangs_up_is_reported(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let events = switch.events();
    let (port, end) = attach(&switch, &bridge, tap_port());
    drop(end);
    assert_eq!(events.recv_timeout(WAIT), Ok(SwitchEvent::PortGone(port)));
    assert!(
        events.recv_timeout(Duration::from_millis(50)).is_err(),
        "once is enough"
    );
    switch.remove_port(port);
}

fn networks_do_not_mix(engine: EngineChoice) {
    let switch = switch(engine);
    let (red, blue) = (bridge(), bridge());
    let (_, a) = attach(&switch, &red, tap_port());
    let (_, b) = attach(&switch, &red, tap_port());
    let (_, other) = attach(&switch, &blue, tap_port());
    a.send(&frame(255, 1, b"red"));
    b.recv_timeout(WAIT).unwrap();
    assert!(is_empty(&other));
}

fn the_bridge_answers_for_registered_endpoints(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (a_port, a) = attach(&switch, &bridge, tap_port());
    let (b_port, b) = attach(&switch, &bridge, tap_port());
    let mac = Mac::new([2, 0, 0, 0, 0, 2]);
    bridge.register_endpoint(b_port, mac, &["10.0.0.2".parse().unwrap()]);
    let mut request = frame(255, 1, &[0, 1, 8, 0, 6, 4, 0, 1]);
    request[12..14].copy_from_slice(&[8, 6]);
    request.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
    request.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    a.send(&request);
    let reply = a.recv_timeout(WAIT).unwrap();
    assert_eq!(reply.frame()[..6], [2, 0, 0, 0, 0, 1]);
    assert_eq!(reply.frame()[20..22], [0, 2], "an ARP reply");
    assert_eq!(reply.frame()[22..32], [2, 0, 0, 0, 0, 2, 10, 0, 0, 2]);
    assert_eq!(reply.vnet(), VnetHeader::NONE.to_bytes());
    assert!(is_empty(&b), "the flood is suppressed");
    eventually("the reply is counted", || {
        let counts = switch.counters(a_port).unwrap();
        (counts.rx_frames, counts.tx_frames) == (1, 1)
    });
}

fn a_busy_port_does_not_starve_another(engine: EngineChoice) {
    let config = SwitchConfig {
        engine,
        workers: 1,
        pin: None,
        join: true,
    };
    let (switch, bridge) = (Switch::start(config).unwrap(), bridge());
    let (_, busy) = attach(&switch, &bridge, tap_port());
    let (_, quiet) = attach(&switch, &bridge, tap_port());
    let (_, b) = attach_with(&switch, &bridge, tap_port(), 100_000, Capabilities::ALL);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                busy.send(&frame(255, 1, b"busy"));
            }
        });
        for n in 0..20_u8 {
            let wanted = frame(255, 2, &[n]);
            quiet.send(&wanted);
            while b.recv_timeout(WAIT).unwrap().frame() != wanted {}
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn a_polled_port_changes_its_reader_in_order(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let (a_port, a) = attach(&switch, &bridge, tap_port());
    let (_, b) = attach(&switch, &bridge, tap_port());
    let seen = AtomicU32::new(0);
    let start = Instant::now();
    let moves = std::thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            for wanted in 0..20_000_u32 {
                let received = b.recv_timeout(WAIT).unwrap();
                assert_eq!(received.frame(), frame(255, 1, &wanted.to_ne_bytes()));
                seen.store(wanted, Ordering::Release);
            }
        });
        scope.spawn(|| {
            for n in 0..20_000_u32 {
                while n > seen.load(Ordering::Acquire) + 100 {
                    assert!(start.elapsed() < 10 * WAIT, "frame {n} waits");
                    std::thread::yield_now();
                }
                assert!(a.send(&frame(255, 1, &n.to_ne_bytes())));
            }
        });
        let mut moves = 0;
        while !receiving.is_finished() {
            switch.move_port(a_port, moves % 2);
            moves += 1;
        }
        moves
    });
    assert!(moves > 10, "{moves} moves");
}

fn ports_spread_while_one_worker_has_too_much(engine: EngineChoice) {
    let config = SwitchConfig {
        engine,
        ..SwitchConfig::default()
    };
    let (switch, bridge) = (Switch::start(config).unwrap(), bridge());
    assert!(switch.engine().workers > 1, "this test needs two cores");
    let (_, a) = attach(&switch, &bridge, tap_port());
    let (_, b) = attach(&switch, &bridge, tap_port());
    // A broadcast is much work for the switch and little for who sends it.
    let _audience: Vec<_> = (0..30)
        .map(|_| attach_with(&switch, &bridge, tap_port(), 4, Capabilities::ALL))
        .collect();
    let is_spread = || switch.loads()[1..].iter().any(|ports| *ports > 0);
    assert!(!is_spread(), "{:?}", switch.loads());
    let start = Instant::now();
    while !is_spread() {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing spreads");
        let sent = a.send(&frame(255, 1, b"all")) && b.send(&frame(255, 2, b"all"));
        if !sent {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let start = Instant::now();
    while is_spread() {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing returns");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn four_thousand_ports_work(engine: EngineChoice) {
    let limit = rustix::process::Rlimit {
        current: Some(20_000),
        maximum: Some(20_000),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let (switch, bridge) = (switch(engine), bridge());
    let ports: Vec<_> = (0..4000)
        .map(|_| attach_with(&switch, &bridge, tap_port(), 4, Capabilities::ALL))
        .collect();
    let (first, last) = (&ports[0].1, &ports[3999].1);
    first.send(&frame(255, 1, b"everyone"));
    for (_, end) in &ports[1..] {
        end.recv_timeout(WAIT).unwrap();
    }
    last.send(&frame(1, 2, b"you"));
    first.recv_timeout(WAIT).unwrap();
    let start = Instant::now();
    for _ in 0..1000 {
        first.send(&frame(2, 1, b"ping"));
        last.recv_timeout(WAIT).unwrap();
    }
    let per_frame = start.elapsed() / 1000;
    assert!(
        per_frame < Duration::from_millis(1),
        "{per_frame:?} a frame"
    );
}

#[test]
fn a_worker_that_cannot_be_bound_is_refused() {
    let config = SwitchConfig {
        pin: Some(vec![1000]),
        ..SwitchConfig::default()
    };
    assert!(matches!(
        Switch::start(config),
        Err(StartSwitch::Pin { core: 1000, .. })
    ));
}

#[test]
fn the_switch_tells_what_runs() {
    let switch = Switch::start(SwitchConfig {
        engine: EngineChoice::Epoll,
        workers: 3,
        pin: Some(vec![0]),
        join: true,
    })
    .unwrap();
    let report = switch.engine();
    assert_eq!(
        (report.engine, report.workers, &report.fallback),
        (EngineKind::Epoll, 3, &None)
    );
    let switch = Switch::start(SwitchConfig::default()).unwrap();
    let report = switch.engine();
    assert_eq!(
        report.engine == EngineKind::Epoll,
        report.fallback.is_some()
    );
}
