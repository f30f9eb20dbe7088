//! Making the packet filter what it shall be.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use agent_api::TransportProtocol;
use agent_core::firewall::{
    Drops, NetworkRules, Published, Rules, Surroundings, TABLE, render_beside, render_change,
};
use parking_lot::Mutex;
use serde_json::Value;

use super::docker::{self, DockerUser};
use super::doings::Doings;
use super::drops::read_drops;
use super::firewalld::{self, FIREWALLD_TABLE};
use super::loopback::Loopback;
use super::nft::{FirewallError, Nft, objects, program};
use super::watch::{FirewallWatch, WatchFirewall};
use crate::conntrack;
use crate::netlink::Netlink;

/// The packet filter of the calling thread's network namespace.
///
/// Who changes it takes turns; who only looks waits for nobody.
#[derive(Clone, Debug)]
pub struct Firewall {
    nft: Nft,
    firewall_cmd: Option<PathBuf>,
    doings: Arc<Doings>,
    /// Held while the filter is listed and changed, so that two callers do not both add Docker's rule.
    turn: Arc<Mutex<Applied>>,
    loopback: Arc<Mutex<Loopback>>,
}

/// What becomes of datagrams that went to ports which are published no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Withdrawn {
    Forgotten,
    /// The container goes on, and the next agent publishes them again.
    GoOn,
}

/// What was made last.
#[derive(Debug, Default)]
struct Applied {
    /// As it stands, where a watch would have told of a change by somebody else.
    rules: Option<Rules>,
    published: BTreeSet<Published>,
    /// Links that firewalld was told of; absent where there is no firewalld.
    trusted: Option<BTreeSet<String>>,
    /// Of how many [`Doings::disturbances`] it is the answer.
    disturbances: u64,
}

impl Firewall {
    /// Finds `nft`, and `firewall-cmd` where there is one; changes nothing.
    pub fn find() -> Result<Self, FirewallError> {
        Ok(Self {
            nft: Nft::find()?,
            firewall_cmd: program("firewall-cmd"),
            doings: Arc::default(),
            turn: Arc::default(),
            loopback: Arc::default(),
        })
    }

    /// The program, where it is installed.
    pub fn nft() -> Option<PathBuf> {
        program("nft")
    }

    /// Another `firewall-cmd` than the one on the search path.
    pub fn with_firewall_cmd(mut self, firewall_cmd: PathBuf) -> Self {
        self.firewall_cmd = Some(firewall_cmd);
        self
    }

    /// Whether the agent's table is there and isolates networks. One that somebody emptied is as good as none.
    pub fn has_table(&self) -> bool {
        let chains = ["forward", "inward"].map(|chain| format!("list chain {TABLE} {chain}"));
        let listed = self.nft.list(&[&chains.join("; ")]);
        let has_rules = |listing: &Value, chain: &str| {
            objects(listing, "rule").any(|rule| rule["chain"] == chain)
        };
        listed.is_ok_and(|listing| {
            ["forward", "inward"]
                .iter()
                .all(|chain| has_rules(&listing, chain))
        })
    }

    /// Makes the packet filter what `rules` say, in one transaction; nothing where it is that already. Where it stands as it was
    /// made last, that is what has changed since.
    pub fn apply(&self, rules: &Rules) -> Result<(), FirewallError> {
        self.make(rules, Withdrawn::Forgotten)
    }

    /// The same at the end of the agent: new clients are refused, and those that there are go on.
    pub fn take_leave(&self, rules: &Rules) -> Result<(), FirewallError> {
        self.make(rules, Withdrawn::GoOn)
    }

    fn make(&self, rules: &Rules, withdrawn: Withdrawn) -> Result<(), FirewallError> {
        let mut applied = self.turn.lock();
        let is_watched = self.doings.is_watched();
        let disturbances = self.doings.disturbances();
        let is_as_made = is_watched && applied.disturbances == disturbances;
        let before = applied.rules.take().filter(|_| is_as_made);
        let is_changed = before.is_some_and(|before| self.make_change(&before, rules));
        let was_disturbed = !is_changed && {
            let had_table = self.make_whole(rules, &mut applied)?;
            !had_table || applied.disturbances != disturbances
        };
        self.loopback.lock().lead_out(rules);
        let published: BTreeSet<Published> = rules.published.iter().copied().collect();
        let has_news = was_disturbed || !are_same_udp(&applied.published, &published);
        if has_news && withdrawn == Withdrawn::Forgotten {
            forget_stale(&published, &applied.published);
        }
        applied.published = published;
        if was_disturbed && let Some(trusted) = &mut applied.trusted {
            trusted.clear();
        }
        if let Some(trusted) = &mut applied.trusted {
            let networks = rules.networks.iter();
            let links = networks.map(|network| network.host_link.clone());
            self.trust(links.collect(), trusted);
        }
        applied.disturbances = disturbances;
        applied.rules = is_watched.then(|| rules.clone());
        Ok(())
    }

    /// Changes what is otherwise than `before`. False where only the whole table will do.
    fn make_change(&self, before: &Rules, rules: &Rules) -> bool {
        let Some(script) = render_change(before, rules) else {
            return false;
        };
        if script.is_empty() {
            return true;
        }
        let begun = |process| self.doings.remember(process);
        match self.nft.run(&script, begun) {
            Ok(()) => true,
            // Somebody else was faster than the watch, or what is wrong shows with the whole table too.
            Err(error) => {
                tracing::debug!(%error, "the table is made as a whole");
                false
            }
        }
    }

