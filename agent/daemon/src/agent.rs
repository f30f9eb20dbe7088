//! The agent: its owners, wired together.
//!
//! # Theory of operation
//!
//! Each owner keeps the state that it alone changes, behind a lock of its own that is held for a look or a step and never across a
//! process start, a call into the kernel, the disk or the cluster. An act is planned and reserved under the lock, carried out without
//! it, and committed or rolled back. What belongs together is kept apart from others by turns ([`crate::turns`]); work that many
//! want at once is done in rounds ([`crate::rounds`]).
//!
//! Owners know those below them only:
//!
//! ```text
//! metrics         what is counted, for readers outside
//! captures        who looks at which frames
//! flows           who talks to whom, by samples of frames
//! containers      what runs
//! endpoints       who is on which network, with which addresses
//! networks        bridges, host ports, tunnels, patches
//! sharing         the cluster: member, directory, sockets of tunnels
//! publishing      host ports; the packet filter and the kernel's settings
//! ground          configuration, switch, journal, runtime
//! ```
//!
//! Records come before deeds: a record without its deed is found and settled at the next start ([`crate::start`]), a deed
//! without a record would never be. What the records cannot know, how a command ended, its shim keeps beside it.

use std::sync::Arc;
use std::time::Duration;

use agent_api::{
    ApiError, ClusterDetail, ClusterHealth, ClusterInit, ClusterJoin, ClusterRestore,
    EndpointCreate, EndpointDetail, EndpointSettings, Info, LabelsUpdate, LinkDetail, LinkUpdate,
    NetworkCreate, NetworkSummary, PortDetail, PortSettings, RateDetail, RateUpdate, WorkerView,
};
use agent_core::endpoint::Attach;
use agent_core::record::Owner;
use switch_io::WorkerReport;

use crate::captures::Captures;
use crate::containers::Containers;
use crate::endpoints::{Endpoints, open_sandbox};
use crate::flows::Flows;
use crate::follow::Follower;
use crate::ground::{Ground, WARNINGS_MAX};
use crate::metrics::Metrics;
use crate::networks::Networks;
use crate::publishing::{Filter, Publishing};
use crate::sharing::Sharing;

