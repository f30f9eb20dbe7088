//! The packet filter and the kernel's settings that go with it, as all owners together want them.
//!
//! # Theory of operation
//!
//! Owners say what they want as soon as they decide it, under their own locks: a network its rules, a container its published
//! ports, the tunnels where they receive. [`Filter::settle`] then makes the host fit, in rounds that all share who ask at the
//! same time; no lock is held meanwhile.
//!
//! What the packet filter does not know, nothing stops: so rules come first, then the settings that let the host forward, then
//! a host port. Everything goes in the other order. Where the rules cannot be made, [`Filter::stands`] says so, and no host port
//! stays open.
//!
//! A round that failed is made again ([`super::again`]), so that nothing stays of what has gone.
//!
//! Rules outlive the agent as long as something is attached. The next one says what is on record before it asks for the first
//! round ([`Filter::expect`]), so that no round takes away what the owners have not claimed yet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use agent_core::firewall::{Drops, Families, Published, Rules, Service};
use agent_core::publish::{network_rules, on_record};
use agent_core::reconcile::Desired;
use agent_core::record::{NetworkRecord, SERVICES, SettingsRecord};
use agent_core::settings;
use agent_host::firewall::{Firewall, FirewallError, FirewallWatch};
use agent_store::StoreError;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::settings::{MakeSettings, Settings};
use crate::ground::Ground;
use crate::journal::Kept;
use crate::locks::lock;
use crate::rounds::Rounds;

/// The host's side of networks.
pub(crate) struct Filter {
    ground: Arc<Ground>,
    /// Absent where there is no `nft`: then networks have no way out.
    firewall: OnceLock<Firewall>,
    is_watched: AtomicBool,
    wanted: Mutex<Wanted>,
    settings: Settings,
    rounds: Rounds<Result<(), Unsettled>>,
    /// Whether the last round left the rules as they are wanted.
    stands: AtomicBool,
    /// Told of each round that failed ([`super::again`]).
    owed: Arc<Notify>,
}

/// What the owners want, as they said it last.
#[derive(Clone, Default)]
struct Wanted {
    /// The networks that have a host port, or shall have one, by id.
    networks: BTreeMap<String, Arc<NetworkRecord>>,
    /// By container.
    published: BTreeMap<String, Vec<Published>>,
    /// The same as the records have it, at a start, of those who have not said themselves yet.
    expected: BTreeMap<String, Vec<Published>>,
    underlay: Underlay,
    /// Host ports are about to open: the host has to forward.
    opens: bool,
    /// Tunnels were expected, and no round has been made since.
    awaits_round: bool,
    /// Networks went: what the host need not do any more is put back.
    closes: bool,
    /// The agent has taken leave of the host: what goes then must not bring rules back.
    has_left: bool,
}

/// Why the host does not fit what is wanted of it; shared by all who asked for it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unsettled {
    #[error(transparent)]
    Rules(Arc<FirewallError>),
    #[error(transparent)]
    Settings(Arc<MakeSettings>),
}

/// What concerns the packet filter of the ways between hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Underlay {
    /// Where this host's tunnels receive.
    pub(crate) tunnels: BTreeSet<SocketAddr>,
    /// Where the cluster's hosts listen to each other.
    pub(crate) services: BTreeSet<Service>,
}

impl Filter {
    /// With what an earlier life of the agent left on record.
    pub(crate) fn new(ground: Arc<Ground>) -> Result<Self, StoreError> {
        let wanted = Wanted {
            underlay: Underlay {
                services: ground.journal.get(SERVICES)?.unwrap_or_default(),
                ..Underlay::default()
            },
            ..Wanted::default()
        };
        Ok(Self {
            settings: Settings::read(Arc::clone(&ground))?,
            ground,
            firewall: OnceLock::new(),
            is_watched: AtomicBool::new(false),
            wanted: Mutex::new(wanted),
            rounds: Rounds::default(),
            stands: AtomicBool::new(false),
            owed: Arc::default(),
        })
    }

    /// A network that has a way to the host needs rules from now on, at the next [`Filter::settle`].
    pub(crate) fn want_network(&self, record: &Arc<NetworkRecord>) {
        if record.has_host_link() {
            let mut wanted = lock(&self.wanted);
            wanted
                .networks
                .insert(record.id.clone(), Arc::clone(record));
        }
    }

    /// At a start: what is on record has its rules from the first round on, whatever is there of it by then.
    pub(crate) fn expect(&self, desired: &Desired) {
        let Desired {
            networks,
            containers,
            endpoints,
            ..
        } = desired;
        for network in networks {
            self.want_network(&Arc::new(network.clone()));
        }
        lock(&self.wanted).expected = on_record(networks, containers, endpoints);
    }

