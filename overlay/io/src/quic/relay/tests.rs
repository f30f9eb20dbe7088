//! Members that were taken over, at a relay and as one.

use std::time::Instant;

use overlay_core::{Epoch, HostId, Leg, RelayBudget, RelayHeader, Timing};
use overlay_lab::{Authority, Network, eventually};
use switch_core::Time;
use switch_io::EngineChoice;

use super::Place;
use super::out::wrap;
use crate::quic::{Credentials, QuicConfig, QuicCounts, QuicTunnel};

struct Host {
    name: HostId,
    tunnel: QuicTunnel,
    _network: Network,
}

impl Host {
    fn new(authority: &Authority, name: &str) -> Self {
        let shown = authority.host(name, |_| {});
        let name = HostId::new(name).unwrap();
        let config = QuicConfig {
            local: "127.0.0.1:0".parse().unwrap(),
            host: name.clone(),
            epoch: Epoch(1),
            credentials: Credentials {
                roots: shown.roots,
                chain: shown.chain,
                key: shown.key,
                revoked: Vec::new(),
                key_log: false,
            },
            reset_key: [7; 32],
            udp_payload_max: 1472,
            timing: Timing::default(),
            seed: 1,
            relays: true,
        };
        let (tunnel, trunk) = QuicTunnel::start(config).unwrap();
        let mut network = Network::new(EngineChoice::Auto, 1500);
        network.trunk(trunk);
        Self {
            name,
            tunnel,
            _network: network,
        }
    }

    fn counts(&self) -> QuicCounts {
        self.tunnel.counts()
    }

    /// Sends a neighbor what this host's own code never would.
    fn send(&self, neighbor: &Self, header: &RelayHeader<'_>, payload: &[u8]) {
        let mut engine = self.tunnel.engine();
        let engine = &mut *engine;
        let handle = engine.peers[&neighbor.name].link.unwrap();
        let link = engine.links.get_mut(&handle).unwrap();
        wrap(link, &mut engine.arena, header, payload).unwrap();
        engine.transmit(Instant::now(), handle);
    }

    /// Dials `host` over `relay`, whether or not it can be reached directly.
    fn dial_over(&self, relay: &Self, host: &HostId) {
        let now = Instant::now();
        let mut engine = self.tunnel.engine();
        let place = Place {
            relay: engine.peers[&relay.name].number,
            host: engine.peers[host].number,
        };
        engine.open(now, host, place.address()).unwrap();
        engine.settle(now);
    }
}

fn meet(one: &Host, other: &Host) {
    other.tunnel.connect(&one.name, one.tunnel.local_address());
    one.tunnel
        .connect(&other.name, other.tunnel.local_address());
    eventually("the hosts are connected", || {
        one.tunnel.is_up(&other.name) && other.tunnel.is_up(&one.name)
    });
}

fn to_relay(host: &str) -> RelayHeader<'_> {
    RelayHeader {
        leg: Leg::ToRelay,
        host,
    }
}

#[test]
fn nothing_is_passed_on_to_the_sender_to_the_relay_itself_or_to_a_host_of_no_member() {
    let authority = Authority::new();
    let hosts = ["mallory", "relay", "victim"].map(|name| Host::new(&authority, name));
    let [mallory, relay, victim] = &hosts;
    meet(mallory, relay);
    meet(relay, victim);
    let before = victim.counts();
    for host in ["mallory", "relay", "foreign", "Victim", "victim.", "\u{e4}"] {
        let refused = relay.counts().relay_refused;
        mallory.send(relay, &to_relay(host), &[0x40; 1200]);
        eventually("it is refused", || {
            relay.counts().relay_refused == refused + 1
        });
    }
    // A host that the relay expects, and is not connected to.
    let away = HostId::new("away").unwrap();
    let nowhere = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    relay.tunnel.connect(&away, nowhere.local_addr().unwrap());
    let refused = relay.counts().relay_refused;
    mallory.send(relay, &to_relay("away"), &[0x40; 1200]);
    eventually("it is refused", || {
        relay.counts().relay_refused == refused + 1
    });
    assert_eq!(relay.counts().relayed, 0);
    assert_eq!(victim.counts(), before);
}

