//! Families: contenders that can be compared, and the rows they are compared by. A new one is a module's worth of rows
//! and an entry here.

use std::rc::Rc;

use crate::contender::{
    Contender, Hosts, KernelBridge, KernelVxlan, Labs, NameServer, Nebula, Network, OpenVswitch,
    OvsVxlan, Runtime, SwitchCore, Tapestry, TapestryOverlay, Tinc, Underlay, Uplink, Vde, Wire,
    WireguardGo,
};
use crate::row::{
    Attach, Beside, Broadcast, Burst, Capture, Changes, ClusterIdle, Cni, Create, Dns,
    DockerPublished, DockerRun, DockerTcp, FatTree, Fdb, Flows, HeadOfLine, Idle, ImpairedLink,
    LabUp, Latency, Limit, Load, MacMove, ManyToOne, Memory, Mesh, OverlayLatency, OverlayTcp,
    OverlayUdp, Ports, Reference, Resolvable, Revoke, Row, Scrape, Tcp, Udp, UdpGso, UplinkTcp,
};

/// Rows with the contenders that they compare.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    /// The contender that the others' ratios are to.
    pub(crate) baseline: Option<&'static str>,
    pub(crate) contenders: Vec<Box<dyn Contender>>,
    pub(crate) rows: Vec<Box<dyn Row>>,
}

impl Family {
    /// Whether a row is called exactly so.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.rows.iter().any(|row| row.name() == name)
    }
}

/// All of them, in the order they run.
pub(crate) fn families() -> Vec<Family> {
    vec![
        one_host(),
        latency(),
        table(),
        dns(),
        overlay(),
        uplink(),
        runtimes(),
        cluster(),
        labs(),
    ]
}

