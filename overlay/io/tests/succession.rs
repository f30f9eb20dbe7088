//! One run of a host takes the place of another that still carries frames. On loopback; needs no root.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use overlay_io::QuicEvent;
use overlay_lab::loopback::{Host, crosses, frame, pair};
use overlay_lab::{Authority, eventually, host};

/// A second run of `name`, in the same network, which knows `peer`.
fn another(
    old: &Host,
    (name, epoch): (&str, u64),
    peer: (&str, &Host),
    authority: &Authority,
) -> Host {
    let new = Host::beside(old, name, epoch, authority.host(name, |_| {}));
    new.tunnel.connect(&host(peer.0), peer.1.address());
    new.port(7, peer.0);
    new
}

fn up(authority: &Authority) -> [Host; 2] {
    let hosts = pair(authority);
    for (it, other) in hosts.iter().zip(["beta", "alpha"]) {
        it.port(7, other);
        it.wait_up(other);
    }
    hosts
}

fn has_met(host: &Host) {
    eventually("it is connected", || host.tunnel.has_met_all());
}

fn takes_over(host: &Host) {
    host.tunnel.take_over();
    eventually("it is greeted", || host.tunnel.is_greeted());
}

fn was_never_down(host: &Host) {
    let events: Vec<_> = host.events.try_iter().collect();
    let is_down = |event: &QuicEvent| matches!(event, QuicEvent::PeerDown { .. });
    assert!(!events.iter().any(is_down), "{events:?}");
}

/// The numbers of the frames that came, each once.
fn numbers(stations: &[&Host], came: &mut Vec<u16>) {
    for host in stations {
        while let Ok(received) = host.station.try_recv() {
            let [.., high, low] = *received.frame() else {
                unreachable!()
            };
            came.push(u16::from_be_bytes([high, low]));
        }
    }
}

fn numbered(number: u16) -> Vec<u8> {
    frame(&[&[0; 60], &number.to_be_bytes()[..]].concat())
}

/// Whichever of the two is replaced, whoever dials.
#[test]
fn another_run_takes_over_and_no_frame_is_lost() {
    for replaced in [0, 1] {
        let authority = Authority::new();
        let mut hosts = up(&authority);
        hosts.rotate_left(replaced);
        let [old, peer] = hosts;
        let [name, other] = if replaced == 0 {
            ["alpha", "beta"]
        } else {
            ["beta", "alpha"]
        };
        let new = another(&old, (name, 2), (other, &peer), &authority);
        has_met(&new);
        crosses(&peer, &old, b"the new one has said nothing yet");
        crosses(&old, &peer, b"nor has this changed");

        let (mut to_new, mut to_peer) = (Vec::new(), Vec::new());
        let mut number = 0;
        let mut flows = |sender: &Host, rounds| {
            for _ in 0..rounds {
                assert!(peer.station.send(&numbered(number)));
                assert!(sender.station.send(&numbered(number)));
                number += 1;
                std::thread::sleep(Duration::from_micros(200));
                numbers(&[&old, &new], &mut to_new);
                numbers(&[&peer], &mut to_peer);
            }
        };
        flows(&old, 100);
        new.tunnel.take_over();
        flows(&old, 200);
        assert!(new.tunnel.is_greeted());
        flows(&new, 200);
        // In the order in which the agent does it: the links first, then what is on its way.
        old.tunnel.leave();
        flows(&new, 100);
        drop(old.tunnel);
        old.network.switch.stop_reading();
        drop(old.network);
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline && (to_new.len() < 600 || to_peer.len() < 600) {
            numbers(&[&new], &mut to_new);
            numbers(&[&peer], &mut to_peer);
        }
        for came in [&to_new, &to_peer] {
            assert_eq!(
                came.len(),
                600,
                "{replaced}: none is lost, none comes twice"
            );
            assert_eq!(came.iter().collect::<BTreeSet<_>>().len(), 600);
        }
        was_never_down(&peer);
        // From now on it reads the socket itself.
        crosses(&peer, &new, b"to the new one");
        crosses(&new, &peer, b"from the new one");
        let third = another(&new, (name, 3), (other, &peer), &authority);
        has_met(&third);
        takes_over(&third);
        new.tunnel.leave();
        drop(new);
        crosses(&peer, &third, b"to the third");
        was_never_down(&peer);
    }
}

#[test]
fn the_old_one_goes_on_when_the_new_one_fails() {
    for says_hello in [false, true] {
        let authority = Authority::new();
        let [old, peer] = up(&authority);
        let new = another(&old, ("alpha", 2), ("beta", &peer), &authority);
        has_met(&new);
        if says_hello {
            takes_over(&new);
            crosses(&peer, &new, b"for a moment");
        }
        // As if killed.
        drop(new.network);
        std::mem::forget(new.tunnel);
        old.tunnel.go_on();
        eventually("the old one counts again", || {
            assert!(peer.station.send(&frame(b"who is there?")));
            old.station.recv_timeout(Duration::from_millis(20)).is_ok()
        });
        crosses(&old, &peer, b"it was never away");
        was_never_down(&peer);
        was_never_down(&old);
        // And another one may try.
        let next = another(&old, ("alpha", 3), ("beta", &peer), &authority);
        has_met(&next);
        takes_over(&next);
        crosses(&next, &peer, b"the next one is there");
    }
}

#[test]
fn both_ends_may_be_replaced_at_once() {
    for epochs in [[2, 2], [2, 3], [3, 2]] {
        let authority = Authority::new();
        let olds = up(&authority);
        let alpha = another(
            &olds[0],
            ("alpha", epochs[0]),
            ("beta", &olds[1]),
            &authority,
        );
        let beta = another(
            &olds[1],
            ("beta", epochs[1]),
            ("alpha", &olds[0]),
            &authority,
        );
        for host in [&alpha, &beta] {
            has_met(host);
        }
        for host in [&alpha, &beta] {
            host.tunnel.take_over();
        }
        for host in [&alpha, &beta] {
            eventually("it is greeted", || host.tunnel.is_greeted());
        }
        for old in &olds {
            old.tunnel.leave();
        }
        drop(olds);
        eventually("both are up", || {
            alpha.tunnel.is_up(&host("beta")) && beta.tunnel.is_up(&host("alpha"))
        });
        // Longer than a silent connection is taken for alive.
        let end = Instant::now() + Duration::from_millis(1200);
        while Instant::now() < end {
            crosses(&alpha, &beta, b"from the one");
            crosses(&beta, &alpha, b"and back");
            std::thread::sleep(Duration::from_millis(20));
        }
        was_never_down(&alpha);
        was_never_down(&beta);
    }
}

#[test]
fn a_host_that_comes_meanwhile_meets_the_new_one() {
    let authority = Authority::new();
    let [old, peer] = up(&authority);
    let new = another(&old, ("alpha", 2), ("beta", &peer), &authority);
    let late = Host::new("aachen", authority.host("aachen", |_| {}));
    for run in [&old, &new] {
        run.tunnel.connect(&host("aachen"), late.address());
    }
    late.tunnel.connect(&host("alpha"), old.address());
    late.wait_up("alpha");
    assert!(new.tunnel.is_up(&host("aachen")));
    assert!(!old.tunnel.is_up(&host("aachen")));
    has_met(&new);
}
