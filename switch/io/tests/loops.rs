//! Loops are found, and the port that closes one is blocked.

#![allow(clippy::unwrap_used, reason = "tests")]

mod lab;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use lab::{eventually, frame, tap_port, watchful_bridge};
use switch_core::vlan::{PortVlans, Vid, VlanConfig};
use switch_core::{Block, Bridge, BridgeConfig, PortConfig, PortId, PortKind};
use switch_io::{
    Capabilities, ChannelEnd, EngineChoice, Switch, SwitchConfig, SwitchEvent, channel, patch,
};

/// A station on a bridge.
struct Station {
    port: PortId,
    end: Arc<ChannelEnd>,
}

fn switch() -> Switch {
    Switch::start(SwitchConfig {
        engine: EngineChoice::Auto,
        workers: 2,
        ..SwitchConfig::default()
    })
    .unwrap()
}

fn station(switch: &Switch, bridge: &Arc<Bridge>) -> Station {
    station_of(switch, bridge, tap_port())
}

fn station_of(switch: &Switch, bridge: &Arc<Bridge>, config: PortConfig) -> Station {
    let (port, end) = channel(4096, Capabilities::ALL).unwrap();
    let port = switch.add_port(bridge, Box::new(port), config).unwrap();
    Station {
        port,
        end: Arc::new(end),
    }
}

fn patched(switch: &Switch, bridges: [&Arc<Bridge>; 2]) -> [PortId; 2] {
    let (one, other) = patch(1024).unwrap();
    let config = PortConfig::new(PortKind::Patch, 1500);
    let one = switch
        .add_port(bridges[0], Box::new(one), config.clone())
        .unwrap();
    let other = switch
        .add_port(bridges[1], Box::new(other), config)
        .unwrap();
    [one, other]
}

/// A container that bridges two endpoints: what comes by one leaves by the other, until this is dropped.
struct Bridging {
    over: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Bridging {
    fn start(one: &Station, other: &Station) -> Self {
        Self::of_those(one, other, |_| true)
    }

    /// Frames that `passes` says no to stay where they are.
    fn of_those(one: &Station, other: &Station, passes: fn(&[u8]) -> bool) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let carry = |from: &Station, to: &Station| {
            let (from, to, over) = (
                Arc::clone(&from.end),
                Arc::clone(&to.end),
                Arc::clone(&over),
            );
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    if let Ok(received) = from.recv_timeout(Duration::from_millis(20))
                        && passes(received.frame())
                    {
                        to.send(received.frame());
                    }
                }
            })
        };
        let threads = vec![carry(one, other), carry(other, one)];
        Self { over, threads }
    }
}

