//! Hosts that do not reach each other go through a third one. On loopback; needs no root.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use overlay_io::QuicTunnel;
use overlay_lab::loopback::{Host, LOCALHOST, crosses, frame};
use overlay_lab::{Authority, eventually, host, quic_config};

/// The path between two hosts, which can be closed.
struct Path {
    address: SocketAddr,
    is_open: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
}

impl Path {
    /// A closed one.
    fn between(ends: [&Host; 2]) -> Self {
        let socket = UdpSocket::bind(LOCALHOST).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let address = socket.local_addr().unwrap();
        let (is_open, is_over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (open, over) = (Arc::clone(&is_open), Arc::clone(&is_over));
        let [one, other] = ends.map(Host::address);
        let carry = move || {
            let mut buffer = [0; 2048];
            while !over.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let to = if from == one { other } else { one };
                if open.load(Ordering::Relaxed) {
                    let _ = socket.send_to(&buffer[..len], to);
                }
            }
        };
        let path = Self {
            address,
            is_open,
            is_over,
            carrier: Some(std::thread::spawn(carry)),
        };
        let [alpha, beta] = ends;
        let [alpha_name, beta_name] = [ALPHA, BETA].map(host);
        beta.tunnel.connect(&alpha_name, path.address);
        alpha.tunnel.connect(&beta_name, path.address);
        path
    }

    fn set(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Relaxed);
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.carrier.take().unwrap().join();
    }
}