/// The daemon of this host.
pub(crate) struct Agent {
    pub(crate) ground: Arc<Ground>,
    pub(crate) filter: Arc<Filter>,
    pub(crate) publishing: Arc<Publishing>,
    pub(crate) sharing: Arc<Sharing>,
    pub(crate) networks: Arc<Networks>,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) containers: Arc<Containers>,
    pub(crate) follower: Arc<Follower>,
    pub(crate) captures: Captures,
    pub(crate) flows: Arc<Flows>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Agent {
    /// Containers go on; the next start attaches them again.
    pub(crate) fn shut_down(&self) {
        self.captures.close();
        self.flows.close();
        self.ground.events.close();
        self.sharing.stop();
        self.finish();
        self.networks.keep_all();
        self.endpoints.note_moves();
        self.publishing.close_all();
        let attached = self.endpoints.attached();
        if attached == 0 {
            self.networks.leave();
        }
        self.filter.leave(attached);
        self.ground.journal.flush();
    }

    /// Acts no more, for another agent that takes its place; forwarding goes on. Its records are that one's when this returns.
    pub(crate) fn rest(&self) {
        self.finish();
        self.sharing.tunnels.make_way();
        self.ground.journal.rest();
    }

    /// Reads no link any more, for another agent that is about to; what was read is sent when this returns.
    pub(crate) fn pause(&self) {
        self.sharing.tunnels.leave_rings();
        let goes_on = self.sharing.tunnels.pause();
        self.ground.switch.stop_reading_all_but(goes_on);
        tracing::info!("the links are left to another agent");
    }

    /// Another agent forwards: takes in what is still on its way to this one, and reads nothing any more.
    pub(crate) fn leave(&self) {
        self.sharing.tunnels.leave();
        self.ground.switch.stop_reading();
        self.networks.keep_all();
    }

    /// Reads and acts again: nobody took its place.
    pub(crate) fn resume(&self) {
        self.ground.switch.read_again();
        self.captures.open();
        self.flows.open();
        self.ground.events.open();
        self.ground.journal.resume();
        self.sharing.tunnels.go_on();
        self.containers.let_start();
    }

    /// Lets acts come to their end that have begun, since nobody else would clean up after them now.
    fn finish(&self) {
        self.containers.start_no_more();
        self.containers.settle_all();
        self.containers.let_all_go();
        self.containers.finish(FINISH_PATIENCE);
        self.endpoints.finish(FINISH_PATIENCE);
        self.networks.finish(FINISH_PATIENCE);
    }

    pub(crate) fn info(&self) -> Info {
        let engine = self.ground.switch.engine();
        Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            state_dir: self.ground.config.state_dir.clone(),
            engine: engine.engine.name().to_owned(),
            engine_reason: engine.fallback.clone().unwrap_or_default(),
            workers: engine.workers,
            work: self.ground.switch.workers().iter().map(worker).collect(),
            deaths: self.ground.held.deaths.number,
            last_death: self.ground.held.deaths.last.clone(),
            warnings: self.warnings(),
        }
    }

    /// What was told so far, and which networks are without a way out now.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.ground.warnings();
        let replaced = self.ground.switch.restarts();
        if replaced > 0 {
            warnings.push(format!(
                "workers of the switch ended and were replaced, {replaced} in all: the log says why, and at which port"
            ));
        }
        let closed = self.networks.closed().into_iter();
        let closed = closed.map(|(name, why)| format!("network {name:?} has no way out: {why}"));
        warnings.extend(closed.take(WARNINGS_MAX));
        warnings
    }

    /// What somebody should look after of this host's part in the cluster.
    pub(crate) fn cluster_health(&self) -> ClusterHealth {
        ClusterHealth {
            managers: self.sharing.greet_managers(),
            kept_out: self.networks.kept_out(),
            overlapped: self.networks.overlapped(),
            cut_off: self.endpoints.cut_offs(),
        }
    }

    /// Makes a network; one of the cluster comes with a block of addresses for each host.
    pub(crate) fn create_network(
        &self,
        request: NetworkCreate,
    ) -> Result<NetworkSummary, ApiError> {
        let summary = self.networks.create(request)?;
        if let (Some(member), Some(place)) =
            (self.sharing.member(), self.networks.place(&summary.id))
            && place.record.shared().is_some()
        {
            self.sharing.learn_blocks(&member, &place.seated());
        }
        Ok(summary)
    }

    /// Removes a network that nobody uses; a container that has just ended is no user any more.
    pub(crate) fn remove_network(&self, called: &str) -> Result<(), ApiError> {
        self.containers.past_ends(|| self.networks.remove(called))?;
        self.follower.look_again();
        Ok(())
    }

    /// Attaches a sandbox by the path to its namespace.
    pub(crate) fn create_endpoint(
        &self,
        request: &EndpointCreate,
    ) -> Result<EndpointDetail, ApiError> {
        self.containers.past_ends(|| {
            let Some(sandbox) = &request.sandbox else {
                return self.endpoints.hand_over(request);
            };
            if request.id.is_some() {
                return Err(Attach::IdOfSandbox.into());
            }
            let netns = open_sandbox(sandbox)?;
            let owner = self.containers.owner_of(netns.id());
            self.endpoints.create(request, &netns, owner)
        })
    }

    /// Changes what goes wrong at an endpoint's link. A container keeps that when it is started again.
    pub(crate) fn update_link(
        &self,
        id: &str,
        update: &LinkUpdate,
    ) -> Result<LinkDetail, ApiError> {
        let (link, changed) = self.endpoints.update_link(id, update)?;
        if let Owner::Container(container) = &changed.owner {
            let impairments = changed.impairments;
            let keep = |asked: &mut EndpointSettings| asked.impairments = impairments;
            self.containers
                .keep_settings(container, &changed.network, keep)?;
        }
        Ok(link)
    }

    /// Changes how the switch treats an endpoint's port. A container keeps that when it is started again.
    pub(crate) fn update_port(
        &self,
        id: &str,
        settings: &PortSettings,
    ) -> Result<PortDetail, ApiError> {
        let (port, changed) = self.endpoints.update_port(id, settings)?;
        if let Owner::Container(container) = &changed.owner {
            let settings = changed.port_settings;
            let keep = |asked: &mut EndpointSettings| asked.port_settings = settings;
            self.containers
                .keep_settings(container, &changed.network, keep)?;
        }
        Ok(port)
    }

    /// Changes the labels by which access lists know an endpoint. A container keeps them when it is started again.
    pub(crate) fn update_labels(
        &self,
        id: &str,
        update: &LabelsUpdate,
    ) -> Result<EndpointDetail, ApiError> {
        let (endpoint, changed) = self.endpoints.update_labels(id, update)?;
        if let Owner::Container(container) = &changed.owner {
            let labels = Some(changed.labels.clone());
            let keep = |asked: &mut EndpointSettings| asked.labels = labels;
            self.containers
                .keep_settings(container, &changed.network, keep)?;
        }
        Ok(endpoint)
    }

    /// Changes what an endpoint may get and send. A container keeps that when it is started again.
    pub(crate) fn update_rate(
        &self,
        id: &str,
        update: &RateUpdate,
    ) -> Result<RateDetail, ApiError> {
        let (rate, changed) = self.endpoints.update_rate(id, update)?;
        if let Owner::Container(container) = &changed.owner {
            self.containers
                .keep_settings(container, &changed.network, |kept| {
                    kept.rates = changed.rates
                })?;
        }
        Ok(rate)
    }

    pub(crate) fn init_cluster(&self, request: ClusterInit) -> Result<ClusterDetail, ApiError> {
        self.sharing
            .init(request, |member| self.follower.take_up(member))
    }

    pub(crate) fn restore_cluster(
        &self,
        request: ClusterRestore,
    ) -> Result<ClusterDetail, ApiError> {
        let held = self.follower.held();
        self.sharing
            .restore(request, held, |member| self.follower.take_up(member))
    }

    pub(crate) fn join_cluster(&self, request: &ClusterJoin) -> Result<ClusterDetail, ApiError> {
        self.sharing
            .join(request, |member| self.follower.take_up(member))
    }
}

fn worker(report: &WorkerReport) -> WorkerView {
    WorkerView {
        busy_us: u64::try_from(report.worked.as_micros()).unwrap_or(u64::MAX),
        frames: report.moved.frames,
        batches: report.moved.batches.iter().sum(),
        ports: report.ports,
    }
}

/// How long an act that hangs may keep the agent from its end.
const FINISH_PATIENCE: Duration = Duration::from_secs(3);
