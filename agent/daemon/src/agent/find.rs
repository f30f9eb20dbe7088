//! Finding things by what people call them: name, id, or a unique beginning of the id.

use super::error::Find;
use super::state::{Container, Network, State};

impl State {
    pub(super) fn network_id(&self, called: &str) -> Result<String, Find> {
        let candidates = self
            .networks
            .values()
            .map(|network| (network.record.id.as_str(), network.record.name.as_str()));
        find(candidates, called)?.ok_or_else(|| Find::NoNetwork(called.to_owned()))
    }

    pub(super) fn network(&self, called: &str) -> Result<&Network, Find> {
        let id = self.network_id(called)?;
        self.networks
            .get(&id)
            .ok_or_else(|| Find::NoNetwork(called.to_owned()))
    }

    pub(super) fn container_id(&self, called: &str) -> Result<String, Find> {
        let candidates = self
            .containers
            .values()
            .map(|container| (container.record.id.as_str(), container.record.name.as_str()));
        find(candidates, called)?.ok_or_else(|| Find::NoContainer(called.to_owned()))
    }

    pub(super) fn container(&self, called: &str) -> Result<&Container, Find> {
        let id = self.container_id(called)?;
        self.containers
            .get(&id)
            .ok_or_else(|| Find::NoContainer(called.to_owned()))
    }
}

/// The id of the candidate with that name or id, else of the only one whose id begins so.
fn find<'a>(
    candidates: impl Iterator<Item = (&'a str, &'a str)>,
    called: &str,
) -> Result<Option<String>, Find> {
    let mut begins = None;
    let mut ambiguous = false;
    for (id, name) in candidates {
        if name == called || id == called {
            return Ok(Some(id.to_owned()));
        }
        if !called.is_empty() && id.starts_with(called) {
            ambiguous |= begins.is_some();
            begins = Some(id);
        }
    }
    if ambiguous {
        return Err(Find::Ambiguous(called.to_owned()));
    }
    Ok(begins.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THINGS: [(&str, &str); 3] = [("abc1", "web"), ("abd2", "db"), ("eee3", "abc")];

    fn found(called: &str) -> Result<Option<String>, Find> {
        find(THINGS.into_iter(), called)
    }

    #[test]
    fn a_name_goes_before_a_beginning_of_an_id() {
        assert_eq!(found("abc").unwrap().as_deref(), Some("eee3"));
    }

    #[test]
    fn a_unique_beginning_is_enough() {
        assert_eq!(found("abd").unwrap().as_deref(), Some("abd2"));
        assert!(matches!(found("ab"), Err(Find::Ambiguous(_))));
        assert_eq!(found("").unwrap(), None);
    }
}