impl Drop for Bridging {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// The ports that are blocked, as soon as it is one; `meanwhile` is done again and again.
fn blocked(events: &Receiver<SwitchEvent>, meanwhile: impl FnMut()) -> PortId {
    let (port, vlan) = blocked_in(events, meanwhile);
    assert_eq!(vlan, None);
    port
}

/// The same, and in which VLAN the loop was.
fn blocked_in(
    events: &Receiver<SwitchEvent>,
    mut meanwhile: impl FnMut(),
) -> (PortId, Option<Vid>) {
    let mut found = None;
    eventually("a port is blocked", || {
        meanwhile();
        found = events.try_iter().find_map(|event| match event {
            SwitchEvent::PortBlocked(port, Block::Loop(vlan)) => Some((port, vlan)),
            _ => None,
        });
        found.is_some()
    });
    found.unwrap()
}

fn broadcast(from: &Station, mac: u8) {
    from.end.send(&frame(255, mac, b"to everybody"));
}

/// Frames that a station gets until there are none for a while.
fn heard(station: &Station) -> usize {
    let mut count = 0;
    while station.end.recv_timeout(Duration::from_millis(300)).is_ok() {
        count += 1;
    }
    count
}

#[test]
fn a_container_that_bridges_its_endpoints_is_blocked_at_the_later_one() {
    let switch = switch();
    let bridge = watchful_bridge();
    let events = switch.events();
    let [victim, third, one, other] = [(); 4].map(|()| station(&switch, &bridge));
    let bridging = Bridging::start(&one, &other);
    let start = Instant::now();
    let port = blocked(&events, || broadcast(&victim, 1));
    println!("blocked after {:?}", start.elapsed());
    assert_eq!(port, other.port);
    // No frame goes round any more: each is heard once.
    heard(&third);
    for _ in 0..10 {
        broadcast(&victim, 1);
    }
    assert_eq!(heard(&third), 10);
    // The victim is where it was.
    third.end.send(&frame(1, 2, b"to the victim"));
    eventually("the victim hears", || {
        let received = victim.end.recv_timeout(Duration::from_secs(1));
        received.is_ok_and(|received| received.frame()[14..].starts_with(b"to the victim"))
    });
    drop(bridging);
    let start = Instant::now();
    eventually_long("the port is open again", || {
        events
            .try_iter()
            .any(|event| event == SwitchEvent::PortUnblocked(port, Block::Loop(None)))
    });
    println!("open again after {:?}", start.elapsed());
    assert_eq!(bridge.blocked(port), None);
}

#[test]
fn a_loop_in_one_tagged_vlan_is_found_and_told_there() {
    let switch = switch();
    let bridge = Arc::new(Bridge::new(BridgeConfig {
        probe_secret: 0x07e5,
        vlans: Some(VlanConfig::default()),
        ..BridgeConfig::default()
    }));
    let events = switch.events();
    let attach = |vlans| {
        let config = PortConfig {
            vlans: Some(vlans),
            ..tap_port()
        };
        station_of(&switch, &bridge, config)
    };
    let vid = |number| Vid::new(number).unwrap();
    let trunk = |native| PortVlans::trunk(Some(vid(native)), "10,20".parse().unwrap());
    let [victim, third] = [20, 20].map(|number| attach(PortVlans::access(vid(number))));
    let (one, other) = (attach(trunk(30)), attach(trunk(40)));
    let bridging = Bridging::of_those(&one, &other, |frame| {
        frame[12..14] == [0x81, 0] && frame[14] & 0xf == 0 && frame[15] == 20
    });
    let (port, vlan) = blocked_in(&events, || broadcast(&victim, 1));
    assert_eq!((port, vlan), (other.port, Vid::new(20)));
    assert_eq!(bridge.blocked(port), Some(Block::Loop(Vid::new(20))));
    heard(&third);
    for _ in 0..10 {
        broadcast(&victim, 1);
    }
    assert_eq!(heard(&third), 10);
    drop(bridging);
    eventually_long("the port is open again", || {
        let opened = SwitchEvent::PortUnblocked(port, Block::Loop(Vid::new(20)));
        events.try_iter().any(|event| event == opened)
    });
    assert_eq!(bridge.blocked(port), None);
}

#[test]
fn a_container_that_reflects_is_blocked() {
    let switch = switch();
    let bridge = watchful_bridge();
    let events = switch.events();
    let [victim, mirror] = [(); 2].map(|()| station(&switch, &bridge));
    let _bridging = Bridging::start(&mirror, &mirror);
    let port = blocked(&events, || broadcast(&victim, 1));
    assert_eq!(port, mirror.port);
}

#[test]
fn networks_that_are_patched_twice_lose_a_patch() {
    let switch = switch();
    let bridges = [watchful_bridge(), other_bridge()];
    let events = switch.events();
    let victim = station(&switch, &bridges[0]);
    let peer = station(&switch, &bridges[1]);
    let first = patched(&switch, [&bridges[0], &bridges[1]]);
    let second = patched(&switch, [&bridges[0], &bridges[1]]);
    let port = blocked(&events, || broadcast(&victim, 1));
    assert!(second.contains(&port), "{port:?}: {first:?} {second:?}");
    heard(&peer);
    for _ in 0..10 {
        broadcast(&victim, 1);
    }
    assert_eq!(heard(&peer), 10);
}

#[test]
fn a_container_that_bridges_patched_networks_is_blocked_and_not_the_patch() {
    let switch = switch();
    let bridges = [watchful_bridge(), other_bridge()];
    let events = switch.events();
    let victim = station(&switch, &bridges[0]);
    let peer = station(&switch, &bridges[1]);
    let (one, other) = (station(&switch, &bridges[0]), station(&switch, &bridges[1]));
    let patch = patched(&switch, [&bridges[0], &bridges[1]]);
    let _bridging = Bridging::start(&one, &other);
    let port = blocked(&events, || broadcast(&victim, 1));
    assert!(
        [one.port, other.port].contains(&port),
        "{port:?}, {patch:?}"
    );
    heard(&peer);
    for _ in 0..10 {
        broadcast(&victim, 1);
    }
    assert_eq!(heard(&peer), 10);
}

#[test]
fn stations_that_move_block_nobody() {
    let switch = switch();
    let bridge = watchful_bridge();
    let events = switch.events();
    let stations = [(); 3].map(|()| station(&switch, &bridge));
    let mut probed = BTreeSet::new();
    let start = Instant::now();
    let mut turn = 0;
    while start.elapsed() < Duration::from_secs(2) {
        // A virtual router that changes hands, again and again.
        turn += 1;
        broadcast(&stations[turn % 2], 7);
        for (at, station) in stations.iter().enumerate() {
            if let Ok(received) = station.end.recv_timeout(Duration::from_millis(5))
                && received.frame()[..6] == [3, 0x74, 0x61, 0x70, 0x65, 1]
            {
                probed.insert(at);
            }
        }
    }
    assert!(!probed.is_empty(), "nothing was suspected");
    assert_eq!(events.try_iter().count(), 0);
}

#[test]
fn who_was_probed_has_nobody_elses_port_blocked() {
    let switch = switch();
    let bridge = watchful_bridge();
    let events = switch.events();
    // Of two, the later is blocked: this one would have others blocked, not itself.
    let attacker = station(&switch, &bridge);
    let victims = [(); 3].map(|()| station(&switch, &bridge));
    let start = Instant::now();
    let mut forged = 0;
    while start.elapsed() < Duration::from_secs(2) {
        broadcast(&victims[0], 7);
        broadcast(&attacker, 7);
        while let Ok(received) = attacker.end.recv_timeout(Duration::from_millis(5)) {
            let mut probe = received.frame().to_vec();
            if probe[..6] != [3, 0x74, 0x61, 0x70, 0x65, 1] {
                continue;
            }
            for port in 0..16_u32 {
                probe[36..40].copy_from_slice(&port.to_be_bytes());
                if probe != received.frame() {
                    attacker.end.send(&probe);
                    forged += 1;
                }
            }
        }
    }
    assert!(forged > 0, "nothing was suspected");
    assert_eq!(events.try_iter().count(), 0);
}

/// With a secret of its own.
fn other_bridge() -> Arc<Bridge> {
    Arc::new(Bridge::new(BridgeConfig {
        probe_secret: 0x07e5,
        ..BridgeConfig::default()
    }))
}

fn eventually_long(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(40), "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
