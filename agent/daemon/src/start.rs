//! The start of the agent: what the records say, against what is there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use agent_container::Given;
use agent_core::network::CreateNetwork;
use agent_core::reconcile::{Action, Desired, Found, Sandbox, raise, reconcile, sandboxes};
use agent_core::record::{CONTAINERS, ENDPOINTS, MIRRORS, NETWORKS, PATCHES};
use agent_core::station::STATIONS;
use agent_host::firewall::Firewall;
use agent_host::{MissingRights, check_rights, raise_open_files};
use agent_store::StoreError;
use rustix::rand::{GetRandomFlags, getrandom};
use switch_io::{StartSwitch, Switch, SwitchConfig};
use tokio::runtime::Handle;

use crate::agent::Agent;
use crate::captures::Captures;
use crate::config::Config;
use crate::containers::Containers;
use crate::endpoints::{Endpoints, leads_to, sandbox_of};
use crate::flows::Flows;
use crate::follow::{Follower, Watched};
use crate::ground::Ground;
use crate::guardian::Held;
use crate::journal::{Journal, OpenJournal};
use crate::metrics::Metrics;
use crate::networks::Networks;
use crate::publishing::{Filter, Publishing};
use crate::sharing::Sharing;
use crate::sharing::tunnels::Tunnels;

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartAgent {
    #[error(transparent)]
    Rights(#[from] MissingRights),
    #[error(transparent)]
    Journal(#[from] OpenJournal),
    #[error(transparent)]
    Record(#[from] StoreError),
    #[error("the switch does not start: {0}")]
    Switch(#[from] StartSwitch),
    #[error(
        "/dev/net/tun cannot be opened ({0}); load the tun module, or make the device: mkdir -p /dev/net && mknod /dev/net/tun c 10 200"
    )]
    Tun(std::io::Error),
    #[error(transparent)]
    Network(#[from] CreateNetwork),
}

impl Agent {
    /// Starts the switch and brings back everything on record. Blocks; `runtime` runs the edges and the watching.
    pub(crate) fn start(grounds: (Config, Held), runtime: Handle) -> Result<Arc<Self>, StartAgent> {
        crate::panics::tell();
        check_rights()?;
        std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .map_err(StartAgent::Tun)?;
        let agent = Arc::new(Self::wire(grounds, runtime, Given::keep_less())?);
        if let Some(told) = agent.ground.held.deaths.told() {
            agent.ground.warn(told);
        }
        if let Err(error) = raise_open_files() {
            agent.ground.warn(error.to_string());
        }
        agent.bring_back()?;
        agent.filter.keep_settling();
        agent.networks.keep_opening();
        agent.containers.start_ended();
        agent.endpoints.watch_sandboxes();
        agent.follower.go_on();
        agent.sharing.tunnels.let_go_of_others();
        agent.follower.watch_underlay();
        agent.networks.watch_counters();
        agent.flows.begin();
        Ok(agent)
    }

    /// The owners, from below.
    fn wire(
        (config, held): (Config, Held),
        runtime: Handle,
        given: Given,
    ) -> Result<Self, StartAgent> {
        let journal = Journal::open(&config.state_dir)?;
        let ula_global_id = ula_global_id(&journal)?;
        let switch = Switch::start(SwitchConfig {
            engine: config.engine,
            workers: config.workers,
            ..SwitchConfig::default()
        })?;
        let nft = config.packet_ring.then(Firewall::nft).flatten();
        let ground = Arc::new(Ground::new((config, held), switch, journal, runtime));
        let filter = Arc::new(Filter::new(Arc::clone(&ground))?);
        let publishing = Arc::new(Publishing::new(Arc::clone(&ground), Arc::clone(&filter)));
        let tunnels = Arc::new(Tunnels::new(Arc::clone(&ground), nft));
        let sharing = Arc::new(Sharing::new(
            Arc::clone(&ground),
            Arc::clone(&filter),
            tunnels,
        ));
        let networks = Arc::new(Networks::new(
            Arc::clone(&ground),
            Arc::clone(&filter),
            Arc::clone(&sharing),
            ula_global_id,
        ));
        let endpoints = Arc::new(Endpoints::new(
            Arc::clone(&ground),
            Arc::clone(&filter),
            Arc::clone(&publishing),
            Arc::clone(&sharing),
            Arc::clone(&networks),
        ));
        let containers = Arc::new(Containers::new(
            Arc::clone(&ground),
            Arc::clone(&networks),
            Arc::clone(&endpoints),
            Arc::clone(&publishing),
            given,
        ));
        let follower = Arc::new_cyclic(|this| Follower {
            this: this.clone(),
            watched: Watched::default(),
            said_followed: AtomicU64::default(),
            ground: Arc::clone(&ground),
            sharing: Arc::clone(&sharing),
            networks: Arc::clone(&networks),
            endpoints: Arc::clone(&endpoints),
        });
        let captures = Captures::new(
            Arc::clone(&ground),
            Arc::clone(&networks),
            Arc::clone(&containers),
        );
        let flows = Flows::new(Arc::clone(&ground), Arc::clone(&networks));
        let metrics = Arc::new(Metrics::new(
            Arc::clone(&ground),
            Arc::clone(&networks),
            Arc::clone(&endpoints),
            Arc::clone(&containers),
            Arc::clone(&sharing),
            Arc::clone(&flows),
        ));
        Ok(Self {
            ground,
            filter,
            publishing,
            sharing,
            networks,
            endpoints,
            containers,
            follower,
            captures,
            flows,
            metrics,
        })
    }
}

impl Agent {
    /// Makes again what is on record, and settles what ended meanwhile.
    fn bring_back(&self) -> Result<(), StartAgent> {
        let mut phases = Phases::begin();
        let journal = &self.ground.journal;
        let desired = Desired {
            networks: journal.list(NETWORKS)?,
            patches: journal.list(PATCHES)?,
            containers: journal.list(CONTAINERS)?,
            endpoints: journal.list(ENDPOINTS)?,
        };
        self.filter.expect(&desired);
        phases.end("records read");
        let follows = self.ground.held.follows();
        let mut links = Vec::new();
        for action in raise(&desired) {
            match action {
                Action::Adopt(record) => {
                    links.push(record);
                    continue;
                }
                _ if links.is_empty() => {}
                _ => {
                    phases.end("networks raised");
                    self.endpoints.adopt(&std::mem::take(&mut links));
                    phases.end("links taken over");
                }
            }
            // Another agent goes on until this one reads, and this one reads when it can send to the other hosts.
            if action == Action::Listen && follows {
                self.raise_tunnels();
                self.sharing.tunnels.take_over();
            }
            let reads = action == Action::Listen;
            self.carry_out(action)?;
            if reads {
                phases.end("links read");
            }
        }
        self.ground.held.take_over();
        match follows {
            true => self.sharing.tunnels.are_alone(),
            false => {
                self.raise_tunnels();
                self.sharing.tunnels.listen();
            }
        }
        self.networks.recall_counters();
        self.networks.watch_filter();
        phases.end("host ports and counters there");
        let found = self.look(&desired);
        let damage = journal.damage();
        if !damage.is_empty() {
            self.networks.drop_lost_links(&desired.networks);
        }
        for line in damage {
            self.ground.warn(line);
        }
        for (pid, dir) in self.containers.unknown(&desired.containers) {
            let dir = dir.display();
            self.ground.warn(format!(
                "a command runs whose container is not on record: end its process {pid}, and remove {dir}"
            ));
        }
        for action in reconcile(desired, &found) {
            self.carry_out(action)?;
        }
        self.networks.restore_mirrors(journal.list(MIRRORS)?);
        self.networks.restore_stations(journal.list(STATIONS)?);
        self.endpoints.let_go_of_other_links();
        self.filter.expect_no_more();
        phases.end("records and what there is compared");
        Ok(())
    }

    fn raise_tunnels(&self) {
        self.sharing.resume(|member| self.follower.raise(member));
    }

    /// What there is of what is on record.
    fn look(&self, desired: &Desired) -> Found {
        let mut found = Found::default();
        for record in &desired.containers {
            let remains = self.containers.remains(&record.id);
            let id = || record.id.clone();
            found
                .running
                .extend(remains.init_pid.map(|pid| (id(), pid)));
            found
                .exits
                .extend(remains.exit_code.map(|code| (id(), code)));
        }
        for (sandbox, path) in sandboxes(&desired.endpoints) {
            if leads_to(path, sandbox) {
                found.ways.insert(sandbox, path.to_owned());
            }
        }
        found
    }

    fn carry_out(&self, action: Action) -> Result<(), CreateNetwork> {
        match action {
            Action::RaiseNetwork(record) => self.networks.restore(record)?,
            Action::Patch(patch) => self.networks.restore_patch(patch),
            Action::ForgetPatch(patch) => self.networks.forget_patch(&patch),
            Action::Adopt(record) => self.endpoints.adopt(&[record]),
            Action::Listen => {
                self.networks.recall_stations();
                // Where there was another agent, tunnels are there by now. Otherwise they are raised when links are read.
                self.endpoints.listen(|| {
                    if self.ground.held.follows() {
                        self.sharing.tunnels.listen();
                    }
                });
            }
            Action::AdoptHostPorts => self.networks.adopt_host_ports(),
            Action::OpenHostPorts => self.networks.open_first_host_ports(),
            Action::MakePredefined { name, driver } => {
                self.networks.make_predefined(name, driver)?;
            }
            Action::TakeContainerBack { record, init_pid } => {
                self.containers.take_back(*record, init_pid);
            }
            Action::PlugAgain { record, sandbox } => {
                self.endpoints.plug_in_again(&record, &path_to(sandbox));
            }
            Action::FollowLink {
                record,
                sandbox,
                moved,
            } => {
                let sandbox = path_to(sandbox);
                self.endpoints.follow_link(&record, &moved, &sandbox);
            }
            Action::ForgetEndpoint { id } => self.endpoints.forget(&id),
            Action::ShareNames(owner) => self.endpoints.share_zones(&owner),
            Action::PublishPorts(owner) => self.endpoints.resume_ports(&owner),
            Action::GoOn { container } => self.containers.resume(&container),
            Action::EndContainer { container, code } => self.containers.end(&container, code),
            Action::RemoveContainer { container } => self.containers.let_go(&container),
        }
        Ok(())
    }
}

/// What a start takes its time for, as the log has it.
struct Phases(Instant);

impl Phases {
    fn begin() -> Self {
        Self(Instant::now())
    }

    fn end(&mut self, phase: &str) {
        let took = self.0.elapsed();
        tracing::debug!(phase, ?took, "a phase of the start is over");
        self.0 = Instant::now();
    }
}

fn path_to(sandbox: Sandbox) -> PathBuf {
    match sandbox {
        Sandbox::Of(pid) => sandbox_of(pid),
        Sandbox::At(path) => path,
        Sandbox::Own => OWN_NAMESPACE.into(),
    }
}

/// The host's own prefix, made up once.
fn ula_global_id(journal: &Journal) -> Result<[u8; 5], StoreError> {
    if let Some(id) = journal.get(ULA_KEY)? {
        return Ok(id);
    }
    let mut id = [0u8; 5];
    // Five bytes come at once or not at all; getrandom(2) is not interrupted below 256 bytes.
    let _ = getrandom(&mut id, GetRandomFlags::empty());
    journal.put(ULA_KEY, &id).wait()?;
    Ok(id)
}

const OWN_NAMESPACE: &str = "/proc/self/ns/net";
const ULA_KEY: &str = "agent/ula-global-id";
