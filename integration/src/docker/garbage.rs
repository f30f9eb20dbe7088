//! What the engine does not know any more: it may lose the agent while it removes something, and never says so again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::book::Page;
use super::engine::{AskEngine, Engine, EngineContainer, EngineNetwork};
use super::plugin::{Plugin, gone, network_of};
use super::translate::is_of_engine;
use super::wire::{Id, Refusal};

/// What one engine was seen without.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    networks: Missing,
    endpoints: Missing,
    unlisted: Missing,
    /// What was told of already.
    told: BTreeSet<Id>,
}

/// What an engine lists.
pub(super) struct Listed<'e> {
    /// Its own id.
    pub(super) engine: &'e str,
    pub(super) networks: &'e [EngineNetwork],
    pub(super) containers: &'e [EngineContainer],
}

/// Why a look was given up. It is repeated.
#[derive(Debug, thiserror::Error)]
pub(super) enum Look {
    #[error(transparent)]
    Engine(#[from] AskEngine),
    #[error(transparent)]
    Agent(#[from] agent_api::ClientError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("notes of networks: {0}")]
    Book(#[from] std::io::Error),
}

impl Garbage {
    /// Removes what this engine listed once, and has not listed for long enough. What another engine has is not touched.
    pub(super) async fn collect(
        &mut self,
        plugin: &Plugin,
        engine: &Engine,
        listed: &Listed<'_>,
    ) -> Result<(), Look> {
        let pages = plugin.book.pages().await?;
        self.tell_unlisted(&pages);
        let of_engine = |(_, page): &(Id, Page)| page.engine.as_deref() == Some(listed.engine);
        let pages: BTreeMap<_, _> = pages.into_iter().filter(of_engine).collect();
        self.collect_endpoints(plugin, engine, &pages, listed)
            .await?;
        self.collect_networks(plugin, &pages, listed).await
    }

    /// Networks that no engine ever listed: whose they are nobody can say, so they stay.
    fn tell_unlisted(&mut self, pages: &[(Id, Page)]) {
        let unlisted = pages.iter().filter(|(_, page)| page.engine.is_none());
        let unlisted = unlisted.map(|(id, _)| id.clone()).collect();
        for id in self.unlisted.look(unlisted, Instant::now()) {
            if !self.told.insert(id.clone()) {
                continue;
            }
            let network = id.short();
            tracing::info!(
                network,
                "Docker does not list it; if nobody needs it: tapestry network rm {network}"
            );
        }
    }

    async fn collect_endpoints(
        &mut self,
        plugin: &Plugin,
        engine: &Engine,
        pages: &BTreeMap<Id, Page>,
        listed: &Listed<'_>,
    ) -> Result<(), Look> {
        let containers = listed.containers.iter();
        let seats = containers.flat_map(|container| container.network_settings.networks.values());
        let mut known: BTreeSet<_> = seats.filter_map(|seat| Id::find(&seat.endpoint)).collect();
        let mut found = BTreeSet::new();
        for (network, page) in pages {
            if let Some(listed) = engine.network(network.as_str()).await? {
                let attached = listed.containers.values();
                known.extend(attached.filter_map(|attached| Id::find(&attached.endpoint)));
            }
            match plugin.client.network(network_of(network, page)).await {
                Ok(network) => {
                    let of_engine = network.endpoints.iter().filter(|one| is_of_engine(one));
                    found.extend(of_engine.filter_map(|one| Id::find(&one.id)));
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let missing = found.difference(&known).cloned().collect();
        for lost in self.endpoints.look(missing, Instant::now()) {
            tracing::info!(endpoint = lost.short(), "removed: Docker knows it no more");
            gone(plugin.client.remove_endpoint(lost.as_str()).await)?;
        }
        Ok(())
    }

    async fn collect_networks(
        &mut self,
        plugin: &Plugin,
        pages: &BTreeMap<Id, Page>,
        listed: &Listed<'_>,
    ) -> Result<(), Look> {
        let listed: BTreeSet<_> = listed.networks.iter().map(|network| &*network.id).collect();
        let missing = pages.keys().filter(|id| !listed.contains(id.as_str()));
        for lost in self
            .networks
            .look(missing.cloned().collect(), Instant::now())
        {
            match plugin.forget_network(&lost).await {
                Ok(()) => {
                    tracing::info!(network = lost.short(), "removed: Docker knows it no more")
                }
                // Somebody else is on it, who has to leave first.
                Err(reason) if self.told.insert(lost.clone()) => {
                    tracing::info!(network = lost.short(), %reason, "left there");
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// What was missing at the looks so far, and since when.
#[derive(Debug, Default)]
struct Missing {
    since: BTreeMap<Id, Instant>,
}

impl Missing {
    /// Takes in what is missing at a look. Returns what has been missing at every look for long enough to be garbage: a single look
    /// may come between the engine's making something and its listing it.
    fn look(&mut self, missing: BTreeSet<Id>, now: Instant) -> Vec<Id> {
        self.since.retain(|id, _| missing.contains(id));
        for id in missing {
            self.since.entry(id).or_insert(now);
        }
        let is_old = |since: &Instant| now.saturating_duration_since(*since) >= PATIENCE;
        let old = self.since.iter().filter(|(_, since)| is_old(since));
        old.map(|(id, _)| id.clone()).collect()
    }
}

/// Between the first look at which something is missing, and the last.
const PATIENCE: Duration = Duration::from_secs(30);
/// A little longer, so that the second look is the last.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_secs(31);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_at_every_look_is_garbage() {
        let id = |digit: char| Id::try_from(digit.to_string().repeat(64)).unwrap();
        let set = |digits: &str| digits.chars().map(id).collect::<BTreeSet<_>>();
        let (mut missing, start) = (Missing::default(), Instant::now());
        assert_eq!(missing.look(set("ab"), start), []);
        assert_eq!(missing.look(set("a"), start + PATIENCE / 2), []);
        assert_eq!(missing.look(set("ab"), start + PATIENCE), [id('a')]);
        assert_eq!(missing.look(set("b"), start + 2 * PATIENCE), [id('b')]);
    }
}