#[test]
fn more_than_the_budget_is_dropped_and_the_relay_goes_on() {
    let authority = Authority::new();
    let hosts = ["mallory", "relay", "victim"].map(|name| Host::new(&authority, name));
    let [mallory, relay, victim] = &hosts;
    meet(mallory, relay);
    meet(relay, victim);
    // A burst of nine.
    let budget = RelayBudget::new(Time::default(), 100);
    relay.tunnel.engine().relays.budget = budget;
    for _ in 0..200 {
        mallory.send(relay, &to_relay("victim"), &[0x40; 1100]);
    }
    eventually("more is sent than may pass", || {
        relay.counts().relay_over_budget > 50
    });
    assert!(relay.counts().relayed >= 9, "{:?}", relay.counts());
    assert!(relay.tunnel.is_up(&victim.name) && relay.tunnel.is_up(&mallory.name));
}

#[test]
fn a_relay_that_lies_about_the_sender_deceives_nobody() {
    let authority = Authority::new();
    let hosts = ["mallory", "relay", "victim"].map(|name| Host::new(&authority, name));
    let [mallory, relay, victim] = &hosts;
    meet(mallory, relay);
    meet(relay, victim);
    let alice = HostId::new("alice").unwrap();
    // The victim expects both, and reaches neither.
    let nowhere = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let nowhere = nowhere.local_addr().unwrap();
    for name in [&alice, &mallory.name] {
        victim.tunnel.connect(name, nowhere);
    }
    mallory.tunnel.connect(&victim.name, nowhere);
    // From now on the relay takes mallory for alice.
    {
        let mut engine = relay.tunnel.engine();
        let remote = engine.peers.remove(&mallory.name).unwrap();
        let handle = remote.link.unwrap();
        engine.peers.insert(alice.clone(), remote);
        engine.links.get_mut(&handle).unwrap().host = Some(alice.clone());
    }
    let refused = victim.counts().refused;
    mallory.dial_over(relay, &victim.name);
    eventually("mallory is refused", || victim.counts().refused > refused);
    assert!(relay.counts().relayed > 0);
    assert!(!victim.tunnel.is_up(&alice) && !victim.tunnel.is_up(&mallory.name));
}

#[test]
fn what_was_relayed_is_not_relayed_again() {
    let authority = Authority::new();
    let hosts = ["alpha", "beta", "gamma", "delta"].map(|name| Host::new(&authority, name));
    let [alpha, beta, gamma, delta] = &hosts;
    // Beta and gamma reach each other over delta alone; alpha reaches gamma.
    let nowhere = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let nowhere = nowhere.local_addr().unwrap();
    for near in [beta, gamma] {
        meet(near, delta);
    }
    meet(alpha, gamma);
    beta.tunnel.connect(&gamma.name, nowhere);
    gamma.tunnel.connect(&beta.name, nowhere);
    eventually("they reach each other over delta", || {
        let peer = gamma.tunnel.peer(&beta.name).unwrap();
        peer.is_up && peer.relay.as_ref() == Some(&delta.name)
    });
    alpha.send(gamma, &to_relay("beta"), &[0x40; 1000]);
    eventually("gamma does not pass it on", || {
        gamma.counts().relay_refused == 1
    });
    // Nor does beta take a relay's word over such a connection.
    let malformed = beta.counts().malformed;
    let from_relay = RelayHeader {
        leg: Leg::FromRelay,
        host: "alpha",
    };
    gamma.send(beta, &from_relay, &[0x40; 1000]);
    eventually("beta does not take it", || {
        beta.counts().malformed > malformed
    });
    assert_eq!(gamma.counts().relayed, 0);
}
