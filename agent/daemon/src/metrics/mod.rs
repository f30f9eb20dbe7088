//! Metrics: what this host counts, for Prometheus and whoever reads as it does.
//!
//! # Theory of operation
//!
//! Nothing is kept for metrics. A scrape looks at what the owners have and what was counted, each by a look of its own, and writes that
//! down ([`exposition`]) under the names of [`metric`]. Data is taken from counters that each worker has for itself, so no frame waits
//! for a scrape; the agent's own locks are those that are held for a look or a step, so no scrape waits for an act. Who asks while a
//! scrape runs shares the next one.
//!
//! A network's counters never run backwards, also over the agent's end: what is told was kept before (`networks/recall.rs`). All else
//! begins at zero with the agent, which readers know by `process_start_time_seconds`.
//!
//! Series of ports are as many as endpoints: beyond [`PORTS_MAX`] they are left out, unless the configuration says otherwise. The agent
//! answers at its own socket, and where the configuration says so at an address ([`door`]).

mod cluster;
mod door;
mod exposition;
mod host;
mod metric;
mod ports;
mod process;

use std::sync::Arc;
use std::time::Instant;

use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

pub(crate) use self::door::Door;
use self::exposition::{Exposition, Format, Label};
use self::metric::Metric;
use crate::containers::Containers;
use crate::endpoints::Endpoints;
use crate::flows::Flows;
use crate::ground::Ground;
use crate::networks::Networks;
use crate::rounds::Rounds;
use crate::sharing::Sharing;

/// What is measured here.
pub(crate) struct Metrics {
    ground: Arc<Ground>,
    networks: Arc<Networks>,
    endpoints: Arc<Endpoints>,
    containers: Arc<Containers>,
    sharing: Arc<Sharing>,
    flows: Arc<Flows>,
    scrapes: Rounds<Arc<str>>,
    old_scrapes: Rounds<Arc<str>>,
}

impl Metrics {
    pub(crate) fn new(
        ground: Arc<Ground>,
        networks: Arc<Networks>,
        endpoints: Arc<Endpoints>,
        containers: Arc<Containers>,
        sharing: Arc<Sharing>,
        flows: Arc<Flows>,
    ) -> Self {
        Self {
            ground,
            networks,
            endpoints,
            containers,
            sharing,
            flows,
            scrapes: Rounds::default(),
            old_scrapes: Rounds::default(),
        }
    }

    /// Answers a scrape.
    pub(crate) async fn answer(self: Arc<Self>, headers: &HeaderMap) -> Response {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let format = Format::accepted(accept.unwrap_or_default());
        let scraped = tokio::task::spawn_blocking(move || self.scrape(format)).await;
        match scraped {
            Ok(text) => ([(CONTENT_TYPE, format.name())], text.to_string()).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    fn scrape(&self, format: Format) -> Arc<str> {
        let rounds = match format {
            Format::OpenMetrics => &self.scrapes,
            Format::Text => &self.old_scrapes,
        };
        rounds.ask(|| self.measure().text(format).into())
    }

    fn measure(&self) -> Exposition {
        let began = Instant::now();
        let mut told = Exposition::new();
        let networks = self.networks.metered();
        let ports: usize = networks.iter().map(|network| network.ports.len()).sum();
        let per_port = self.ground.config.metrics.per_port;
        let per_port = per_port.unwrap_or(ports <= PORTS_MAX);
        told.whole(Metric::PerPort, &[], u64::from(per_port));
        let mut reasons = ports::Reasons::default();
        for network in &networks {
            ports::network(&mut told, &mut reasons, network, per_port);
        }
        host::agent(&mut told, &self.ground);
        host::workers(&mut told, &self.ground.switch);
        host::containers(&mut told, &self.containers);
        host::attaches(&mut told, &self.endpoints);
        host::flows(&mut told, &self.flows.counts);
        cluster::tell(&mut told, &self.sharing);
        process::tell(&mut told);
        let took = began.elapsed().as_secs_f64();
        told.real(Metric::Scrape, &[], took);
        told
    }
}

fn label(text: impl AsRef<str>) -> Label {
    text.as_ref().into()
}

/// Twelve series each or so are as many as Prometheus takes of a target without being told to.
const PORTS_MAX: usize = 2000;