/// Two or more containers on one host.
fn one_host() -> Family {
    Family {
        name: "one-host",
        baseline: Some("bridge"),
        contenders: vec![
            Box::new(KernelBridge),
            tapestry("tapestry", "auto", "offload"),
            tapestry("epoll", "epoll", "offload"),
            Box::new(Tapestry {
                name: "tapestry-join",
                engine: "auto",
                tap: "offload",
                joins_udp: true,
                names: false,
            }),
            tapestry("basic", "auto", "basic"),
            open_vswitch("ovs", false),
            open_vswitch("ovs-tso", true),
            Box::new(Vde),
        ],
        rows: [
            traffic_rows(1500),
            traffic_rows(9000),
            small_rows(),
            many_rows(),
            port_rows(),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

/// Questions and answers beside the traffic of others.
fn latency() -> Family {
    let beside = |load, elsewhere| -> Box<dyn Row> { Box::new(Beside { load, elsewhere }) };
    Family {
        name: "latency",
        baseline: Some("bridge"),
        contenders: vec![
            Box::new(KernelBridge),
            tapestry("tapestry", "auto", "offload"),
            tapestry("epoll", "epoll", "offload"),
        ],
        rows: vec![
            beside(Load::Tcp, true),
            beside(Load::Datagrams, true),
            beside(Load::Tcp, false),
            beside(Load::Datagrams, false),
        ],
    }
}

/// The switch's decisions without a wire.
fn table() -> Family {
    let sizes = [100, 1_000, 10_000, 100_000, 1_000_000];
    let sizes = sizes.map(|entries| -> Box<dyn Row> { Box::new(Fdb::Size(entries)) });
    let mut rows = Vec::from(sizes);
    rows.push(Box::new(Fdb::Learn));
    rows.push(Box::new(Fdb::Move));
    Family {
        name: "table",
        baseline: None,
        contenders: vec![Box::new(SwitchCore)],
        rows,
    }
}

/// The gateway's name server.
fn dns() -> Family {
    let reference = Rc::new(Reference::default());
    Family {
        name: "dns",
        baseline: Some("dnsmasq"),
        // The first sets the half load.
        contenders: vec![
            Box::new(NameServer::Dnsmasq),
            Box::new(Tapestry {
                name: "tapestry",
                engine: "auto",
                tap: "offload",
                joins_udp: false,
                names: true,
            }),
            Box::new(NameServer::Aardvark),
        ],
        rows: vec![
            Box::new(Dns::Local(Rc::clone(&reference))),
            Box::new(Dns::Cached),
            Box::new(Dns::HalfLoad(Rc::clone(&reference))),
            Box::new(Dns::Bulk(reference)),
        ],
    }
}

/// A container on each of two hosts.
fn overlay() -> Family {
    let tcp = |streams, mtu, wire| -> Box<dyn Row> {
        let underlay = Underlay { mtu, wire };
        Box::new(OverlayTcp { streams, underlay })
    };
    Family {
        name: "overlay",
        baseline: Some("kernel-vxlan"),
        contenders: vec![
            Box::new(KernelVxlan),
            Box::new(TapestryOverlay::Vxlan),
            Box::new(TapestryOverlay::Quic),
            Box::new(Nebula),
            Box::new(WireguardGo),
            Box::new(Tinc),
            Box::new(OvsVxlan),
        ],
        rows: vec![
            tcp(1, 1500, Wire::Offloaded),
            tcp(4, 1500, Wire::Offloaded),
            tcp(8, 1500, Wire::Offloaded),
            Box::new(OverlayUdp {
                size: 1200,
                underlay: Underlay::PLAIN,
            }),
            Box::new(OverlayLatency),
            tcp(1, 1500, Wire::Segmented),
            tcp(1, 9000, Wire::Offloaded),
            tcp(1, 1500, Wire::Lossy),
        ],
    }
}

/// Containers on the LAN of a NIC.
fn uplink() -> Family {
    Family {
        name: "uplink",
        baseline: Some("kernel-macvlan"),
        contenders: vec![
            Box::new(Uplink::Kernel),
            Box::new(Uplink::Macvlan),
            Box::new(Uplink::Ipvlan),
        ],
        rows: vec![
            Box::new(UplinkTcp { inward: false }),
            Box::new(UplinkTcp { inward: true }),
        ],
    }
}

/// Containers of other engines, on their own networks and on ours.
fn runtimes() -> Family {
    let tcp = |runtime| -> Box<dyn Row> { Box::new(DockerTcp { runtime }) };
    Family {
        name: "runtimes",
        baseline: Some("native"),
        contenders: vec![Box::new(Network::Native), Box::new(Network::Tapestry)],
        rows: vec![
            Box::new(DockerRun),
            tcp(Runtime::Docker),
            Box::new(DockerPublished),
            Box::new(Cni),
            tcp(Runtime::TwoDockers),
        ],
    }
}

/// Many hosts that know of each other.
fn cluster() -> Family {
    Family {
        name: "cluster",
        baseline: None,
        contenders: vec![
            Box::new(Hosts {
                name: "tapestry",
                managers: 1,
            }),
            Box::new(Hosts {
                name: "three-managers",
                managers: 3,
            }),
        ],
        rows: vec![
            // Before there was any network.
            Box::new(ClusterIdle { shares: false }),
            Box::new(ClusterIdle { shares: true }),
            Box::new(Create),
            Box::new(Resolvable),
            Box::new(Changes),
            Box::new(Memory),
            Box::new(Revoke),
        ],
    }
}

/// Graphs of many nodes, and what their links wear.
fn labs() -> Family {
    Family {
        name: "labs",
        baseline: Some("mininet"),
        contenders: vec![
            Box::new(Labs::MininetBridge),
            Box::new(Labs::MininetOvs),
            Box::new(Labs::Tapestry),
        ],
        rows: vec![
            Box::new(LabUp),
            Box::new(FatTree),
            Box::new(Capture),
            Box::new(Flows),
            Box::new(Scrape { endpoints: 1000 }),
            Box::new(ImpairedLink),
            Box::new(Limit::MBIT_100),
            Box::new(Limit::GBIT_1),
        ],
    }
}

fn traffic_rows(mtu: u16) -> Vec<Box<dyn Row>> {
    let tcp = |streams, both_ways| -> Box<dyn Row> {
        Box::new(Tcp {
            streams,
            both_ways,
            mtu,
        })
    };
    vec![tcp(1, false), tcp(8, false), tcp(1, true)]
}

fn small_rows() -> Vec<Box<dyn Row>> {
    let latency = |connect, loaded| -> Box<dyn Row> { Box::new(Latency { connect, loaded }) };
    vec![
        Box::new(Udp { size: 64 }),
        Box::new(Udp { size: 512 }),
        Box::new(Udp { size: 1472 }),
        Box::new(UdpGso),
        Box::new(Burst),
        latency(false, false),
        latency(true, false),
        latency(false, true),
        latency(true, true),
        Box::new(Idle),
        Box::new(Attach),
        Box::new(HeadOfLine),
        Box::new(MacMove),
    ]
}

fn many_rows() -> Vec<Box<dyn Row>> {
    vec![
        Box::new(Mesh { stations: 4 }),
        Box::new(Mesh { stations: 16 }),
        Box::new(ManyToOne),
        Box::new(Broadcast { receivers: 15 }),
        Box::new(Mesh { stations: 64 }),
    ]
}

fn port_rows() -> Vec<Box<dyn Row>> {
    let sizes = [2, 64, 1000, 4000];
    Vec::from(sizes.map(|ports| -> Box<dyn Row> { Box::new(Ports { ports }) }))
}

fn tapestry(name: &'static str, engine: &'static str, tap: &'static str) -> Box<dyn Contender> {
    Box::new(Tapestry {
        name,
        engine,
        tap,
        joins_udp: false,
        names: false,
    })
}

fn open_vswitch(name: &'static str, tso: bool) -> Box<dyn Contender> {
    Box::new(OpenVswitch { name, tso })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let mut seen = BTreeSet::new();
        for family in families() {
            for row in &family.rows {
                assert!(seen.insert(row.name()), "{} twice", row.name());
            }
            let contenders: BTreeSet<_> = family.contenders.iter().map(|one| one.name()).collect();
            assert_eq!(contenders.len(), family.contenders.len());
            assert!(family.baseline.is_none_or(|name| contenders.contains(name)));
        }
    }
}
