//! Every metric that there is: its name, type, unit and labels. docs/metrics.md has an entry for each.
//!
//! # Theory of operation
//!
//! A name is made as Prometheus and OpenMetrics want it: `tapestry`, what is measured, its base unit where it has one, and `_total`
//! where it is a counter. "Receive" is what came from a port, "transmit" what went to it, as `port ls` counts. The `container_network`
//! metrics are cAdvisor's, for dashboards that know those: there, "receive" is what the container received.

use Kind::{Counter, Gauge, Histogram};

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, as long as who counts is there.
    Counter,
    Gauge,
    Histogram,
}

/// A metric's entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Without unit and suffix.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: Option<&'static str>,
    pub(super) help: &'static str,
    /// In the order of a series' values.
    pub(super) labels: &'static [&'static str],
}

impl Entry {
    /// The name by which a series is asked for; of a histogram, what `_bucket`, `_sum` and `_count` are put behind.
    #[cfg(test)]
    pub(super) fn full_name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{unit}")).unwrap_or_default();
        let suffix = match self.kind {
            Counter => "_total",
            Gauge | Histogram => "",
        };
        format!("{}{unit}{suffix}", self.name)
    }
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $metric:ident = $kind:ident $name:literal $(in $unit:literal)? $(by $labels:expr)?;)*) => {
        /// One metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Metric {
            $($(#[doc = $help])+ $metric,)*
        }

        impl Metric {
            /// In the order in which they are told.
            pub(super) const ALL: &'static [Self] = &[$(Self::$metric,)*];

            pub(super) const fn entry(self) -> Entry {
                match self {
                    $(Self::$metric => Entry {
                        name: $name,
                        kind: $kind,
                        unit: metrics!(@unit $($unit)?),
                        help: concat!($($help),+),
                        labels: metrics!(@labels $($labels)?),
                    },)*
                }
            }
        }
    };
    (@unit) => { None };
    (@unit $unit:literal) => { Some($unit) };
    (@labels) => { &[] };
    (@labels $labels:expr) => { $labels };
}

