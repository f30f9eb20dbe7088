//! What is asked about networks: their ports, tables, rules, and what passes.

use std::fmt::Write as _;

use super::{Answer, Client, LogStream, segment};
use crate::{
    AclAction, AclAdd, AclDefault, AclView, Capture, Connect, Disconnect, FdbEntryCreate,
    FdbEntryView, FdbPart, FlowQuery, FlowReport, LinkUpdate, MdbEntryView, MirrorCreate,
    MirrorView, NetworkCreate, NetworkDetail, NetworkSummary, NetworkUpdate, PatchCreate,
    PatchLink, PortView, Pruned, TraceReport, TraceRequest,
};

impl Client {
    pub async fn networks(&self) -> Answer<Vec<NetworkSummary>> {
        self.fetch("/networks").await
    }

    pub async fn create_network(&self, network: &NetworkCreate) -> Answer<NetworkSummary> {
        self.post("/networks", network).await
    }

    pub async fn update_network(
        &self,
        name: &str,
        update: &NetworkUpdate,
    ) -> Answer<NetworkSummary> {
        self.amend(&format!("/networks/{}", segment(name)), update)
            .await
    }

    /// Without what was counted, as it is in the agent's memory. `name` may be an id or the beginning of one, here and below.
    pub async fn network(&self, name: &str) -> Answer<NetworkDetail> {
        self.fetch(&format!("/networks/{}?counters=false", segment(name)))
            .await
    }

    /// With what was counted, for which every port and the packet filter are asked.
    pub async fn network_counted(&self, name: &str) -> Answer<NetworkDetail> {
        self.fetch(&format!("/networks/{}", segment(name))).await
    }

    pub async fn remove_network(&self, name: &str) -> Answer<()> {
        self.delete(&format!("/networks/{}", segment(name))).await
    }

    pub async fn prune_networks(&self) -> Answer<Pruned> {
        self.post("/networks/prune", &()).await
    }

    pub async fn connect(&self, network: &str, connect: &Connect) -> Answer<()> {
        let path = format!("/networks/{}/connect", segment(network));
        self.tell(&path, connect).await
    }

    pub async fn disconnect(&self, network: &str, disconnect: &Disconnect) -> Answer<()> {
        let path = format!("/networks/{}/disconnect", segment(network));
        self.tell(&path, disconnect).await
    }

    /// Joins two networks to one segment.
    pub async fn patch_networks(&self, network: &str, patch: &PatchCreate) -> Answer<()> {
        let path = format!("/networks/{}/patches", segment(network));
        self.tell(&path, patch).await
    }

    pub async fn unpatch_networks(&self, network: &str, other: &str) -> Answer<()> {
        let (network, other) = (segment(network), segment(other));
        self.delete(&format!("/networks/{network}/patches/{other}"))
            .await
    }

    /// What goes wrong between two networks that are joined.
    pub async fn patch_link(&self, network: &str, other: &str) -> Answer<PatchLink> {
        let (network, other) = (segment(network), segment(other));
        self.fetch(&format!("/networks/{network}/patches/{other}/link"))
            .await
    }

    pub async fn update_patch_link(
        &self,
        network: &str,
        other: &str,
        update: &LinkUpdate,
    ) -> Answer<PatchLink> {
        let (network, other) = (segment(network), segment(other));
        let path = format!("/networks/{network}/patches/{other}/link");
        self.amend(&path, update).await
    }

    pub async fn mirrors(&self, network: &str) -> Answer<Vec<MirrorView>> {
        self.fetch(&format!("/networks/{}/mirrors", segment(network)))
            .await
    }

    /// Has what passes one port written to another one as well.
    pub async fn mirror_port(&self, network: &str, mirror: &MirrorCreate) -> Answer<()> {
        let path = format!("/networks/{}/mirrors", segment(network));
        self.tell(&path, mirror).await
    }

    pub async fn unmirror_port(&self, network: &str, from: &str) -> Answer<()> {
        let (network, from) = (segment(network), segment(from));
        self.delete(&format!("/networks/{network}/mirrors/{from}"))
            .await
    }