    /// The start is over: what nobody has claimed is nobody's.
    pub(crate) fn expect_no_more(&self) {
        let unclaimed = std::mem::take(&mut lock(&self.wanted).expected);
        if !unclaimed.is_empty()
            && let Err(why) = self.settle()
        {
            self.ground.warn(why.to_string());
        }
    }

    /// At a start: tunnels that an agent before had are there from the first round on.
    pub(crate) fn expect_tunnels(&self, tunnels: BTreeSet<SocketAddr>) {
        let mut wanted = lock(&self.wanted);
        wanted.underlay.tunnels = tunnels;
        wanted.awaits_round = true;
    }

    /// A network needs no rules any more. Whether it had any.
    pub(crate) fn drop_network(&self, id: &str) -> bool {
        let mut wanted = lock(&self.wanted);
        let had = wanted.networks.remove(id).is_some();
        wanted.closes |= had;
        had
    }

    /// What a container has published now.
    pub(super) fn want_published(&self, container: &str, published: Vec<Published>) {
        let mut wanted = lock(&self.wanted);
        wanted.expected.remove(container);
        match published.is_empty() {
            true => wanted.published.remove(container),
            false => wanted.published.insert(container.to_owned(), published),
        };
    }

    /// Where tunnels end and the cluster's hosts listen, asked of `present` while nobody else can say otherwise. Makes the
    /// rules fit where that is new.
    pub(crate) fn follow_underlay(&self, present: impl FnOnce() -> Underlay) {
        let kept = {
            let mut wanted = lock(&self.wanted);
            let present = present();
            if wanted.has_left || (wanted.underlay == present && !wanted.awaits_round) {
                return;
            }
            let is_new = wanted.underlay.services != present.services;
            let journal = &self.ground.journal;
            let kept = is_new.then(|| journal.put(SERVICES, &present.services));
            wanted.underlay = present;
            kept
        };
        if let Some(Err(error)) = kept.map(Kept::wait) {
            tracing::warn!(%error, "the next start does not know at once where the cluster's hosts listen");
        }
        if let Err(why) = self.settle() {
            self.ground.warn(why.to_string());
        }
    }

    /// Makes the rules fit what is wanted; without any network or tunnel there is nothing in the packet filter.
    pub(crate) fn settle(&self) -> Result<(), Unsettled> {
        self.rounds.ask(|| {
            let settled = self.round();
            self.stands.store(settled.is_ok(), Ordering::Release);
            // Without a packet filter there is nothing left in it.
            if settled.is_err() && self.firewall.get().is_some() {
                self.owed.notify_one();
            }
            settled
        })
    }

    pub(super) fn owed(&self) -> Arc<Notify> {
        Arc::clone(&self.owed)
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.ground.runtime
    }

    /// As [`Filter::settle`], and lets the host forward: for host ports that are about to open.
    pub(crate) fn open(&self) -> Result<(), Unsettled> {
        lock(&self.wanted).opens = true;
        self.settle()
    }

    /// Lets the host forward again where networks need it and somebody else has turned it off. What was forwarded before for
    /// others than networks is not from then on: that is what he wanted.
    pub(crate) fn keep_forwarding(&self) -> Result<(), Unsettled> {
        let needed = {
            let wanted = lock(&self.wanted);
            match wanted.has_left {
                true => Families::default(),
                false => wanted.needed(),
            }
        };
        if !self.stands() || self.settings.is_forwarding(needed) {
            return Ok(());
        }
        tracing::warn!(
            "forwarding was turned off by somebody else, and is on again for the networks here"
        );
        self.open()
    }

    /// Whether host ports may be open.
    pub(crate) fn stands(&self) -> bool {
        self.stands.load(Ordering::Acquire)
    }

    /// Takes the rules for good that an agent before left, if they are there, until the first round.
    pub(crate) fn take_over(&self) -> bool {
        let is_there = self.firewall().is_ok_and(Firewall::has_table);
        self.stands.store(is_there, Ordering::Release);
        is_there
    }

