//! Links that nobody holds, and that are not where their records say.
//!
//! # Theory of operation
//!
//! The agent keeps on record where a link was moved, a moment after that ([`super::moved`]). Where agent and guardian are killed in that
//! moment, nobody holds the link, and no record says where it is: in the container that an engine has just taken it into, in a
//! namespace nested in its sandbox. But it is there, since it is persistent, and it says itself whose it is: each carries its
//! endpoint's id as an alias, which goes where the link goes and stays when that is renamed. So a start that misses a link
//! looks for it, once, in every network namespace that a mount or a process leads to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use agent_core::record::{EndpointRecord, NetnsId, NetworkRecord};
use agent_host::netlink::{LinkEntry, Netlink};
use agent_host::{Netns, all_ways};
use switch_io::FramePort;

use super::{Endpoints, Place};
use crate::networks::attach_tap;

/// What was found, by the endpoints' ids; once a link was missed.
#[derive(Default)]
pub(super) struct Strays(OnceLock<BTreeMap<String, Stray>>);

struct Stray {
    netns: PathBuf,
    link: String,
}

impl Endpoints {
    /// Takes over the endpoint's link where it has strayed to, and keeps on record where that is. Whether there is one.
    pub(super) fn plug_stray(
        &self,
        place: &Place,
        record: &EndpointRecord,
        sandbox: NetnsId,
    ) -> bool {
        let Some(left) = self.strays.attach(&place.record, record) else {
            return false;
        };
        if let Err(error) = self.plug_left(place, record, left, sandbox) {
            tracing::warn!(endpoint = record.name, %error, "a link that was moved is made again");
            self.unplug_half(place, &record.id);
            return false;
        }
        if let Some(attached) = place.seats.get(&record.id) {
            self.look(place, &attached);
        }
        true
    }
}

impl Strays {
    fn attach(
        &self,
        network: &NetworkRecord,
        record: &EndpointRecord,
    ) -> Option<(Box<dyn FramePort>, String)> {
        // One that was not made to its end is made again.
        record.link.as_ref()?;
        let stray = self.0.get_or_init(find_all).get(&record.id)?;
        let netns = Netns::open(&stray.netns).ok()?;
        let attached = netns.run(|| attach_tap(network.tap_driver(), &stray.link));
        Some((attached.ok()?.ok()?, stray.link.clone()))
    }
}

/// What a link says of whose it is.
pub(super) fn alias(endpoint_id: &str) -> String {
    format!("{ALIAS}{endpoint_id}")
}

fn find_all() -> BTreeMap<String, Stray> {
    let ways = all_ways().into_values();
    ways.flat_map(|netns| find_in(&netns)).collect()
}

/// Nothing where the namespace is of another kind, or gone by now.
fn find_in(path: &Path) -> Vec<(String, Stray)> {
    let links = Netns::open(path).ok().and_then(|netns| {
        let mut inside = Netlink::open_in(&netns).ok()?;
        inside.links().ok()
    });
    let strays = links.into_iter().flatten().filter_map(|link| {
        let id = endpoint_of(&link)?.to_owned();
        let netns = path.to_owned();
        Some((
            id,
            Stray {
                netns,
                link: link.name,
            },
        ))
    });
    strays.collect()
}

fn endpoint_of(link: &LinkEntry) -> Option<&str> {
    let alias = link.alias.as_deref()?;
    let is_tap = link.kind.as_deref() == Some("tun");
    alias.strip_prefix(ALIAS).filter(|_| is_tap)
}

const ALIAS: &str = "tapestry/";
