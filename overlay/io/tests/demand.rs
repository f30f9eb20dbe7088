//! Connections that are needed, and those that are not. On loopback; needs no root.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use overlay_core::{HostId, Timing};
use overlay_io::{QuicEvent, QuicTunnel};
use overlay_lab::loopback::{Host, crosses, frame};
use overlay_lab::{Authority, eventually, host};

fn hosts(timing: Timing) -> [Host; 2] {
    let authority = Authority::new();
    let hosts =
        ["alpha", "beta"].map(|name| Host::timed(name, authority.host(name, |_| {}), timing));
    hosts[0].tunnel.expect(&host("beta"), hosts[1].address());
    hosts[1].tunnel.expect(&host("alpha"), hosts[0].address());
    hosts
}

fn only(name: &str) -> BTreeSet<HostId> {
    BTreeSet::from([host(name)])
}

fn dials(tunnel: &QuicTunnel, name: &str) -> u64 {
    tunnel.peer(&host(name)).unwrap().counts.dials
}

#[test]
fn a_connection_is_there_while_one_of_both_needs_it_and_a_while_after() {
    let timing = Timing {
        linger: Duration::from_millis(300),
        ..Timing::default()
    };
    for (needs, taken) in [(0, 1), (1, 0)] {
        let hosts = hosts(timing);
        let names = ["alpha", "beta"];
        std::thread::sleep(Duration::from_millis(500));
        assert!(hosts.iter().all(|host| host.events.try_recv().is_err()));
        hosts[needs].tunnel.need(only(names[taken]));
        hosts[needs].wait_up(names[taken]);
        hosts[taken].wait_up(names[needs]);
        assert_eq!(dials(&hosts[taken].tunnel, names[needs]), 0);
        hosts[needs].tunnel.need(BTreeSet::new());
        assert!(hosts[needs].tunnel.is_up(&host(names[taken])));
        hosts[taken].wait_down(names[needs]);
        hosts[needs].wait_down(names[taken]);
        // Nobody dials what nobody needs.
        std::thread::sleep(Duration::from_millis(700));
        assert!(hosts.iter().all(|host| host.events.try_recv().is_err()));
        assert_eq!(hosts[taken].tunnel.counts().refused, 0);
    }
}

#[test]
fn frames_that_are_faster_than_the_connection_wait_for_it() {
    let hosts = hosts(Timing::default());
    hosts[0].port(7, "beta");
    hosts[1].port(7, "alpha");
    // Nobody needs the connection, so nothing waits.
    assert!(hosts[1].station.send(&frame(b"too early")));
    std::thread::sleep(Duration::from_millis(100));
    // By its turn this one would not dial for a while.
    hosts[1].tunnel.need(only("alpha"));
    crosses(&hosts[1], &hosts[0], b"early");
    crosses(&hosts[0], &hosts[1], b"late");
}

#[test]
fn of_two_connections_that_were_dialed_at_once_both_ends_choose_the_same() {
    let timing = Timing {
        turn: Duration::ZERO,
        ..Timing::default()
    };
    for round in 0..10 {
        let hosts = hosts(timing);
        hosts[0].port(7, "beta");
        hosts[1].port(7, "alpha");
        hosts[0].tunnel.need(only("beta"));
        hosts[1].tunnel.need(only("alpha"));
        hosts[0].wait_up("beta");
        hosts[1].wait_up("alpha");
        crosses(&hosts[0], &hosts[1], b"there");
        crosses(&hosts[1], &hosts[0], b"and back");
        if round > 0 {
            continue;
        }
        // Beyond the end of the one that does not count.
        std::thread::sleep(Duration::from_secs(4));
        let is_down = |event: QuicEvent| matches!(event, QuicEvent::PeerDown { .. });
        let mut events = hosts.iter().flat_map(|host| host.events.try_iter());
        assert!(!events.any(is_down));
        crosses(&hosts[0], &hosts[1], b"there again");
        crosses(&hosts[1], &hosts[0], b"and back again");
        let both = [(&hosts[0], "beta"), (&hosts[1], "alpha")];
        eventually("both are up", || {
            both.iter().all(|(it, other)| it.tunnel.is_up(&host(other)))
        });
    }
}
