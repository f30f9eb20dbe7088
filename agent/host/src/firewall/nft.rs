//! Running `nft`.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_core::firewall::{Drops, Published, Rules, Surroundings, TABLE, render_beside};
use serde_json::{Value, json};

use super::drops::read_drops;
use super::watch::{FirewallWatch, WatchFirewall};
use super::{conntrack, loopback};
use crate::netlink::Netlink;

/// The packet filter of the calling thread's network namespace.
#[derive(Clone, Debug)]
pub struct Firewall {
    nft: PathBuf,
    firewall_cmd: Option<PathBuf>,
    shared: Arc<Shared>,
}

/// Why the packet filter is not as wanted.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    #[error("the program nft is not installed; install the package nftables")]
    NftMissing,
    #[error("cannot run {}: {source}", program.display())]
    Run {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("nft refused the rules: {said}")]
    Refused { said: String },
    #[error("nft lists the ruleset in an unknown form: {0}")]
    Listing(#[from] serde_json::Error),
}

/// What the watch must know of the agent's own doings.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Held while the filter is listed and changed, so that two callers do not both add Docker's rule.
    turn: Mutex<()>,
    /// The processes that made our last transactions, newest last.
    own: Mutex<VecDeque<u32>>,
    /// The ports of the last application.
    published: Mutex<Vec<Published>>,
    /// Links that firewalld was told of.
    trusted: Mutex<BTreeSet<String>>,
}

/// One of Docker's chains for others, as it is now.
struct DockerUser {
    family: String,
    /// Handles of our rules in it.
    ours: Vec<u64>,
}