    /// At the end of the agent. Nothing of it stays on the host, unless something is `attached` that goes on without it. Its
    /// host ports go with it: new clients are refused until the next start. What they lead to already goes on.
    pub(crate) fn leave(&self, attached: usize) {
        {
            let mut wanted = lock(&self.wanted);
            wanted.has_left = true;
            let had_published = !std::mem::take(&mut wanted.published).is_empty();
            wanted.expected.clear();
            if attached > 0 {
                tracing::info!(
                    attached,
                    "rules stay in the packet filter, for what is attached"
                );
                if !had_published {
                    return;
                }
            } else {
                wanted.networks.clear();
                wanted.underlay = Underlay::default();
                wanted.closes = true;
            }
        }
        if let Err(why) = self.settle() {
            tracing::warn!(%why, "rules stay in the packet filter as they are");
        }
    }

    fn round(&self) -> Result<(), Unsettled> {
        let wanted = {
            let mut wanted = lock(&self.wanted);
            let now = wanted.clone();
            (wanted.opens, wanted.closes, wanted.awaits_round) = (false, false, false);
            now
        };
        let needed = wanted.needed();
        if wanted.closes {
            let beside_docker = || self.firewall().is_ok_and(Firewall::is_beside_docker);
            self.settings.restore(needed, beside_docker);
        }
        // On record before the rules, which tell apart what is forwarded only since the agent made it.
        let before = self.settings.record();
        let changes = match wanted.opens {
            true => self.settings.plan(needed),
            false => Vec::new(),
        };
        let settings = self.settings.record();
        let applied = self.firewall().and_then(|firewall| {
            match wanted.networks.is_empty() && wanted.underlay.tunnels.is_empty() {
                true => firewall.remove(),
                false if wanted.has_left => firewall.take_leave(&wanted.rules(&settings)),
                false => firewall.apply(&wanted.rules(&settings)),
            }
        });
        match applied {
            Ok(()) if wanted.opens => {
                let made = self.settings.make(&changes);
                made.map_err(|error| Unsettled::Settings(Arc::new(error)))
            }
            Ok(()) => Ok(()),
            Err(error) => {
                self.settings.take_back(before);
                Err(Unsettled::Rules(Arc::new(error)))
            }
        }
    }

    /// The packet filter, looked for again as long as it is not there.
    fn firewall(&self) -> Result<&Firewall, FirewallError> {
        match self.firewall.get() {
            Some(firewall) => Ok(firewall),
            None => {
                let found = Firewall::find()?;
                Ok(self.firewall.get_or_init(|| found))
            }
        }
    }

    /// What the packet filter shall do, as it is wanted now.
    pub(crate) fn rules(&self) -> Rules {
        let settings = self.settings.record();
        lock(&self.wanted).rules(&settings)
    }

    /// What the packet filter dropped so far.
    pub(crate) fn drops(&self) -> Drops {
        self.firewall().map(Firewall::drops).unwrap_or_default()
    }

    /// Forgets all connections of addresses that are about to be somebody else's.
    pub(crate) fn forget_connections(&self, released: &[IpAddr]) {
        if let Ok(firewall) = self.firewall() {
            firewall.forget_addresses(released);
        }
    }

    /// Opens the way to published ports from the host's loopback addresses, on a link that came after the rules.
    pub(crate) fn lead_loopback(&self, record: &NetworkRecord) {
        if let (Ok(firewall), Some(network)) = (self.firewall(), network_rules(record)) {
            let published: Vec<_> = {
                let wanted = lock(&self.wanted);
                wanted.all_published().flatten().cloned().collect()
            };
            firewall.lead_loopback(&network, &published);
        }
    }

    /// The watch over changes by others, for the first that asks once there is a packet filter.
    pub(crate) fn watch(&self) -> Option<FirewallWatch> {
        let firewall = self.firewall().ok()?;
        if self.is_watched.swap(true, Ordering::Relaxed) {
            return None;
        }
        match firewall.watch() {
            Ok(watch) => Some(watch),
            Err(error) => {
                self.ground.warn(error.to_string());
                None
            }
        }
    }
}

impl Wanted {
    fn needed(&self) -> Families {
        settings::needed(self.networks.values().map(|record| &**record))
    }

    /// In an order that does not depend on who has claimed what.
    fn all_published(&self) -> impl Iterator<Item = &Vec<Published>> {
        let mut all: BTreeMap<&String, &Vec<Published>> = self.expected.iter().collect();
        all.extend(&self.published);
        all.into_values()
    }

    fn rules(&self, settings: &SettingsRecord) -> Rules {
        let networks = self.networks.values();
        Rules {
            networks: networks
                .filter_map(|record| network_rules(record))
                .collect(),
            published: self.all_published().flatten().cloned().collect(),
            tunnels: self.underlay.tunnels.clone(),
            services: self.underlay.services.clone(),
            own_forwarding: settings::own_forwarding(settings),
            ..Rules::default()
        }
    }
}
