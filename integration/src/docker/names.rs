//! What the engine's calls do not say: names, aliases, and what is gone. Learned from its events, and from what it lists.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_api::{EndpointDetail, EndpointUpdate, LinkUpdate, NetworkUpdate, RateUpdate};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::book::Page;
use super::engine::{Engine, EngineContainer, EngineNetwork, Event, Seat};
use super::garbage::{BETWEEN_LOOKS, Garbage, Listed, Look};
use super::labels::impairment;
use super::plugin::Plugin;
use super::rates::rates;
use super::translate::{is_of_engine, key, name_of};
use super::wire::Id;

/// Follows one engine, whenever it is there.
pub(super) struct Follower {
    plugin: Arc<Plugin>,
    engine: Engine,
    garbage: Garbage,
    /// Networks whose other name was told of; it is tried again at every look.
    unnamed: BTreeSet<Id>,
}

impl Follower {
    pub(super) fn new(plugin: Arc<Plugin>, engine: Engine) -> Self {
        Self {
            plugin,
            engine,
            garbage: Garbage::default(),
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
            if seats.any(|seat| !seat.endpoint.is_empty()) {
                self.name_container(&container.id).await?;
            }
        }
        Ok(())
    }

    /// Everything that the engine lists, beside everything that the plugin made.
    async fn look(&mut self, engine: &str) -> Result<(), Look> {
        let networks = self.engine.networks().await?;
        for network in &networks {
            self.adopt(engine, network).await?;
        }
        let containers = self.engine.containers().await?;
        self.name_nameless(&containers).await?;
        let listed = Listed {
            engine,
            networks: &networks,
            containers: &containers,
        };
        let garbage = &mut self.garbage;
        garbage.collect(&self.plugin, &self.engine, &listed).await
    }

    /// Those whose name could not be theirs when the engine told of them.
    async fn name_nameless(&self, containers: &[EngineContainer]) -> Result<(), Look> {
        let endpoints = self.plugin.client.endpoints().await?;
        let nameless = |one: &&EndpointDetail| {
            is_of_engine(one) && Id::find(&one.id).is_some_and(|id| one.name == name_of(&id))
        };
        let nameless: BTreeSet<_> = endpoints
            .iter()
            .filter(nameless)
            .map(|one| &one.id)
            .collect();
        for container in containers {
            let mut seats = container.network_settings.networks.values();
            if seats.any(|seat| nameless.contains(&seat.endpoint)) {
                self.name_container(&container.id).await?;
            }
        }
        Ok(())
    }

    /// Notes which engine knows a network of the plugin's, and calls the agent's as the engine does.
    async fn adopt(&mut self, engine: &str, network: &EngineNetwork) -> Result<(), Look> {
        let Some(id) = Id::find(&network.id) else {
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
            if let (Some(network), Some(endpoint)) =
                (Id::find(&seat.network), Id::find(&seat.endpoint))
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
        // Once, as long as it is nameless: what somebody sets later stays.
        if endpoint.name == name_of(id) {
            self.impair(id, container).await;
            self.limit(id, container).await;
        }
        let wished = names(id, container, seat);
        if is_named(&endpoint, &wished) {
            return Ok(());
        }
        let mut updated = client.update_endpoint(id.as_str(), &wished).await;
        if updated.is_err() && self.displace_namesake(&endpoint, &wished).await? {
            updated = client.update_endpoint(id.as_str(), &wished).await;
        }
        let Err(reason) = updated else {
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

    /// Does to a container's link what its labels say.
    async fn impair(&self, id: &Id, container: &EngineContainer) {
        let (wished, refused) = impairment(&container.config.labels);
        for reason in refused {
            tracing::warn!(
                container = container.name,
                reason,
                "a link is not impaired so"
            );
        }
        let Some(to) = wished else {
            return;
        };
        let update = LinkUpdate {
            to: Some(to),
            ..LinkUpdate::default()
        };
        match self.plugin.client.update_link(id.as_str(), &update).await {
            Ok(_) => tracing::info!(container = container.name, %to, "impaired by its labels"),
            Err(reason) => tracing::warn!(container = container.name, %reason, "not impaired"),
        }
    }

    /// Gives a container the rates of its labels.
    async fn limit(&self, id: &Id, container: &EngineContainer) {
        let labels = &container.config.labels;
        let wished = rates(|name| labels.get(name).map(String::as_str));
        let settings = match wished {
            Ok(settings) if settings.is_default() => return,
            Ok(settings) => settings,
            Err(reason) => {
                tracing::warn!(container = container.name, reason, "a label is no rate");
                return;
            }
        };
        let update = RateUpdate {
            reset: false,
            settings,
        };
        match self.plugin.client.update_rate(id.as_str(), &update).await {
            Ok(_) => {
                tracing::info!(container = container.name, rates = %settings, "limited by its labels")
            }
            Err(reason) => tracing::warn!(container = container.name, %reason, "not limited"),
        }
    }

    /// Removes the endpoint of the engine's that had the name before, if it is in no container.
    async fn displace_namesake(
        &self,
        endpoint: &EndpointDetail,
        wished: &EndpointUpdate,
    ) -> Result<bool, Look> {
        let network = self.plugin.client.network(&endpoint.network).await?;
        let mut others = network.endpoints.iter();
        let namesake = others.find(|other| {
            is_of_engine(other)
                && other.id != endpoint.id
                && Some(&other.name) == wished.name.as_ref()
        });
        match namesake {
            Some(other) => Ok(self.plugin.remove_if_stale(&other.id).await?),
            None => Ok(false),
        }
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

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
const ALIASES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_its_name_and_its_aliases_once_each() {
        let endpoint = Id::find(&"e".repeat(64)).unwrap();
        let container = EngineContainer {
            id: "0123456789abcdef".into(),
            name: "/web".into(),
            network_settings: Default::default(),
            config: Default::default(),
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
        let endpoint = Id::find(&"e".repeat(64)).unwrap();
        let container = EngineContainer {
            id: "0123456789abcdef".into(),
            name: "/".to_owned() + &"x".repeat(64),
            network_settings: Default::default(),
            config: Default::default(),
        };
        assert_eq!(names(&endpoint, &container, &Seat::default()).name, None);
    }
}
