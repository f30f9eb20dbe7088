//! Contenders: the switches that are compared, each behind the same two traits.

mod agent;
mod bridge;
mod cluster;
mod labs;
mod membership;
mod name_server;
mod open_vswitch;
mod overlay;
mod runtime;
mod switch_core;
mod tapestry;
mod uplink;
mod upstream;
mod vde;

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::command::Background;
use crate::netns::Netns;
use crate::trouble::Trouble;

pub(crate) use bridge::KernelBridge;
pub(crate) use cluster::{Cluster, ClusterHost, Hosts};
pub(crate) use labs::{Graph, Labs, Rig};
pub(crate) use name_server::NameServer;
pub(crate) use open_vswitch::OpenVswitch;
pub(crate) use overlay::{
    KernelVxlan, Nebula, OvsVxlan, TapestryOverlay, Tinc, Underlay, Wire, WireguardGo,
};
pub(crate) use runtime::{Engine, Network, Runtime};
pub(crate) use switch_core::SwitchCore;
pub(crate) use tapestry::Tapestry;
pub(crate) use uplink::Uplink;
pub(crate) use vde::Vde;

/// A program that switches frames, and how to start it.
pub(crate) trait Contender {
    /// One word, as the report and SPEC.md call it.
    fn name(&self) -> &'static str;

    /// Whether it is measured by a row; most are by all.
    fn enters(&self, _row: &str) -> bool {
        true
    }

    /// Starts it with nothing attached, for up to `plan.ports` ports.
    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble>;
}

/// A running switch. Dropping it ends its processes and removes what it made.
pub(crate) trait Fabric {
    /// Gives the plug's namespace a link, up and addressed; its frames flow when this returns.
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble>;

    /// Takes the link away again.
    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble>;

    /// The processes that switch; none for a kernel.
    fn processes(&self) -> Vec<u32>;

    /// Frames it dropped so far, where it counts them.
    fn drops(&self) -> Result<Option<u64>, Trouble>;

    /// The process that moves the frames of one plug alone, where there is such a thing.
    fn reader_of(&self, _plug: &Plug<'_>) -> Option<u32> {
        None
    }

    /// The container engine that starts the stations, where one does.
    fn engine(&mut self) -> Option<&mut dyn Engine> {
        None
    }

    /// The hosts of a cluster, where it is one.
    fn cluster(&self) -> Option<&Cluster> {
        None
    }

    /// The graph that it can bring up, where it is for that.
    fn rig(&mut self) -> Option<&mut dyn Rig> {
        None
    }

    /// What its ports can wear.
    fn layers(&mut self) -> Option<&mut dyn Layers> {
        None
    }

    /// Whether its name server remembers what others said.
    fn caches_names(&self) -> bool {
        true
    }

    fn describe(&self) -> Description;
}

/// What is put on the ports of stations while frames flow.
pub(crate) trait Layers {
    /// Writes what passes a port to a file, as much of each frame as `snaplen` says, until the capture ends.
    fn capture(
        &mut self,
        plug: &Plug<'_>,
        snaplen: Option<u32>,
    ) -> Result<Box<dyn Capturing>, Trouble>;

    /// Has one frame in `every` sampled, and shown each second, until the process is dropped.
    fn sample(&mut self, every: u32) -> Result<Background, Trouble>;

    /// Has the metrics read each second, and events followed, until the processes are dropped.
    fn observe(&mut self) -> Result<Vec<Background>, Trouble>;

    /// How long it takes to read all metrics.
    fn scrape(&mut self) -> Result<Duration, Trouble>;

    /// Gives frames to the station a rate and a delay, in tc's words, or takes both away.
    fn impair(&mut self, plug: &Plug<'_>, words: Option<(&str, &str)>) -> Result<(), Trouble>;

    /// Gives frames to the station a rate, in tc's words, or takes it away.
    fn limit(&mut self, plug: &Plug<'_>, rate: Option<&str>) -> Result<(), Trouble>;
}

/// A capture that goes on. Dropping it ends it.
pub(crate) trait Capturing {
    fn end(self: Box<Self>) -> Result<Captured, Trouble>;
}

/// Frames of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) taken: u64,
    /// Of the capture, not of the traffic.
    pub(crate) lost: u64,
}

/// What a fabric has to be ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) ports: usize,
    /// Bytes of an IP packet.
    pub(crate) mtu: u16,
    /// Between the hosts, where there are two.
    pub(crate) underlay: Underlay,
    /// What starts the containers.
    pub(crate) runtime: Runtime,
    /// Of a cluster.
    pub(crate) hosts: usize,
}

/// Where a link is to appear.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plug<'a> {
    pub(crate) netns: &'a Netns,
    pub(crate) link: &'a str,
    pub(crate) address: Ipv4Addr,
}

/// What a reader of the report needs to judge a contender's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) version: String,
    /// Datapath, engine, driver.
    pub(crate) setting: String,
    /// Which offloads the stations' links have.
    pub(crate) offloads: String,
}

/// Every address is of this network.
pub(crate) const SUBNET: &str = "10.77.0.0/16";
const PREFIX_LEN: u8 = 16;
/// What the fabric itself may have there.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The address of the `index`th plug.
pub(crate) fn address_of(index: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(index + 2).unwrap_or(u16::MAX).to_be_bytes();
    Ipv4Addr::new(10, 77, high, low)
}

/// Where stations ask for names.
pub(crate) const fn gateway() -> Ipv4Addr {
    GATEWAY
}

/// What a constant of ours says.
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Trouble> {
    text.parse()
        .map_err(|error| Trouble::Unsupported(format!("{text}: {error}")))
}

/// What `ethtool -k` says about the offloads that matter here.
fn offloads_of(netns: &Netns, link: &str) -> String {
    let mut command = std::process::Command::new("ethtool");
    command.args(["-k", link]);
    let Ok(Ok(text)) = netns.enter(|| crate::command::run(&mut command)) else {
        return "unknown".to_owned();
    };
    let on = OFFLOADS
        .iter()
        .filter(|(key, _)| text.lines().any(|line| is_on(line, key)))
        .map(|(_, short)| *short);
    let on: Vec<&str> = on.collect();
    if on.is_empty() {
        "none".to_owned()
    } else {
        on.join(" ")
    }
}

fn is_on(line: &str, key: &str) -> bool {
    line.trim()
        .split_once(':')
        .is_some_and(|(name, state)| name == key && state.trim().starts_with("on"))
}

const OFFLOADS: [(&str, &str); 5] = [
    ("tx-checksumming", "csum"),
    // Not the sum of its kinds, which is on when the least of them is.
    ("tx-tcp-segmentation", "tso"),
    ("tx-udp-segmentation", "uso"),
    ("generic-segmentation-offload", "gso"),
    ("generic-receive-offload", "gro"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_never_collide_with_the_gateway_and_stay_in_the_subnet() {
        assert_eq!(address_of(0), Ipv4Addr::new(10, 77, 0, 2));
        assert_eq!(address_of(4000), Ipv4Addr::new(10, 77, 15, 162));
    }

    #[test]
    fn an_offload_is_on_only_where_its_own_line_says_so() {
        assert!(is_on(
            "tcp-segmentation-offload: on",
            "tcp-segmentation-offload"
        ));
        assert!(!is_on(
            "\ttx-tcp-segmentation: on",
            "tcp-segmentation-offload"
        ));
        assert!(!is_on("tx-checksumming: off [fixed]", "tx-checksumming"));
    }
}
