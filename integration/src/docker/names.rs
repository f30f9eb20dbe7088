//! What the engine's calls do not say: names, aliases, and what is gone. Learned from its events, and from what it lists.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_api::{EndpointDetail, EndpointUpdate, NetworkUpdate};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::book::Page;
use super::engine::{AskEngine, Engine, EngineContainer, EngineNetwork, Event, Seat};
use super::garbage::{BETWEEN_LOOKS, Missing};
use super::plugin::{Plugin, network_of};
use super::translate::{is_of_engine, key};
use super::wire::{Id, Refusal};

/// Follows one engine, whenever it is there.
pub(super) struct Follower {
    plugin: Arc<Plugin>,
    engine: Engine,
    networks: Missing,
    endpoints: Missing,
    unlisted: Missing,
    /// Networks whose other name was told of; it is tried again at every look.
    unnamed: BTreeSet<Id>,
}

/// Why a look was given up. It is repeated.
#[derive(Debug, thiserror::Error)]
enum Look {
    #[error(transparent)]
    Engine(#[from] AskEngine),
    #[error(transparent)]
    Agent(#[from] agent_api::ClientError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("notes of networks: {0}")]
    Book(#[from] std::io::Error),
}

impl Follower {
    pub(super) fn new(plugin: Arc<Plugin>, engine: Engine) -> Self {
        Self {
            plugin,
            engine,
            networks: Missing::default(),
            endpoints: Missing::default(),
            unlisted: Missing::default(),
            unnamed: BTreeSet::new(),
        }
    }

    /// Never ends. An engine that is not there is asked again, and at once when it calls the plugin for the first time.
    pub(super) async fn run(mut self) -> Infallible {
        let mut pause = PAUSE_MIN;
        loop {
            let began = Instant::now();
            let Err(reason) = self.follow().await;
            tracing::debug!(%reason, "the engine is not followed");
            if began.elapsed() > PAUSE_MAX {
                pause = PAUSE_MIN;
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                () = self.plugin.activated.notified() => pause = PAUSE_MIN,
            }
        }
    }

    async fn follow(&mut self) -> Result<Infallible, Look> {
        // Before the look, so that nothing happens unseen after it.
        let mut events = self.engine.events().await?;
        let engine = self.engine.info().await?.id;
        tracing::info!(engine, "names come from Docker's events");
        self.name_all().await?;
        let mut looks = interval(BETWEEN_LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => self.hear(&engine, &event?).await?,
                _ = looks.tick() => self.look(&engine).await?,
            }
        }
    }

    async fn hear(&mut self, engine: &str, event: &Event) -> Result<(), Look> {
        match (event.kind.as_str(), event.action.as_str()) {
            ("network", "create") => match self.engine.network(&event.actor.id).await? {
                Some(network) => self.adopt(engine, &network).await,
                None => Ok(()),
            },
            ("network", "connect") => match event.actor.attributes.get("container") {
                Some(container) => self.name_container(container).await,
                None => Ok(()),
            },
            ("container", "rename") => self.name_container(&event.actor.id).await,
            _ => Ok(()),
        }
    }

    /// What happened while nobody listened.
    async fn name_all(&self) -> Result<(), Look> {
        for container in self.engine.containers().await? {
            let mut seats = container.network_settings.networks.values();
            if seats.any(|seat| id(&seat.endpoint).is_some()) {
                self.name_container(&container.id).await?;
            }
        }
        Ok(())
    }

    /// Everything that the engine lists, beside everything that the plugin made.
    async fn look(&mut self, engine: &str) -> Result<(), Look> {
        let listed = self.engine.networks().await?;
        for network in &listed {
            self.adopt(engine, network).await?;
        }
        let pages = self.plugin.book.pages().await?;
        self.tell_unlisted(&pages);
        let of_engine = |(_, page): &&(Id, Page)| page.engine.as_deref() == Some(engine);
        let pages: BTreeMap<_, _> = pages.iter().filter(of_engine).cloned().collect();
        let containers = self.engine.containers().await?;
        let seats = containers
            .iter()
            .flat_map(|container| container.network_settings.networks.values());
        let known = seats.filter_map(|seat| id(&seat.endpoint)).collect();
        self.collect_endpoints(&pages, known).await?;
        let listed: BTreeSet<_> = listed
            .iter()
            .filter_map(|network| id(&network.id))
            .collect();
        self.collect_networks(&pages, &listed).await
    }

    /// Notes which engine knows a network of the plugin's, and calls the agent's as the engine does.
    async fn adopt(&mut self, engine: &str, network: &EngineNetwork) -> Result<(), Look> {
        let Some(id) = id(&network.id) else {
            return Ok(());
        };
        let Some(page) = self.plugin.book.find(&id).await? else {
            return Ok(());
        };
        if page.engine.as_deref() != Some(engine) {
            let page = Page {
                engine: Some(engine.to_owned()),
                ..page.clone()
            };
            self.plugin.book.write(&id, &page).await?;
        }
        match page.network {
            None => self.rename(&id, &network.name).await,
            Some(_) => Ok(()),
        }
    }

    async fn rename(&mut self, id: &Id, name: &str) -> Result<(), Look> {
        let client = &self.plugin.client;
        match client.network(id.as_str()).await {
            Ok(network) if network.summary.name != name => {}
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => return Ok(()),
        }
        let update = NetworkUpdate {
            name: Some(name.to_owned()),
        };
        let renaming = self.plugin.renaming.write().await;
        let renamed = client.update_network(id.as_str(), &update).await;
        drop(renaming);
        match renamed {
            Ok(_) => tracing::info!(network = id.short(), name, "named as Docker does"),
            Err(reason) if self.unnamed.insert(id.clone()) => {
                tracing::info!(network = id.short(), name, %reason, "not named as Docker does");
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Gives a container's endpoints its name and aliases.
    async fn name_container(&self, container: &str) -> Result<(), Look> {
        let Some(container) = self.engine.container(container).await? else {
            return Ok(());
        };
        for seat in container.network_settings.networks.values() {
            if let (Some(network), Some(endpoint)) = (id(&seat.network), id(&seat.endpoint))
                && self.plugin.book.find(&network).await?.is_some()
            {
                self.name_endpoint(&endpoint, &container, seat).await?;
            }
        }
        Ok(())
    }

    async fn name_endpoint(
        &self,
        id: &Id,
        container: &EngineContainer,
        seat: &Seat,
    ) -> Result<(), Look> {
        let client = &self.plugin.client;
        let endpoint = match client.endpoint(id.as_str()).await {
            Err(error) if error.is_not_found() => return Ok(()),
            endpoint => endpoint?,
        };
        let wished = names(id, container, seat);
        if is_named(&endpoint, &wished) {
            return Ok(());
        }
        let Err(reason) = client.update_endpoint(id.as_str(), &wished).await else {
            return Ok(());
        };
        tracing::info!(endpoint = id.short(), name = container.name, %reason, "not named as Docker does");
        // A name that another one has, say, is no reason to go without aliases.
        let aliases = EndpointUpdate {
            name: None,
            ..wished
        };
        if let Err(reason) = client.update_endpoint(id.as_str(), &aliases).await {
            tracing::info!(endpoint = id.short(), %reason, "without aliases");
        }
        Ok(())
    }

    /// Networks that no engine ever listed: whose they are nobody can say, so they stay.
    fn tell_unlisted(&mut self, pages: &[(Id, Page)]) {
        let unlisted = pages.iter().filter(|(_, page)| page.engine.is_none());
        let unlisted = unlisted.map(|(id, _)| id.clone()).collect();
        for id in self.unlisted.look(unlisted, Instant::now()) {
            let network = id.short();
            tracing::info!(
                network,
                "Docker does not list it; if nobody needs it: tapestry network rm {network}"
            );
        }
    }

    async fn collect_endpoints(
        &mut self,
        pages: &BTreeMap<Id, Page>,
        mut known: BTreeSet<Id>,
    ) -> Result<(), Look> {
        let mut found = BTreeSet::new();
        for (network, page) in pages {
            if let Some(listed) = self.engine.network(network.as_str()).await? {
                let attached = listed.containers.values();
                known.extend(attached.filter_map(|attached| id(&attached.endpoint)));
            }
            match self.plugin.client.network(network_of(network, page)).await {
                Ok(network) => {
                    let of_engine = network.endpoints.iter().filter(|one| is_of_engine(one));
                    found.extend(of_engine.filter_map(|one| id(&one.id)));
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let missing = found.difference(&known).cloned().collect();
        for lost in self.endpoints.look(missing, Instant::now()) {
            tracing::info!(endpoint = lost.short(), "removed: Docker knows it no more");
            super::plugin::gone(self.plugin.client.remove_endpoint(lost.as_str()).await)?;
        }
        Ok(())
    }

    async fn collect_networks(
        &mut self,
        pages: &BTreeMap<Id, Page>,
        listed: &BTreeSet<Id>,
    ) -> Result<(), Look> {
        let missing = pages.keys().filter(|id| !listed.contains(id)).cloned();
        for lost in self.networks.look(missing.collect(), Instant::now()) {
            match self.plugin.forget_network(&lost).await {
                Ok(()) => {
                    self.unnamed.remove(&lost);
                    tracing::info!(network = lost.short(), "removed: Docker knows it no more")
                }
                // Somebody else is on it, who has to leave first.
                Err(reason) => tracing::info!(network = lost.short(), %reason, "left there"),
            }
        }
        Ok(())
    }
}

/// What the agent shall call a container's endpoint. The alias that it is known by stays.
fn names(id: &Id, container: &EngineContainer, seat: &Seat) -> EndpointUpdate {
    let name = container.name.trim_start_matches('/');
    let short = container.id.get(..12).unwrap_or(&container.id);
    let mut aliases = vec![key(id)];
    let given = seat.aliases.iter().map(String::as_str).chain([short]);
    for alias in given.filter(|alias| is_name(alias) && *alias != name) {
        if !aliases.iter().any(|known| known == alias) && aliases.len() < ALIASES_MAX {
            aliases.push(alias.to_owned());
        }
    }
    EndpointUpdate {
        name: is_name(name).then(|| name.to_owned()),
        aliases: Some(aliases),
        publish: None,
    }
}

fn is_named(endpoint: &EndpointDetail, wished: &EndpointUpdate) -> bool {
    let aliases = wished.aliases.as_deref().unwrap_or_default();
    wished
        .name
        .as_ref()
        .is_none_or(|name| *name == endpoint.name)
        && aliases.len() == endpoint.aliases.len()
        && aliases.iter().all(|alias| endpoint.aliases.contains(alias))
}

/// Whether it can be a label (RFC 1035 §2.3.4).
fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
}

fn id(text: &str) -> Option<Id> {
    Id::try_from(text.to_owned()).ok()
}

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
const ALIASES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_its_name_and_its_aliases_once_each() {
        let endpoint = id(&"e".repeat(64)).unwrap();
        let container = EngineContainer {
            id: "0123456789abcdef".into(),
            name: "/web".into(),
            network_settings: Default::default(),
        };
        let seat = Seat {
            aliases: ["www", "0123456789ab", "web", ""].map(str::to_owned).into(),
            ..Seat::default()
        };
        let named = names(&endpoint, &container, &seat);
        assert_eq!(named.name.as_deref(), Some("web"));
        let expected = ["eeeeeeeeeeee.docker", "www", "0123456789ab"];
        assert_eq!(named.aliases.unwrap(), expected);
    }

    #[test]
    fn a_name_that_is_too_long_is_left_out() {
        let endpoint = id(&"e".repeat(64)).unwrap();
        let container = EngineContainer {
            id: "0123456789abcdef".into(),
            name: "/".to_owned() + &"x".repeat(64),
            network_settings: Default::default(),
        };
        assert_eq!(names(&endpoint, &container, &Seat::default()).name, None);
    }
}
