//! `tapestry link`: what goes wrong between a container and its network.

mod set;
mod show;

use agent_api::{Client, Impairment, LinkDetail, LinkUpdate};

use crate::failure::Failure;

/// Impair the link of a container to its network, or take it down
///
/// The words are tc's and containerlab's. What is set holds from the next frame on, over restarts of the container and of the
/// agent, until it is reset. With --patch, the link is that between two networks which are joined.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Set(Box<set::Args>),
    Show(show::Args),
    /// Take every impairment off a link; frames that wait leave at once
    Reset(Place),
    /// Take a link down: it has no carrier until it is up again
    Down(Place),
    /// Take a link up again
    Up(Place),
}

// Not a doc comment: clap would show it as the text of each command.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The container's name or id, or that of whatever else is attached
    #[arg(required_unless_present = "node")]
    container: Option<String>,
    /// The interface in the container, or the network; may be left out where there is one only
    #[arg(value_name = "IF")]
    interface: Option<String>,
    /// The container, as containerlab has it
    #[arg(short, long, value_name = "NODE", conflicts_with = "container")]
    node: Option<String>,
    /// The interface, as containerlab has it
    #[arg(
        short,
        long = "interface",
        value_name = "IF",
        conflicts_with = "interface"
    )]
    interface_named: Option<String>,
    /// The patch to this network; the one that it is seen from stands in place of the container
    #[arg(long, value_name = "NETWORK", conflicts_with_all = ["interface", "interface_named", "node"])]
    patch: Option<String>,
}

pub(crate) async fn run(verb: Verb, client: &Client) -> Result<u8, Failure> {
    match verb {
        Verb::Set(args) => set::run(*args, client).await,
        Verb::Show(args) => show::run(args, client).await,
        Verb::Reset(place) => {
            let nothing = LinkUpdate {
                to: Some(Impairment::default()),
                from: Some(Impairment::default()),
                ..LinkUpdate::default()
            };
            place.update(&nothing, client).await
        }
        Verb::Down(place) => set_up(&place, false, client).await,
        Verb::Up(place) => set_up(&place, true, client).await,
    }
}

async fn set_up(place: &Place, up: bool, client: &Client) -> Result<u8, Failure> {
    if place.patch.is_some() {
        return Err(Failure::usage(
            "a patch has no carrier; `tapestry network unpatch` parts the networks",
        ));
    }
    let link = place.find(client).await?;
    client.set_endpoint_up(&link.endpoint, up).await?;
    Ok(0)
}

impl Place {
    async fn update(&self, update: &LinkUpdate, client: &Client) -> Result<u8, Failure> {
        match (&self.patch, &self.container) {
            (Some(other), Some(network)) => {
                client.update_patch_link(network, other, update).await?;
            }
            _ => {
                let link = self.find(client).await?;
                client.update_link(&link.endpoint, update).await?;
            }
        }
        Ok(0)
    }

    async fn find(&self, client: &Client) -> Result<LinkDetail, Failure> {
        let called = self.container.as_ref().or(self.node.as_ref());
        let called = called.map_or("", String::as_str);
        let interface = self.interface.as_ref().or(self.interface_named.as_ref());
        find(called, interface.map(String::as_str), client).await
    }
}

/// The link of a container, or of whatever else is called so, by its own name or its network's.
pub(crate) async fn find(
    called: &str,
    interface: Option<&str>,
    client: &Client,
) -> Result<LinkDetail, Failure> {
    let links = links_of(called, client).await?;
    one(links, called, interface)
}

/// The links of a container, or of whatever else has that name or id.
pub(crate) async fn links_of(called: &str, client: &Client) -> Result<Vec<LinkDetail>, Failure> {
    let mut all = client.links().await?;
    let is_meant = |link: &LinkDetail, called: &str| {
        let is_id = called.len() >= ID_DIGITS_MIN && link.endpoint.starts_with(called);
        link.name == called || is_id
    };
    if !all.iter().any(|link| is_meant(link, called)) {
        // Under its id, or its beginning.
        let container = client.container(called).await?;
        let name = container.summary.name;
        all.retain(|link| link.name == name);
        return Ok(all);
    }
    all.retain(|link| is_meant(link, called));
    Ok(all)
}

/// The link that is meant, by its own name or its network's.
fn one(
    links: Vec<LinkDetail>,
    called: &str,
    interface: Option<&str>,
) -> Result<LinkDetail, Failure> {
    let names: Vec<_> = links.iter().map(|link| link.link.clone()).collect();
    let mut meant: Vec<_> = links
        .into_iter()
        .filter(|link| interface.is_none_or(|name| link.link == name || link.network == name))
        .collect();
    let names = names.join(", ");
    match (meant.pop(), meant.is_empty(), interface) {
        (Some(link), true, _) => Ok(link),
        (Some(_), false, Some(name)) => Err(Failure::said(format!(
            "{called:?} has more than one link called {name:?}; write its network instead"
        ))),
        (Some(_), false, None) => Err(Failure::usage(format!(
            "{called:?} has several links; write one of {names} behind it"
        ))),
        (None, _, _) if names.is_empty() => Err(Failure::said(format!(
            "{called:?} is on no network, or does not run; `tapestry link show` lists what is"
        ))),
        (None, _, name) => Err(Failure::said(format!(
            "{called:?} has no link {:?}; it has {names}",
            name.unwrap_or_default()
        ))),
    }
}

/// Fewer may as well be a name.
const ID_DIGITS_MIN: usize = 4;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn link(name: &str, link: &str, network: &str) -> LinkDetail {
        let detail = serde_json::json!({
            "endpoint": format!("{name}-{link}"), "name": name, "network": network, "link": link, "up": true, "settings": {},
        });
        serde_json::from_value(detail).unwrap()
    }

    #[test]
    fn the_only_link_need_not_be_named_and_others_are_told() {
        let one_of = |links: &[LinkDetail], interface| {
            one(links.to_vec(), "web", interface).map(|link| link.link)
        };
        let links = [link("web", "eth0", "lab"), link("web", "eth1", "back")];
        assert_eq!(one_of(&links[..1], None).unwrap(), "eth0");
        assert_eq!(one_of(&links, Some("eth1")).unwrap(), "eth1");
        assert_eq!(one_of(&links, Some("lab")).unwrap(), "eth0");
        for (links, interface, told) in [
            (&links[..], None, "write one of eth0, eth1 behind it"),
            (
                &links[..],
                Some("eth7"),
                "no link \"eth7\"; it has eth0, eth1",
            ),
            (&[], None, "is on no network"),
        ] {
            let refused = one_of(links, interface).unwrap_err().to_string();
            assert!(refused.contains(told), "{refused}");
        }
    }
}