impl Metric {
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

const PORT: &[&str] = &["network", "kind", "owner"];
const PORT_REASON: &[&str] = &["network", "kind", "owner", "reason"];
const NETWORK: &[&str] = &["network"];
const WORKER: &[&str] = &["worker"];
const HOST: &[&str] = &["host", "host_name"];
const TUNNEL: &[&str] = &["network", "remote"];
const CADVISOR: &[&str] = &["id", "name", "interface", "network"];

metrics! {
    /// The agent that answers; always 1.
    Agent = Gauge "tapestry_agent_info" by &["version", "engine"];
    /// How often the agent died and was started again, since its guardian began.
    AgentDeaths = Counter "tapestry_agent_deaths";
    /// What the host does not let the agent do, as `tapestry doctor` shows it.
    AgentWarnings = Gauge "tapestry_agent_warnings";
    /// How long it took to put this answer together.
    Scrape = Gauge "tapestry_scrape_duration" in "seconds";
    /// Whether ports have series of their own; 0 where there are too many, or the configuration says so.
    PerPort = Gauge "tapestry_metrics_per_port";

    /// Networks that have ports on this host; always 1.
    Network = Gauge "tapestry_network_info" by &["network", "id", "driver"];
    /// Endpoints of the network on this host.
    NetworkEndpoints = Gauge "tapestry_network_endpoints" by NETWORK;
    /// 1 where the network has no way out and should have one.
    NetworkClosed = Gauge "tapestry_network_closed" by NETWORK;
    /// Frames that came from the network's ports, those that are gone included.
    NetworkReceiveFrames = Counter "tapestry_network_receive_frames" by NETWORK;
    /// Bytes that came from the network's ports, those that are gone included.
    NetworkReceiveBytes = Counter "tapestry_network_receive" in "bytes" by NETWORK;
    /// Frames that went to the network's ports, those that are gone included.
    NetworkTransmitFrames = Counter "tapestry_network_transmit_frames" by NETWORK;
    /// Bytes that went to the network's ports, those that are gone included.
    NetworkTransmitBytes = Counter "tapestry_network_transmit" in "bytes" by NETWORK;
    /// Frames that were dropped, by the reasons of docs/drops.md, at ports that are gone too.
    NetworkDrops = Counter "tapestry_network_drops" by &["network", "reason"];
    /// Frames that a rule of the network's access list decided; of those that none did, by the priority `default`.
    AclHits = Counter "tapestry_acl_hits" by &["network", "priority"];
    /// What became of the MACs that stations were seen with.
    NetworkStations = Counter "tapestry_network_stations" by &["network", "event"];

    /// Messages about multicast groups, in networks that snoop.
    NetworkMulticast = Counter "tapestry_network_multicast_messages" by &["network", "protocol", "message"];
    /// Messages about multicast groups that were invalid, found no room, or were sent as queries.
    NetworkMulticastEvents = Counter "tapestry_network_multicast_events" by &["network", "event"];

    /// Whether the port takes frames.
    PortUp = Gauge "tapestry_port_up" by PORT;
    /// Frames that came from the port.
    PortReceiveFrames = Counter "tapestry_port_receive_frames" by PORT;
    /// Bytes that came from the port.
    PortReceiveBytes = Counter "tapestry_port_receive" in "bytes" by PORT;
    /// Frames that went to the port.
    PortTransmitFrames = Counter "tapestry_port_transmit_frames" by PORT;
    /// Bytes that went to the port.
    PortTransmitBytes = Counter "tapestry_port_transmit" in "bytes" by PORT;
    /// Frames that were dropped, by the reasons of docs/drops.md; a reason that never happened has no series.
    PortDrops = Counter "tapestry_port_drops" by PORT_REASON;

    /// Bytes that the container received.
    ContainerReceiveBytes = Counter "container_network_receive" in "bytes" by CADVISOR;
    /// Frames that the container received.
    ContainerReceivePackets = Counter "container_network_receive_packets" by CADVISOR;
    /// Frames for the container that it had no room for, or no link.
    ContainerReceiveDropped = Counter "container_network_receive_packets_dropped" by CADVISOR;
    /// Frames for the container that its link refused.
    ContainerReceiveErrors = Counter "container_network_receive_errors" by CADVISOR;
    /// Bytes that the container sent.
    ContainerTransmitBytes = Counter "container_network_transmit" in "bytes" by CADVISOR;
    /// Frames that the container sent.
    ContainerTransmitPackets = Counter "container_network_transmit_packets" by CADVISOR;
    /// Frames of the container that went nowhere.
    ContainerTransmitDropped = Counter "container_network_transmit_packets_dropped" by CADVISOR;
    /// Frames of the container that were malformed.
    ContainerTransmitErrors = Counter "container_network_transmit_errors" by CADVISOR;

    /// Processor time of the worker.
    WorkerCpu = Counter "tapestry_worker_cpu" in "seconds" by WORKER;
    /// Ports that the worker reads.
    WorkerPorts = Gauge "tapestry_worker_ports" by WORKER;
    /// Frames in a batch that the worker read at once.
    WorkerBatch = Histogram "tapestry_worker_batch_frames" by WORKER;
    /// Workers that ended by themselves and were replaced.
    WorkerRestarts = Counter "tapestry_worker_restarts";

    /// Samples of frames that were taken off the workers.
    FlowSamples = Counter "tapestry_flow_samples";
    /// Samples of frames that found no room.
    FlowSamplesLost = Counter "tapestry_flow_samples_lost";
    /// Datagrams that went to the collector of flows.
    FlowDatagrams = Counter "tapestry_flow_datagrams";
    /// Datagrams to the collector of flows that the host did not take.
    FlowDatagramsLost = Counter "tapestry_flow_datagrams_lost";

    /// Whether the connection to the host is up.
    TunnelUp = Gauge "tapestry_tunnel_up" by HOST;
    /// Round trip to the host.
    TunnelRtt = Gauge "tapestry_tunnel_rtt" in "seconds" by HOST;
    /// Packets of the connection that were sent.
    TunnelPackets = Counter "tapestry_tunnel_packets" by HOST;
    /// Packets of the connection that were lost on the way.
    TunnelLost = Counter "tapestry_tunnel_lost_packets" by HOST;
    /// Longest payload of UDP that the path to the host takes.
    TunnelPayload = Gauge "tapestry_tunnel_udp_payload" in "bytes" by HOST;
    /// Bytes of frames that came from the host at the far end.
    TunnelReceiveBytes = Counter "tapestry_tunnel_receive" in "bytes" by TUNNEL;
    /// Bytes of frames that went to the host at the far end.
    TunnelTransmitBytes = Counter "tapestry_tunnel_transmit" in "bytes" by TUNNEL;
    /// What the socket of QUIC tunnels refused or dropped.
    TunnelDrops = Counter "tapestry_tunnel_socket_drops" by &["reason"];

    /// Questions for names, by what became of them.
    DnsQueries = Counter "tapestry_dns_queries" by &["network", "outcome"];
    /// Questions that were forwarded, and no server helped.
    DnsFailures = Counter "tapestry_dns_failures" by NETWORK;
    /// Questions that were refused or dropped since too many waited.
    DnsCrowdedOut = Counter "tapestry_dns_crowded_out" by NETWORK;
    /// From a question that had to be forwarded to its answer.
    DnsForward = Histogram "tapestry_dns_forward_duration" in "seconds" by NETWORK;
    /// Messages of DHCP clients, by what became of them.
    DhcpMessages = Counter "tapestry_dhcp_messages" by &["network", "outcome"];

    /// Containers on this host.
    Containers = Gauge "tapestry_containers" by &["state"];
    /// Containers that were started again by themselves.
    ContainerRestarts = Counter "tapestry_container_restarts";
    /// How long it took to attach an endpoint.
    Attach = Histogram "tapestry_endpoint_attach_duration" in "seconds";
    /// Endpoints that could not be attached.
    AttachFailures = Counter "tapestry_endpoint_attach_failures";

    /// Whether the cluster's store answers this host; absent outside of clusters, as what follows.
    ClusterInStep = Gauge "tapestry_cluster_in_step";
    /// Hosts of the cluster.
    ClusterHosts = Gauge "tapestry_cluster_hosts" by &["state"];
    /// Managers of the cluster.
    ClusterManagers = Gauge "tapestry_cluster_managers";
    /// When this host's certificate ends, in seconds since 1970.
    ClusterCertificate = Gauge "tapestry_cluster_certificate_expiry_timestamp" in "seconds";
    /// What was refused of other hosts: their admission, their records, their writes.
    ClusterRefused = Counter "tapestry_cluster_refused" by &["what"];

    /// Processor time of the agent.
    ProcessCpu = Counter "process_cpu" in "seconds";
    /// Memory of the agent that is in RAM.
    ProcessMemory = Gauge "process_resident_memory" in "bytes";
    /// Descriptors that the agent has open.
    ProcessFds = Gauge "process_open_fds";
    /// When the agent started, in seconds since 1970.
    ProcessStart = Gauge "process_start_time" in "seconds";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut seen = BTreeSet::new();
        for (place, metric) in Metric::ALL.iter().enumerate() {
            let entry = metric.entry();
            assert_eq!(metric.index(), place);
            let name = entry.full_name();
            let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(is_plain), "{name}");
            assert!(!entry.name.ends_with("_total"), "{name}");
            for suffix in [
                "_ms", "_us", "_percent", "_bits", "_bucket", "_sum", "_count",
            ] {
                assert!(!name.ends_with(suffix), "{name}");
            }
            let has_unit = entry
                .unit
                .is_none_or(|unit| ["bytes", "seconds"].contains(&unit));
            assert!(has_unit, "{name}");
            assert!(seen.insert(name));
        }
    }

    /// The head of each entry of docs/metrics.md: a line of a table, with name, type, unit and labels.
    #[test]
    fn each_metric_has_its_line_in_the_document_with_type_unit_and_labels() {
        let page = include_str!("../../../../docs/metrics.md");
        let rows: Vec<Vec<&str>> = page
            .lines()
            .filter(|line| line.starts_with("| **"))
            .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
            .collect();
        for metric in Metric::ALL {
            let entry = metric.entry();
            let name = format!("**{}**", entry.full_name());
            let found: Vec<_> = rows.iter().filter(|row| row[0] == name).collect();
            let [row] = found[..] else {
                panic!("docs/metrics.md has {} lines {name}", found.len());
            };
            let kind = format!("{:?}", entry.kind).to_lowercase();
            let unit = entry.unit.unwrap_or("");
            let labels = entry.labels.join(", ");
            assert_eq!(row[1..4], [&kind, unit, &labels], "{name}");
            assert_eq!(row[4], entry.help.trim(), "{name}");
        }
        assert_eq!(rows.len(), Metric::ALL.len(), "a line is of no metric");
    }
}