    /// Makes the whole table anew. Whether there was one.
    fn make_whole(&self, rules: &Rules, applied: &mut Applied) -> Result<bool, FirewallError> {
        let (chains, drops) = self.survey()?;
        self.change(&chains, |docker| {
            let around = Surroundings {
                drops: drops.clone().unwrap_or_default(),
                docker: !docker.is_empty(),
            };
            let mut script = render_beside(rules, &around);
            for chain in docker {
                script.push_str(&chain.without_ours());
                script.push_str(&chain.with_ours(rules.mark_bit));
            }
            script
        })?;
        let has_firewalld =
            objects(&chains, "chain").any(|chain| chain["table"] == FIREWALLD_TABLE);
        applied.trusted = has_firewalld.then(|| applied.trusted.take().unwrap_or_default());
        Ok(drops.is_some())
    }

    /// Removes everything [`Firewall::apply`] made. Nothing being there is no error.
    pub fn remove(&self) -> Result<(), FirewallError> {
        let mut applied = self.turn.lock();
        applied.rules = None;
        self.loopback.lock().keep_in();
        let chains = self.nft.list(&["list", "chains"])?;
        self.change(&chains, |docker| {
            let mut script = format!("add table {TABLE}\ndelete table {TABLE}\n");
            script.extend(docker.iter().map(DockerUser::without_ours));
            script
        })?;
        forget_stale(&BTreeSet::new(), &applied.published);
        applied.published.clear();
        Ok(())
    }

    /// What was dropped since there has been a table; nothing where there is none.
    pub fn drops(&self) -> Drops {
        let listed = self
            .nft
            .list(&["list", "sets", "table", "inet", "tapestry"]);
        listed.map_or_else(|_| Drops::default(), |listing| read_drops(&listing))
    }

    /// Whether Docker's chains are there.
    pub fn is_beside_docker(&self) -> bool {
        let chains = self.nft.list(&["list", "chains"]);
        chains.is_ok_and(|chains| docker::families(&chains).next().is_some())
    }

    /// Opens the way to what is `published` on a network from the host's loopback addresses; for a link that came after
    /// [`Firewall::apply`].
    pub fn lead_loopback(&self, network: &NetworkRules, published: &[Published]) {
        self.loopback.lock().lead_one(network, published);
    }

    /// Forgets all connections of addresses that are about to be somebody else's: many at once cost little more than one.
    pub fn forget_addresses(&self, addresses: &[IpAddr]) {
        if let Err(error) = conntrack::forget_addresses(addresses) {
            tracing::warn!(%error, "connections of released addresses are not forgotten");
        }
    }

    /// Says when to apply again, until dropped. Open it before the first [`Firewall::apply`], so nothing is missed.
    pub fn watch(&self) -> Result<FirewallWatch, WatchFirewall> {
        FirewallWatch::open(Arc::clone(&self.doings))
    }

    /// The chains there are, and what our table has counted, if there is one: then it is one run of the program.
    fn survey(&self) -> Result<(Value, Option<Drops>), FirewallError> {
        match self
            .nft
            .list(&[&format!("list chains; list sets table {TABLE}")])
        {
            Ok(listing) => {
                let drops = read_drops(&listing);
                Ok((listing, Some(drops)))
            }
            Err(FirewallError::Refused { .. }) => Ok((self.nft.list(&["list", "chains"])?, None)),
            Err(error) => Err(error),
        }
    }

    /// The rules in Docker's chains are addressed by handles that may change under us; then list and try again.
    fn change(
        &self,
        chains: &Value,
        script: impl Fn(&[DockerUser]) -> String,
    ) -> Result<(), FirewallError> {
        let run = |docker: &[DockerUser]| {
            let begun = |process| self.doings.remember(process);
            self.nft.run(&script(docker), begun)
        };
        let first = DockerUser::among(chains, &self.nft)?;
        match run(&first) {
            Err(FirewallError::Refused { .. }) if !first.is_empty() => {
                let chains = self.nft.list(&["list", "chains"])?;
                run(&DockerUser::among(&chains, &self.nft)?)
            }
            outcome => outcome,
        }
    }

    fn trust(&self, links: BTreeSet<String>, trusted: &mut BTreeSet<String>) {
        let new: BTreeSet<&String> = links.difference(trusted).collect();
        let (false, Some(firewall_cmd)) = (new.is_empty(), &self.firewall_cmd) else {
            return;
        };
        match firewalld::trust(firewall_cmd, &new) {
            Ok(()) => *trusted = links,
            Err(error) => tracing::warn!(%error, "firewalld does not trust our links"),
        }
    }
}

/// Whether the same ports are published for datagrams.
fn are_same_udp(one: &BTreeSet<Published>, other: &BTreeSet<Published>) -> bool {
    let mut changed = one.symmetric_difference(other);
    changed.all(|run| run.protocol != TransportProtocol::Udp)
}

/// A failure leaves old associations to their timeouts, which is no reason to fail.
fn forget_stale(published: &BTreeSet<Published>, before: &BTreeSet<Published>) {
    let withdrawn: Vec<Published> = before.difference(published).copied().collect();
    let published: Vec<Published> = published.iter().copied().collect();
    let own_addresses: Vec<IpAddr> = match Netlink::open().and_then(|mut n| n.addresses()) {
        Ok(addresses) => addresses.iter().map(|entry| entry.address.addr()).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot find out this host's addresses");
            return;
        }
    };
    match conntrack::forget_stale(&published, &withdrawn, &own_addresses) {
        Ok(0) => {}
        Ok(forgotten) => tracing::debug!(forgotten, "forgot UDP associations"),
        Err(error) => tracing::warn!(%error, "cannot forget UDP associations"),
    }
}
