//! Hosts on loopback, for tests of who talks to whom. They need no root.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use overlay_core::{Epoch, Timing};
use overlay_io::{Credentials, QuicEvent, QuicTrunk, QuicTunnel};
use switch_core::PortId;
use switch_io::{ChannelEnd, EngineChoice};

use crate::{Authority, Network, host, quic_config, vni};

/// A host with one network and one station in it.
pub struct Host {
    pub tunnel: QuicTunnel,
    pub events: Receiver<QuicEvent>,
    pub network: Network,
    pub station: ChannelEnd,
}

pub const LOCALHOST: &str = "127.0.0.1:0";

impl Host {
    pub fn new(name: &str, credentials: Credentials) -> Self {
        Self::at(name, LOCALHOST.parse().unwrap(), credentials)
    }

    pub fn at(name: &str, local: SocketAddr, credentials: Credentials) -> Self {
        Self::again(name, (local, None), credentials)
    }

    pub fn again(
        name: &str,
        (local, kept): (SocketAddr, Option<OwnedFd>),
        credentials: Credentials,
    ) -> Self {
        let config = quic_config(name, local, credentials);
        Self::of(QuicTunnel::start_again(config, kept).unwrap())
    }

    pub fn timed(name: &str, credentials: Credentials, timing: Timing) -> Self {
        let mut config = quic_config(name, LOCALHOST.parse().unwrap(), credentials);
        config.timing = timing;
        Self::of(QuicTunnel::start_again(config, None).unwrap())
    }

    /// Another run of `other`, of that `epoch`, beside it.
    pub fn beside(other: &Self, name: &str, epoch: u64, credentials: Credentials) -> Self {
        let mut config = quic_config(name, other.address(), credentials);
        config.epoch = Epoch(epoch);
        let socket = other.tunnel.socket().unwrap();
        let heritage = other.tunnel.make_way().unwrap();
        Self::of(QuicTunnel::start_beside(config, socket, heritage).unwrap())
    }

    pub fn of((tunnel, trunk): (QuicTunnel, QuicTrunk)) -> Self {
        let mut network = Network::new(EngineChoice::Auto, 1500);
        network.trunk(trunk);
        let (_, station) = network.station();
        Self {
            events: tunnel.events(),
            tunnel,
            network,
            station,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.tunnel.local_address()
    }

    pub fn port(&self, network: u32, remote: &str) -> PortId {
        let port = self.tunnel.port(vni(network), &host(remote), 1500).unwrap();
        self.network.tunnel(port)
    }

    pub fn wait_for(&self, is_it: impl Fn(&QuicEvent) -> bool) -> Duration {
        let start = Instant::now();
        loop {
            let event = self.events.recv_timeout(Duration::from_secs(5)).unwrap();
            if is_it(&event) {
                return start.elapsed();
            }
        }
    }

    pub fn wait_up(&self, remote: &str) -> Duration {
        self.wait_for(
            |event| matches!(event, QuicEvent::PeerUp { host, .. } if host.as_str() == remote),
        )
    }

    pub fn wait_down(&self, remote: &str) -> Duration {
        self.wait_for(
            |event| matches!(event, QuicEvent::PeerDown { host } if host.as_str() == remote),
        )
    }
}

/// `alpha`, which dials, and `beta`.
pub fn pair(authority: &Authority) -> [Host; 2] {
    let hosts = ["alpha", "beta"].map(|name| Host::new(name, authority.host(name, |_| {})));
    meet(&hosts[0], &hosts[1]);
    hosts
}

pub fn meet(alpha: &Host, beta: &Host) {
    beta.tunnel.connect(&host("alpha"), alpha.address());
    alpha.tunnel.connect(&host("beta"), beta.address());
}

pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5,
    ];
    frame.extend(payload);
    frame
}

pub fn crosses(from: &Host, to: &Host, payload: &[u8]) {
    let sent = frame(payload);
    assert!(from.station.send(&sent));
    let received = to.station.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(received.frame() == sent, "the frame changed");
}
