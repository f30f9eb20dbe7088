//! Measures tunnels between two hosts against the kernel's VXLAN device and bridge, in interleaved runs.
//!
//! `two_hosts ROUNDS SECONDS offloaded|segmented MODE...`; modes: `kernel`, `vxlan`, `quic`. Needs root, iperf3 and ethtool.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use overlay_core::HostId;
use overlay_io::{QuicTunnel, VxlanConfig, VxlanTunnel};
use overlay_lab::{
    Authority, Network, Process, Station, Underlay, eventually, host, ip, iperf, kernel_container,
    quic_config, vni,
};
use switch_core::PortId;
use switch_io::EngineChoice;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rounds, seconds, underlay, modes @ ..] = arguments.as_slice() else {
        anyhow::bail!("usage: two_hosts ROUNDS SECONDS offloaded|segmented MODE...");
    };
    let setups: Vec<Setup> = modes
        .iter()
        .map(|mode| Setup::new(mode, underlay == "segmented"))
        .collect();
    let mut results = vec![Vec::new(); setups.len()];
    for _ in 0..rounds.parse()? {
        for (setup, results) in setups.iter().zip(&mut results) {
            results.push(setup.measure(seconds.parse()?));
        }
        for (mode, results) in modes.iter().zip(&results) {
            print!("{mode} {:.2}  ", results.last().unwrap_or(&0.0));
        }
        println!();
    }
    let base = median(&results[0]);
    for (mode, results) in modes.iter().zip(&results) {
        let rate = median(results);
        println!(
            "{mode}: median {rate:.2} Gbit/s, {:.2} of {}",
            rate / base,
            modes[0]
        );
    }
    for (mode, setup) in modes.iter().zip(&setups) {
        for host in &setup.underlay.hosts {
            let errors = host.sh("nstat -az | awk '/^Udp.*Err/ && $2 > 0 {print $1, $2}'");
            print!("{errors}");
        }
        for (network, port) in setup.networks.iter().zip(&setup.ports) {
            if let Some(counts) = network.switch.counters(*port) {
                let mean = |bytes: u64, frames: u64| bytes / frames.max(1);
                println!(
                    "{mode}: mean frame in {} B of {}, out {} B of {}",
                    mean(counts.rx_bytes, counts.rx_frames),
                    counts.rx_frames,
                    mean(counts.tx_bytes, counts.tx_frames),
                    counts.tx_frames
                );
                let reasons = switch_core::DropReason::ALL.iter();
                for reason in reasons.filter(|reason| counts.dropped(**reason) > 0) {
                    println!("{mode}: {reason} {}", counts.dropped(*reason));
                }
            }
        }
    }
    Ok(())
}

/// A container on each of two hosts, and what connects them.
struct Setup {
    client: Station,
    server: Station,
    _iperf: Process,
    networks: Vec<Network>,
    ports: Vec<PortId>,
    _tunnels: Vec<Box<dyn std::any::Any>>,
    underlay: Underlay,
}

impl Setup {
    fn new(mode: &str, segmented: bool) -> Self {
        let underlay = Underlay::new();
        if segmented {
            underlay.segment();
        }
        let mut networks = Vec::new();
        let mut tunnels: Vec<Box<dyn std::any::Any>> = Vec::new();
        let mut ports = Vec::new();
        let [client, server] = match mode {
            "kernel" => kernel(&underlay),
            "quic" => quic(&underlay, &mut networks, &mut tunnels, &mut ports),
            _ => vxlan(&underlay, &mut networks, &mut tunnels, &mut ports),
        };
        let iperf = server.spawn("iperf3 -s");
        assert!(client.pings("10.9.0.2"), "{mode} does not connect");
        Self {
            client,
            server,
            _iperf: iperf,
            networks,
            ports,
            _tunnels: tunnels,
            underlay,
        }
    }

    fn measure(&self, seconds: u32) -> f64 {
        let _ = &self.server;
        iperf(&self.client, "10.9.0.2", seconds, "")
    }
}

const INSIDE: [&str; 2] = ["10.9.0.1/24", "10.9.0.2/24"];
const OUTSIDE: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

fn kernel(underlay: &Underlay) -> [Station; 2] {
    [0, 1].map(|n| {
        let vxlan = format!("id 42 local {} remote {}", OUTSIDE[n], OUTSIDE[1 - n]);
        kernel_container(&underlay.hosts[n], &vxlan, 1450, &[INSIDE[n]])
    })
}

fn vxlan(
    underlay: &Underlay,
    networks: &mut Vec<Network>,
    tunnels: &mut Vec<Box<dyn std::any::Any>>,
    ports: &mut Vec<PortId>,
) -> [Station; 2] {
    [0, 1].map(|n| {
        let host = &underlay.hosts[n];
        let mut network = Network::new(EngineChoice::Auto, 1450);
        let (tunnel, trunk) =
            host.run(move || VxlanTunnel::bind(&VxlanConfig::new(ip(OUTSIDE[n]))).unwrap());
        network.trunk(trunk);
        let port = network.tunnel(tunnel.port(vni(42), ip(OUTSIDE[1 - n]), 1450).unwrap());
        ports.push(port);
        let (_, container) = network.container(host, &[INSIDE[n]]);
        networks.push(network);
        tunnels.push(Box::new(tunnel));
        container
    })
}

fn quic(
    underlay: &Underlay,
    networks: &mut Vec<Network>,
    tunnels: &mut Vec<Box<dyn std::any::Any>>,
    ports: &mut Vec<PortId>,
) -> [Station; 2] {
    let authority = Authority::new();
    [0, 1].map(|n| {
        let outer = &underlay.hosts[n];
        let mut network = Network::new(EngineChoice::Auto, 1500);
        let config = quic_config(
            HOSTS[n],
            (ip(OUTSIDE[n]), UDP_PORT).into(),
            authority.host(HOSTS[n], |_| {}),
        );
        let (tunnel, trunk) = outer.run(move || QuicTunnel::start(config).unwrap());
        network.trunk(trunk);
        let remote = host(HOSTS[1 - n]);
        let port = network.tunnel(tunnel.port(vni(42), &remote, 1500).unwrap());
        ports.push(port);
        tunnel.connect(&remote, (ip(OUTSIDE[1 - n]), UDP_PORT).into());
        let peer = remote.clone();
        if n == 1 {
            eventually("the hosts are connected", || tunnel.is_up(&remote));
        }
        let (_, container) = network.container(outer, &[INSIDE[n]]);
        networks.push(network);
        tunnels.push(Box::new(Counted(tunnel, peer)));
        container
    })
}

/// Prints its counters in the end.
struct Counted(QuicTunnel, HostId);

impl Drop for Counted {
    fn drop(&mut self) {
        println!(
            "quic: {:?} {:?}",
            self.0.counts(),
            self.0.peer_counts(&self.1)
        );
    }
}

const HOSTS: [&str; 2] = ["alpha", "beta"];
const UDP_PORT: u16 = 4790;

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
