//! How long Prometheus waits for what it reads.

use super::layers::no_layers;
use super::ports::attach_all;
use super::{Effort, Metric, Row};
use crate::lab::{Lab, Topology};
use crate::netns::Netns;
use crate::statistics::{percentile, sorted};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) endpoints: usize,
}

impl Row for Scrape {
    fn name(&self) -> String {
        format!("scrape-{}", self.endpoints)
    }

    fn what(&self) -> String {
        format!(
            "{} endpoints: reading all metrics over the agent's socket, {SCRAPES} times",
            self.endpoints
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::lower("p50", "ms"), Metric::lower("worst", "ms")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2).fresh(self.endpoints)
    }

    fn rounds_max(&self) -> usize {
        2
    }

    fn run(&self, lab: &mut Lab, _effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let crowd = Netns::many(self.endpoints - lab.stations.len(), "crowd")?;
        attach_all(lab, &crowd)?;
        let layers = lab.fabric.layers().ok_or_else(no_layers)?;
        let scrapes = (0..SCRAPES).map(|_| layers.scrape().map(|took| took.as_secs_f64() * 1e3));
        let took = sorted(&scrapes.collect::<Result<Vec<_>, _>>()?);
        let at = |percent| percentile(&took, percent).unwrap_or(f64::NAN);
        Ok(vec![at(50.0), at(100.0)])
    }
}

const SCRAPES: usize = 20;
