//! What agents keep in memory.

use super::{HOSTS, Network, cluster};
use crate::contender::ClusterHost;
use crate::interrupt::{check, pause};
use crate::lab::{Lab, Topology};
use crate::process::{proportional_bytes, resident_bytes};
use crate::row::{Effort, Metric, Row};
use crate::statistics::count_f64;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Memory;

impl Row for Memory {
    fn name(&self) -> String {
        "cluster-memory".to_owned()
    }

    fn what(&self) -> String {
        format!(
            "{HOSTS} hosts, {NETWORKS} networks, a container on each: guardian and agent of the host with most of it \
             (share: PSS; resident: RSS, which counts the program once for each process)"
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::lower("share", "MiB"),
                Metric::lower("resident", "MiB"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::cluster(HOSTS)
    }

    fn rounds_max(&self) -> usize {
        1
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let cluster = cluster(lab)?;
        let mut networks = Vec::new();
        for number in 1..=NETWORKS {
            check()?;
            networks.push(Network::create(cluster, cluster.founder(), number)?);
        }
        let containers = networks[0].populate()?;
        pause(std::time::Duration::from_secs_f64(effort.stream_s))?;
        let most = |of: fn(u32) -> Option<u64>| {
            let hosts = cluster.hosts().iter();
            hosts.map(|host| mib(host, of)).fold(0.0, f64::max)
        };
        let readings = vec![most(proportional_bytes), most(resident_bytes)];
        drop(containers);
        Ok(readings)
    }
}

fn mib(host: &ClusterHost, of: fn(u32) -> Option<u64>) -> f64 {
    let bytes = host.processes().into_iter().filter_map(of);
    count_f64(bytes.sum()) / f64::from(1 << 20)
}

const NETWORKS: u8 = 20;
