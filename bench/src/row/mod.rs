//! Rows: what is measured, each on a lab of its topology.

mod attach;
mod beside;
mod broadcast;
mod burst;
mod cluster;
mod dns;
mod fdb;
mod head_of_line;
mod idle;
mod labs;
mod latency;
mod layers;
mod limit;
mod mac_move;
mod many;
mod overlay;
mod ports;
mod runtime;
mod scrape;
mod tcp;
mod udp;
mod uplink;

use serde::{Deserialize, Serialize};

use crate::lab::{Lab, Topology};
use crate::trouble::Trouble;

pub(crate) use attach::Attach;
pub(crate) use beside::{Beside, Load};
pub(crate) use broadcast::Broadcast;
pub(crate) use burst::Burst;
pub(crate) use cluster::{Changes, ClusterIdle, Create, Memory, Resolvable, Revoke};
pub(crate) use dns::{Dns, Reference};
pub(crate) use fdb::Fdb;
pub(crate) use head_of_line::HeadOfLine;
pub(crate) use idle::Idle;
pub(crate) use labs::{FatTree, LabUp};
pub(crate) use latency::Latency;
pub(crate) use layers::{Capture, Flows, ImpairedLink};
pub(crate) use limit::Limit;
pub(crate) use mac_move::MacMove;
pub(crate) use many::{ManyToOne, Mesh};
pub(crate) use overlay::{OverlayLatency, OverlayTcp, OverlayUdp};
pub(crate) use ports::Ports;
pub(crate) use runtime::{Cni, DockerPublished, DockerRun, DockerTcp};
pub(crate) use scrape::Scrape;
pub(crate) use tcp::Tcp;
pub(crate) use udp::{Udp, UdpGso};
pub(crate) use uplink::UplinkTcp;

/// One thing to measure.
pub(crate) trait Row {
    /// A word, as `--row` and SPEC.md call it.
    fn name(&self) -> String;

    /// A sentence for the report.
    fn what(&self) -> String;

    /// What [`Self::run`] returns, in this order.
    fn metrics(&self) -> &'static [Metric];

    fn topology(&self) -> Topology;

    /// Whether a quick run has it.
    fn is_quick(&self) -> bool {
        false
    }

    /// Most rounds worth their time.
    fn rounds_max(&self) -> usize {
        usize::MAX
    }

    /// Measures once.
    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble>;
}

/// A figure of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// Empty where the row has only one.
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
}

impl Metric {
    pub(crate) const fn higher(name: &'static str, unit: &'static str) -> Self {
        Self {
            name,
            unit,
            better: Better::Higher,
        }
    }

    pub(crate) const fn lower(name: &'static str, unit: &'static str) -> Self {
        Self {
            name,
            unit,
            better: Better::Lower,
        }
    }

    /// `row` or `row.metric`, as SPEC.md calls the figure.
    pub(crate) fn figure(&self, row: &str) -> String {
        if self.name.is_empty() {
            row.to_owned()
        } else {
            format!("{row}.{}", self.name)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// A TCP stream, a series of transactions, a steady load.
    pub(crate) stream_s: f64,
    /// One trial of a search.
    pub(crate) trial_s: f64,
    pub(crate) trials_max: usize,
    pub(crate) attaches: usize,
}

impl Effort {
    pub(crate) const QUICK: Self = Self {
        stream_s: 1.0,
        trial_s: 0.2,
        trials_max: 7,
        attaches: 10,
    };
    pub(crate) const FULL: Self = Self {
        stream_s: 3.0,
        trial_s: 0.6,
        trials_max: 12,
        attaches: 100,
    };
}