/// Two hosts and relays that both reach.
struct Lab {
    alpha: Host,
    beta: Host,
    relays: Vec<(&'static str, Host)>,
    path: Path,
}

impl Lab {
    fn new(relays: &[&'static str]) -> Self {
        Self::with(relays, true, &[])
    }

    fn with(relays: &[&'static str], are_willing: bool, managers: &[&str]) -> Self {
        let authority = Authority::new();
        let made = |name: &str, relays: bool| {
            let local = LOCALHOST.parse().unwrap();
            let mut config = quic_config(name, local, authority.host(name, |_| {}));
            config.relays = relays;
            Host::of(QuicTunnel::start(config).unwrap())
        };
        let (alpha, beta) = (made(ALPHA, false), made(BETA, false));
        alpha.port(7, BETA);
        beta.port(7, ALPHA);
        let relays: Vec<_> = relays
            .iter()
            .map(|name| (*name, made(name, are_willing)))
            .collect();
        for (name, relay) in &relays {
            for (end_name, end) in [(ALPHA, &alpha), (BETA, &beta)] {
                relay.tunnel.connect(&host(end_name), end.address());
                end.tunnel.connect(&host(name), relay.address());
                eventually("the relay is up, and long packets go there", || {
                    let path = end.tunnel.peer(&host(name)).and_then(|peer| peer.path);
                    end.tunnel.is_up(&host(name))
                        && path.is_some_and(|path| path.udp_payload > 1400)
                });
            }
        }
        for end in [&alpha, &beta] {
            let managers = managers.iter().map(|name| host(name)).collect();
            end.tunnel.prefer_relays(managers);
        }
        let path = Path::between([&alpha, &beta]);
        Self {
            alpha,
            beta,
            relays,
            path,
        }
    }

    /// Over whom the ends reach each other, where they agree; `None` while one of them is not up.
    fn way(&self) -> Option<String> {
        let way = |end: &Host, other: &str| {
            let peer = end.tunnel.peer(&host(other)).unwrap();
            let relay = peer.relay.map(|relay| relay.to_string());
            peer.is_up
                .then(|| relay.unwrap_or_else(|| DIRECT.to_owned()))
        };
        let ways = (way(&self.alpha, BETA)?, way(&self.beta, ALPHA)?);
        (ways.0 == ways.1).then_some(ways.0)
    }

    fn wait_for_way(&self, expected: &str) {
        eventually(expected, || self.way().as_deref() == Some(expected));
    }

    fn crosses_both_ways(&self, payload: &[u8]) {
        crosses(&self.alpha, &self.beta, payload);
        crosses(&self.beta, &self.alpha, payload);
    }
}

#[test]
fn frames_of_every_length_cross_both_ways_over_a_relay() {
    let lab = Lab::new(&[GAMMA]);
    lab.wait_for_way(GAMMA);
    for len in [0, 1, 1100, 1300, 1360, 1400, 1450, 1499, 1500] {
        let payload: Vec<u8> = (0..len).map(|n: usize| n.to_le_bytes()[0]).collect();
        lab.crosses_both_ways(&payload);
    }
    let relay = &lab.relays[0].1;
    let counts = relay.tunnel.counts();
    assert!(counts.relayed > 18, "{counts:?}");
    assert_eq!((counts.not_member, counts.malformed), (0, 0), "{counts:?}");
    // Of the packets of a relayed path, all that fit there are tried, and no longer ones.
    let peer = lab.alpha.tunnel.peer(&host(BETA)).unwrap();
    let direct = lab.alpha.tunnel.peer(&host(GAMMA)).unwrap();
    assert!(peer.path.unwrap().udp_payload < direct.path.unwrap().udp_payload);
    assert_eq!(peer.address, lab.path.address);
}

#[test]
fn a_path_that_is_there_again_is_taken_and_nothing_is_lost() {
    let lab = Lab::new(&[GAMMA]);
    lab.wait_for_way(GAMMA);
    lab.path.set(true);
    let (mut sent, mut received) = (0_u32, Vec::new());
    let start = Instant::now();
    let mut moved = None;
    // A while longer than it takes to move.
    while moved.is_none_or(|at: Instant| at.elapsed() < Duration::from_millis(300)) {
        assert!(start.elapsed() < Duration::from_secs(20), "still relayed");
        assert!(lab.alpha.station.send(&frame(&sent.to_be_bytes())));
        sent += 1;
        while let Ok(frame) = lab.beta.station.try_recv() {
            received.push(frame.frame().to_vec());
        }
        if moved.is_none() && lab.way().as_deref() == Some(DIRECT) {
            moved = Some(Instant::now());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    while received.len() < sent.try_into().unwrap() {
        let frame = lab.beta.station.recv_timeout(Duration::from_secs(1));
        received.push(frame.expect("a frame was lost").frame().to_vec());
    }
    received.sort();
    let expected: Vec<_> = (0..sent).map(|n| frame(&n.to_be_bytes())).collect();
    assert!(received == expected, "frames came twice, or changed");
}

#[test]
fn a_path_that_is_lost_is_gone_around() {
    let lab = Lab::new(&[GAMMA]);
    lab.path.set(true);
    lab.wait_for_way(DIRECT);
    lab.crosses_both_ways(b"directly");
    lab.path.set(false);
    lab.wait_for_way(GAMMA);
    lab.crosses_both_ways(b"around");
}

#[test]
fn a_relay_that_dies_is_followed_by_another() {
    let mut lab = Lab::new(&[GAMMA, DELTA]);
    eventually("a relay is found", || lab.way().is_some());
    let way = lab.way().unwrap();
    let place = lab.relays.iter().position(|(name, _)| *name == way);
    drop(lab.relays.remove(place.unwrap()));
    let left = lab.relays[0].0;
    lab.wait_for_way(left);
    lab.crosses_both_ways(b"over the other one");
}

#[test]
fn managers_are_chosen_first() {
    for manager in [DELTA, GAMMA] {
        let lab = Lab::with(&[GAMMA, DELTA], true, &[manager]);
        lab.wait_for_way(manager);
    }
}

#[test]
fn who_does_not_want_to_relays_nothing() {
    let lab = Lab::with(&[GAMMA], false, &[]);
    // Longer than a dial, and a dial over a relay, take.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(lab.way(), None);
    assert_eq!(lab.relays[0].1.tunnel.counts().relayed, 0);
    lab.path.set(true);
    lab.wait_for_way(DIRECT);
}

#[test]
fn a_host_that_was_shut_out_is_relayed_no_more() {
    let lab = Lab::new(&[GAMMA]);
    lab.wait_for_way(GAMMA);
    let relay = &lab.relays[0].1;
    relay.tunnel.remove_peer(&host(ALPHA));
    eventually("both ends know", || {
        let is_up = |end: &Host, other| end.tunnel.is_up(&host(other));
        !is_up(&lab.alpha, BETA) && !is_up(&lab.beta, ALPHA)
    });
    let relayed = relay.tunnel.counts().relayed;
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(relay.tunnel.counts().relayed, relayed);
    assert_eq!(lab.way(), None);
}

#[test]
fn a_host_that_knows_another_no_more_refuses_it_over_a_relay_too() {
    let lab = Lab::new(&[GAMMA]);
    lab.wait_for_way(GAMMA);
    lab.beta.tunnel.remove_peer(&host(ALPHA));
    eventually("the other end knows", || {
        !lab.alpha.tunnel.is_up(&host(BETA))
    });
    std::thread::sleep(Duration::from_secs(1));
    assert!(!lab.alpha.tunnel.is_up(&host(BETA)));
}

#[test]
fn a_relay_that_starts_anew_serves_again() {
    let mut lab = Lab::new(&[GAMMA]);
    lab.wait_for_way(GAMMA);
    let (_, relay) = &lab.relays[0];
    let relayed = relay.tunnel.counts().relayed;
    assert!(relayed > 0);
    // Its connections with both ends end, and begin anew.
    for end in [&lab.alpha, &lab.beta] {
        end.tunnel.close_peer(&host(GAMMA));
        end.tunnel.connect(&host(GAMMA), relay.address());
    }
    eventually("the relay is there again", || {
        lab.way().as_deref() == Some(GAMMA) && relay.tunnel.counts().relayed > relayed
    });
    for (from, to) in [(&lab.alpha, &lab.beta), (&lab.beta, &lab.alpha)] {
        // The other end may still be on its way to the relay.
        eventually("frames cross again", || {
            assert!(from.station.send(&frame(b"first")));
            let wait = Duration::from_millis(100);
            to.station.recv_timeout(wait).is_ok()
        });
        while to.station.try_recv().is_ok() {}
    }
    lab.crosses_both_ways(b"again");
    lab.relays.clear();
}

const ALPHA: &str = "alpha";
const BETA: &str = "beta";
const GAMMA: &str = "gamma";
const DELTA: &str = "delta";
const DIRECT: &str = "directly";