impl Firewall {
    /// Finds `nft`, and `firewall-cmd` where there is one; changes nothing.
    pub fn find() -> Result<Self, FirewallError> {
        Ok(Self {
            nft: Self::nft().ok_or(FirewallError::NftMissing)?,
            firewall_cmd: program("firewall-cmd"),
            shared: Arc::default(),
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

    /// Makes the packet filter what `rules` say, in one transaction.
    pub fn apply(&self, rules: &Rules) -> Result<(), FirewallError> {
        let _turn = lock(&self.shared.turn);
        let (chains, drops) = self.survey()?;
        self.change(&chains, |docker| {
            let around = Surroundings {
                drops: drops.clone(),
                docker: !docker.is_empty(),
            };
            let mut script = render_beside(rules, &around);
            for chain in docker {
                script.push_str(&chain.without_ours());
                script.push_str(&chain.with_ours(rules.mark_bit));
            }
            script
        })?;
        loopback::lead_out(rules);
        self.forget_stale(&rules.published);
        if objects(&chains, "chain").any(|chain| chain["table"] == FIREWALLD_TABLE) {
            let links = rules
                .networks
                .iter()
                .map(|network| network.host_link.clone());
            self.trust(links.collect());
        }
        Ok(())
    }

    /// Removes everything [`Firewall::apply`] made. Nothing being there is no error.
    pub fn remove(&self) -> Result<(), FirewallError> {
        let _turn = lock(&self.shared.turn);
        loopback::keep_in();
        let chains = self.list(&["list", "chains"])?;
        self.change(&chains, |docker| {
            let mut script = format!("add table {TABLE}\ndelete table {TABLE}\n");
            script.extend(docker.iter().map(DockerUser::without_ours));
            script
        })?;
        self.forget_stale(&[]);
        Ok(())
    }

    /// What was dropped since there has been a table; nothing where there is none.
    pub fn drops(&self) -> Drops {
        let listed = self.list(&["list", "sets", "table", "inet", "tapestry"]);
        listed.map_or_else(|_| Drops::default(), |listing| read_drops(&listing))
    }

    /// Whether Docker's chains are there.
    pub fn is_beside_docker(&self) -> bool {
        let chains = self.list(&["list", "chains"]);
        chains.is_ok_and(|chains| docker_families(&chains).next().is_some())
    }

    /// The chains there are, and what our table has counted: one run of the program, where there is a table.
    fn survey(&self) -> Result<(Value, Drops), FirewallError> {
        match self.list(&[&format!("list chains; list sets table {TABLE}")]) {
            Ok(listing) => {
                let drops = read_drops(&listing);
                Ok((listing, drops))
            }
            Err(FirewallError::Refused { .. }) => {
                Ok((self.list(&["list", "chains"])?, Drops::default()))
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the way to published ports from the host's loopback addresses; for links that came after [`Firewall::apply`].
    pub fn lead_loopback(&self, rules: &Rules) {
        let _turn = lock(&self.shared.turn);
        loopback::lead_out(rules);
    }

    /// Forgets all connections of addresses that are about to be somebody else's.
    pub fn forget_addresses(&self, addresses: &[IpAddr]) {
        match conntrack::forget_addresses(addresses) {
            Ok(0) => {}
            Ok(forgotten) => tracing::debug!(forgotten, "forgot connections of released addresses"),
            Err(error) => tracing::warn!(%error, "cannot forget connections of released addresses"),
        }
    }

    /// Says when to apply again, until dropped. Open it before the first [`Firewall::apply`], so nothing is missed.
    pub fn watch(&self) -> Result<FirewallWatch, WatchFirewall> {
        FirewallWatch::open(Arc::clone(&self.shared))
    }

    /// The rules in Docker's chains are addressed by handles that may change under us; then list and try again.
    fn change(
        &self,
        chains: &Value,
        script: impl Fn(&[DockerUser]) -> String,
    ) -> Result<(), FirewallError> {
        let first = self.docker_user(chains)?;
        match self.run_script(&script(&first)) {
            Err(FirewallError::Refused { .. }) if !first.is_empty() => {
                let chains = self.list(&["list", "chains"])?;
                self.run_script(&script(&self.docker_user(&chains)?))
            }
            outcome => outcome,
        }
    }

    fn docker_user(&self, chains: &Value) -> Result<Vec<DockerUser>, FirewallError> {
        let with_rules = docker_families(chains).map(|family| {
            let rules = self.list(&["list", "chain", family, "filter", DOCKER_USER])?;
            let ours = objects(&rules, "rule")
                .filter(|rule| rule["comment"] == COMMENT)
                .filter_map(|rule| rule["handle"].as_u64())
                .collect();
            let family = family.to_owned();
            Ok(DockerUser { family, ours })
        });
        with_rules.collect()
    }

    fn list(&self, arguments: &[&str]) -> Result<Value, FirewallError> {
        let output = self
            .command()
            .arg("-j")
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        let output = succeeded(output.map_err(|source| self.failed(source))?)?;
        Ok(joined(&output.stdout)?)
    }

    fn run_script(&self, script: &str) -> Result<(), FirewallError> {
        let mut child = self
            .command()
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| self.failed(source))?;
        // Known as ours before it can have read a line.
        self.shared.remember(child.id());
        let written = match child.stdin.take() {
            Some(mut stdin) => stdin.write_all(script.as_bytes()),
            None => Ok(()),
        };
        let output = child
            .wait_with_output()
            .map_err(|source| self.failed(source))?;
        succeeded(output)?;
        written.map_err(|source| self.failed(source))
    }

    /// Without the user's locale and without a shell.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.nft);
        command.env("LC_ALL", "C");
        command
    }

    fn failed(&self, source: io::Error) -> FirewallError {
        if source.kind() == io::ErrorKind::NotFound {
            return FirewallError::NftMissing;
        }
        FirewallError::Run {
            program: self.nft.clone(),
            source,
        }
    }

    /// A failure leaves old associations to their timeouts, which is no reason to fail.
    fn forget_stale(&self, published: &[Published]) {
        let before = std::mem::replace(&mut *lock(&self.shared.published), published.to_vec());
        let withdrawn: Vec<Published> = before
            .into_iter()
            .filter(|port| !published.contains(port))
            .collect();
        let own_addresses: Vec<IpAddr> = match Netlink::open().and_then(|mut n| n.addresses()) {
            Ok(addresses) => addresses.iter().map(|entry| entry.address.addr()).collect(),
            Err(error) => {
                tracing::warn!(%error, "cannot find out this host's addresses");
                return;
            }
        };
        match conntrack::forget_stale(published, &withdrawn, &own_addresses) {
            Ok(0) => {}
            Ok(forgotten) => tracing::debug!(forgotten, "forgot UDP associations"),
            Err(error) => tracing::warn!(%error, "cannot forget UDP associations"),
        }
    }

    /// firewalld rejects what belongs to no zone that allows it; its own word for our case is the zone `trusted`.
    fn trust(&self, links: BTreeSet<String>) {
        let mut trusted = lock(&self.shared.trusted);
        let new: Vec<&String> = links.difference(&trusted).collect();
        if new.is_empty() {
            return;
        }
        let Some(firewall_cmd) = &self.firewall_cmd else {
            return;
        };
        let arguments = new.iter().map(|link| format!("--change-interface={link}"));
        let outcome = Command::new(firewall_cmd)
            .arg("--zone=trusted")
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        match outcome.map_err(|error| error.to_string()).map(succeeded) {
            Ok(Ok(_)) => *trusted = links,
            Ok(Err(error)) => tracing::warn!(%error, "firewalld does not trust our links"),
            Err(error) => tracing::warn!(%error, "cannot run firewall-cmd"),
        }
    }
}

impl DockerUser {
    fn without_ours(&self) -> String {
        let family = &self.family;
        let delete =
            |handle| format!("delete rule {family} filter {DOCKER_USER} handle {handle}\n");
        self.ours.iter().map(delete).collect()
    }

    fn with_ours(&self, mark_bit: u32) -> String {
        let family = &self.family;
        format!(
            "insert rule {family} filter {DOCKER_USER} \
             meta mark & {mark_bit:#010x} == {mark_bit:#010x} accept comment \"{COMMENT}\"\n"
        )
    }
}

impl Shared {
    pub(super) fn is_own(&self, process: u32) -> bool {
        lock(&self.own).contains(&process)
    }

    /// Somebody changed the world, so firewalld must be told again.
    pub(super) fn distrust(&self) {
        lock(&self.trusted).clear();
    }

    fn remember(&self, process: u32) {
        let mut own = lock(&self.own);
        if own.len() == REMEMBERED {
            own.pop_front();
        }
        own.push_back(process);
    }
}

/// Each command of one run answers with a document of its own.
fn joined(output: &[u8]) -> Result<Value, serde_json::Error> {
    let mut objects = Vec::new();
    for document in serde_json::Deserializer::from_slice(output).into_iter::<Value>() {
        if let Some(Value::Array(more)) = document?.get_mut("nftables").map(Value::take) {
            objects.extend(more);
        }
    }
    Ok(json!({ "nftables": objects }))
}

/// The address families in which Docker has its chain for others.
fn docker_families(chains: &Value) -> impl Iterator<Item = &str> {
    objects(chains, "chain")
        .filter(|chain| chain["table"] == "filter" && chain["name"] == DOCKER_USER)
        .filter_map(|chain| chain["family"].as_str())
        .filter(|family| ["ip", "ip6"].contains(family))
}

/// The objects of one kind in `nft -j` output.
pub(super) fn objects<'a>(
    listing: &'a Value,
    kind: &'static str,
) -> impl Iterator<Item = &'a Value> {
    let all = listing["nftables"].as_array();
    all.into_iter()
        .flatten()
        .filter_map(move |object| object.get(kind))
}

/// A program on the search path, or where administration programs are on hosts whose services search elsewhere.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

fn succeeded(output: Output) -> Result<Output, FirewallError> {
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // Lines with a hash are warnings about tables of others.
    let is_reason = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let mut lines = said.lines().map(str::trim).filter(is_reason);
    let said = match lines.next() {
        Some(line) => line.to_owned(),
        None => output.status.to_string(),
    };
    Err(FirewallError::Refused { said })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) const DOCKER_USER: &str = "DOCKER-USER";
pub(super) const FIREWALLD_TABLE: &str = "firewalld";
const COMMENT: &str = "tapestry";
const REMEMBERED: usize = 32;
