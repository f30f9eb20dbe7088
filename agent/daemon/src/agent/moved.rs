//! Links that somebody moved out of their sandbox, as into a namespace nested in it.
//!
//! # Theory of operation
//!
//! An agent holds a link by its TAP, wherever that is. The link goes with the agent, and the next agent makes it anew. In
//! the sandbox it would be a second one then, beside whatever the owner put in its place. So every few seconds, and before
//! it stops, the agent looks where its links are and keeps on record which are elsewhere: there they come back. Where the
//! namespace has gone or cannot be found, the endpoint keeps its addresses and has no link until it is attached again.
//!
//! The kernel says nothing when a link is moved. Of an agent that is killed right after, the next one cannot know it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;

use switch_io::whereabouts;

use super::Agent;
use super::endpoint::{open_sandbox, sandbox_of};
use super::state::{Container, Endpoint, State};
use crate::name::short;
use crate::netlink::{Netns, find_ways, netns_id};
use crate::record::{EndpointRecord, Moved, Owner, endpoint_key};

impl Agent {
    /// Keeps on record which links are not in their sandbox.
    pub(super) fn note_moves(&self, state: &mut State) {
        self.note_moves_of(state, 0, usize::MAX);
    }

    /// The same of a part of the links. Asking costs the kernel as much as the rest of a look at a sandbox, so that many ports
    /// take turns.
    pub(super) fn note_some_moves(&self, state: &mut State, turn: usize) {
        let networks = state.networks.values();
        let links: usize = networks.map(|network| network.endpoints.len()).sum();
        let part = turn % links.div_ceil(LINKS_AT_A_TIME).max(1);
        self.note_moves_of(state, part * LINKS_AT_A_TIME, LINKS_AT_A_TIME);
    }

    fn note_moves_of(&self, state: &mut State, first: usize, count: usize) {
        let State {
            networks,
            containers,
            ..
        } = state;
        let endpoints = networks.values_mut().flat_map(|network| {
            let name = network.record.name.as_str();
            let endpoints = network.endpoints.values_mut();
            endpoints.map(move |endpoint| (name, endpoint))
        });
        for (network, endpoint) in endpoints.skip(first).take(count) {
            // What cannot be asked now keeps its last answer.
            if let Some(Ok(moved)) = moved(endpoint, containers) {
                self.note_move(network, &mut endpoint.record, moved);
            }
        }
    }

    fn note_move(&self, network: &str, record: &mut EndpointRecord, moved: Option<Moved>) {
        if record.moved == moved {
            return;
        }
        let news = match moved {
            Some(_) => "link was moved out of its sandbox",
            None => "link is back in its sandbox",
        };
        tracing::info!(endpoint = record.name, network, "{news}");
        record.moved = moved;
        if let Err(error) = self.store.put(&endpoint_key(&record.id), record) {
            tracing::warn!(endpoint = short(&record.id), %error, "a link will come back where it was before it was moved");
        }
    }

    /// Makes the link again where somebody had moved it, or nowhere. Whether the endpoint is kept.
    pub(super) fn follow_link(
        &self,
        state: &mut State,
        record: EndpointRecord,
        moved: &Moved,
    ) -> bool {
        let Some(network) = self.claim_addresses(state, &record) else {
            return false;
        };
        let there = EndpointRecord {
            link: Some(moved.link.clone()),
            ..record.clone()
        };
        let plugged = find(moved).and_then(|netns| {
            let plugged = self.plug_again(network, &there, &netns);
            plugged.map_err(|error| error.to_string())
        });
        if let Err(why) = plugged {
            self.warn(format!(
                "endpoint {:?} on network {:?} has no link, because it was moved out of its sandbox and {why}; detach it and attach it again",
                record.name, network.record.name
            ));
            let endpoint = Endpoint {
                port: None,
                link: moved.link.clone(),
                tap: None,
                record,
            };
            network
                .endpoints
                .insert(endpoint.record.id.clone(), endpoint);
        }
        true
    }
}

/// Where the endpoint's link is, if not in its sandbox. Nothing where there is no link, or no sandbox any more.
fn moved(
    endpoint: &Endpoint,
    containers: &BTreeMap<String, Container>,
) -> Option<io::Result<Option<Moved>>> {
    let tap = endpoint.tap.as_ref()?;
    let sandbox = match &endpoint.record.owner {
        Owner::Sandbox(sandbox) => *sandbox,
        Owner::Container(id) => {
            let pid = containers.get(id)?.init_pid?;
            netns_id(&sandbox_of(pid)).ok()?
        }
    };
    let place = whereabouts(tap).and_then(|(namespace, link)| {
        let netns = Netns::from_file(File::from(namespace), Path::new(&link));
        let netns = netns.map_err(io::Error::other)?;
        if netns.id() == sandbox {
            return Ok(None);
        }
        let cookie = netns.cookie().map_err(io::Error::other)?;
        let namespace = netns.id();
        Ok(Some(Moved {
            namespace,
            cookie,
            link,
        }))
    });
    Some(place)
}

/// The namespace that a link was moved to, if that is still there.
fn find(moved: &Moved) -> Result<Netns, String> {
    let ways = find_ways(&BTreeSet::from([moved.namespace]));
    let path = ways.get(&moved.namespace);
    let netns = path.map(|path| open_sandbox(path)).transpose();
    let netns = netns.map_err(|error| error.to_string())?;
    netns
        .filter(|netns| netns.cookie().is_ok_and(|cookie| cookie == moved.cookie))
        .ok_or_else(|| "the namespace that it was moved to cannot be found".to_owned())
}

const LINKS_AT_A_TIME: usize = 256;
