//! What a cluster costs that nobody uses.

use std::time::Duration;

use super::{HOSTS, Network, cluster};
use crate::contender::Cluster;
use crate::counters::Sent;
use crate::interrupt::pause;
use crate::lab::{Lab, Topology};
use crate::process::used_s;
use crate::row::{Effort, Metric, Row};
use crate::statistics::{as_f64, count_f64};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct ClusterIdle {
    /// Whether there is a network of all hosts, with a silent container on each.
    pub(crate) shares: bool,
}

impl Row for ClusterIdle {
    fn name(&self) -> String {
        match self.shares {
            false => "cluster-idle",
            true => "cluster-idle-shared",
        }
        .to_owned()
    }

    fn what(&self) -> String {
        let network = match self.shares {
            false => "no shared network",
            true => "one shared network, a silent container on each",
        };
        format!(
            "{HOSTS} hosts, {network}: what a host sends, and what its guardian and agent use, for each other host \
             (packets: all, etcd's members' and managers' too; tunnel: datagrams)"
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::lower("packets", "/s a peer"),
                Metric::lower("tunnel", "/s a peer"),
                Metric::lower("cpu", "ms/s a peer"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::cluster(HOSTS)
    }

    fn rounds_max(&self) -> usize {
        3
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let window = Duration::from_secs_f64(effort.stream_s * WINDOW);
        let cluster = cluster(lab)?;
        let network = match self.shares {
            true => Some(Network::create(cluster, cluster.founder(), 1)?),
            false => None,
        };
        let containers = network.as_ref().map(Network::populate).transpose()?;
        pause(SETTLING)?;
        let (before, times) = (sent(cluster)?, lab.switch_times().unwrap_or_default());
        pause(window)?;
        let (after, used) = (sent(cluster)?, lab.switch_times().unwrap_or_default());
        drop(containers);
        let peers = as_f64(HOSTS * (HOSTS - 1)) * window.as_secs_f64();
        Ok(vec![
            count_f64(after.packets - before.packets) / peers,
            count_f64(after.datagrams - before.datagrams) / peers,
            used_s(&times, &used) * 1e3 / peers,
        ])
    }
}

/// By all hosts together.
fn sent(cluster: &Cluster) -> Result<Sent, Trouble> {
    let mut all = Sent::default();
    for host in cluster.hosts() {
        let sent = host.sent()?;
        all.packets += sent.packets;
        all.datagrams += sent.datagrams;
    }
    Ok(all)
}

/// Streams' lengths: what happens once in some seconds is to happen some times.
const WINDOW: f64 = 5.0;
/// Connections have come about, and the path's MTU is known, when the cluster is at rest.
const SETTLING: Duration = Duration::from_secs(8);