    /// Forgets entries of the forwarding table, behind one port or all.
    pub async fn flush_fdb(&self, network: &str, port: Option<&str>, part: FdbPart) -> Answer<()> {
        let part = match part {
            FdbPart::Learned => "learned",
            FdbPart::Static => "static",
        };
        let port = port.map(|port| format!("&port={}", segment(port)));
        let path = format!("/networks/{}/fdb?part={part}", segment(network));
        self.delete(&(path + &port.unwrap_or_default())).await
    }

    /// Configures a station of the network's forwarding table.
    pub async fn add_fdb_entry(&self, network: &str, entry: &FdbEntryCreate) -> Answer<()> {
        let path = format!("/networks/{}/fdb", segment(network));
        self.tell(&path, entry).await
    }

    /// Forgets one station.
    pub async fn remove_fdb_entry(&self, network: &str, mac: &str) -> Answer<()> {
        let (network, mac) = (segment(network), segment(mac));
        self.delete(&format!("/networks/{network}/fdb/{mac}")).await
    }

    pub async fn acl(&self, network: &str) -> Answer<AclView> {
        self.fetch(&format!("/networks/{}/acl", segment(network)))
            .await
    }

    /// Adds a rule to the network's access list, and gives its priority.
    pub async fn add_acl_rule(&self, network: &str, add: &AclAdd) -> Answer<u32> {
        let path = format!("/networks/{}/acl", segment(network));
        self.post(&path, add).await
    }

    pub async fn remove_acl_rule(&self, network: &str, priority: u32) -> Answer<()> {
        let path = format!("/networks/{}/acl/{priority}", segment(network));
        self.delete(&path).await
    }

    /// Says what becomes of frames that no rule means.
    pub async fn set_acl_default(&self, network: &str, action: AclAction) -> Answer<()> {
        let path = format!("/networks/{}/acl/default", segment(network));
        self.tell(&path, &AclDefault { action }).await
    }

    pub async fn fdb(&self, network: &str) -> Answer<Vec<FdbEntryView>> {
        self.fetch(&format!("/networks/{}/fdb", segment(network)))
            .await
    }

    /// Who listens to which multicast group.
    pub async fn mdb(&self, network: &str) -> Answer<Vec<MdbEntryView>> {
        self.fetch(&format!("/networks/{}/mdb", segment(network)))
            .await
    }

    pub async fn ports(&self, network: &str) -> Answer<Vec<PortView>> {
        self.fetch(&format!("/networks/{}/ports", segment(network)))
            .await
    }

    /// What would become of frames that nobody sends.
    pub async fn trace(&self, network: &str, trace: &TraceRequest) -> Answer<TraceReport> {
        let path = format!("/networks/{}/trace", segment(network));
        self.post(&path, trace).await
    }

    /// Who talks to whom on the network; waits for as long as is looked.
    pub async fn flows(&self, network: &str, query: &FlowQuery) -> Answer<FlowReport> {
        let mut path = format!("/networks/{}/flows?drops={}", segment(network), query.drops);
        let given = [
            ("top", query.top),
            ("sample", query.sample),
            ("seconds", query.seconds),
        ];
        for (name, number) in given {
            if let Some(number) = number {
                // Writing to a string does not fail.
                let _ = write!(path, "&{name}={number}");
            }
        }
        self.fetch(&path).await
    }

    /// The frames that pass the network's switches from now on, a [`crate::TraceLine`] a line, until the network is gone: those of all
    /// its hosts, or `here` only.
    pub async fn trace_live(
        &self,
        network: &str,
        filter: &str,
        (drops, here): (bool, bool),
    ) -> Answer<LogStream> {
        let (network, filter) = (segment(network), segment(filter));
        let path = format!("/networks/{network}/trace?filter={filter}&drops={drops}&here={here}");
        self.follow(&path).await
    }

    /// The queries that the network's forwarder answers from now on, a [`crate::QueryLogEntry`] a line, until the
    /// network is gone.
    pub async fn dns_log(&self, network: &str) -> Answer<LogStream> {
        let path = format!("/networks/{}/dns/log", segment(network));
        self.follow(&path).await
    }

    /// What passes the network's ports from now on, as pcapng; dropping it ends the capture.
    pub async fn capture_network(&self, network: &str, capture: &Capture) -> Answer<LogStream> {
        let path = format!("/networks/{}/capture", segment(network));
        self.capture(path + "?port=", capture).await
    }
}
