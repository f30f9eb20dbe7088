//! Links that somebody moved out of their sandbox, as into a namespace nested in it.
//!
//! # Theory of operation
//!
//! An agent holds a link by its TAP, wherever that is, and so does its guardian. Where both have gone, the next agent has to
//! find the link, or to make it anew. In the sandbox it would be a second one then, beside whatever the owner put in its place. So every few seconds, and before
//! it stops, the agent looks where its links are and keeps on record which are elsewhere: there they come back. Where the
//! namespace has gone or cannot be found, the endpoint keeps its addresses and has no link until it is attached again.
//!
//! The kernel says in the namespace that a link has left that it is there no more, and the agent looks ([`super::inside`]). Where it is
//! killed before, the next one has to search ([`super::stray`]).

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;

use agent_core::endpoint::Attach;
use agent_core::record::{Moved, Owner};
use agent_host::{Netns, find_ways};
use switch_io::whereabouts;

use super::{Endpoints, Place, open_sandbox};
use crate::journal::Kept;
use crate::seats::Attached;

impl Endpoints {
    /// Keeps on record which links are not in their sandbox.
    pub(crate) fn note_moves(&self) {
        self.note_moves_of(0, usize::MAX);
    }

    /// The same of a part of the links. Asking costs the kernel as much as the rest of a look at a sandbox, so that many ports
    /// take turns.
    pub(super) fn note_some_moves(&self, turn: usize) {
        let part = turn % self.attached().div_ceil(LINKS_AT_A_TIME).max(1);
        self.note_moves_of(part * LINKS_AT_A_TIME, LINKS_AT_A_TIME);
    }

    fn note_moves_of(&self, first: usize, count: usize) {
        for (place, attached) in self.all().into_iter().skip(first).take(count) {
            self.look(&place, &attached);
        }
    }

    /// Keeps on record where the endpoint's link is.
    pub(super) fn look(&self, place: &Place, attached: &Attached) {
        // What cannot be asked now keeps its last answer.
        let (Some(Ok((netns, link))), Some(sandbox)) = (place_of(attached), attached.plug.sandbox)
        else {
            return;
        };
        let moved = (netns.id() != sandbox).then(|| moved(&netns, link));
        if let Ok(moved) = moved.transpose() {
            self.note_move(place, attached, (moved, &netns));
        }
    }

    fn note_move(
        &self,
        place: &Place,
        attached: &Attached,
        (moved, netns): (Option<Moved>, &Netns),
    ) {
        let record = &attached.record;
        if record.moved == moved {
            return;
        }
        let is_engines = matches!(record.owner, Owner::Engine(_));
        let news = match moved {
            Some(_) if is_engines => "link was taken into a container",
            None if is_engines => "link was given back",
            Some(_) => "link was moved out of its sandbox",
            None => "link is back in its sandbox",
        };
        tracing::info!(
            endpoint = record.name,
            network = place.record.name,
            "{news}"
        );
        let journal = &self.ground.journal;
        // An engine has configured it by now.
        if let Some(taken) = moved.as_ref().filter(|_| is_engines) {
            self.announce(place, record, &taken.link, netns);
        }
        let kept = place
            .seats
            .change(&record.id, journal, |record| record.moved = moved);
        if let Some(Err(error)) = kept.map(Kept::wait) {
            tracing::warn!(endpoint = record.name, %error, "a link will come back where it was before it was moved");
        }
    }
}

/// Where the endpoint's link is, and what it is called there. Nothing where there is no link.
pub(super) fn place_of(attached: &Attached) -> Option<io::Result<(Netns, String)>> {
    let tap = attached.plug.tap.as_ref()?;
    Some(whereabouts(tap).and_then(|(namespace, link)| {
        let netns = Netns::from_file(File::from(namespace), Path::new(&link));
        Ok((netns.map_err(io::Error::other)?, link))
    }))
}

fn moved(netns: &Netns, link: String) -> io::Result<Moved> {
    Ok(Moved {
        namespace: netns.id(),
        cookie: netns.cookie().map_err(io::Error::other)?,
        link,
    })
}

/// Why a link that was moved does not come back.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowLink {
    #[error("the namespace that it was moved to cannot be found")]
    Gone,
    #[error(transparent)]
    Attach(#[from] Attach),
}

/// The namespace that a link was moved to, if that is still there.
pub(super) fn find(moved: &Moved) -> Result<Netns, FollowLink> {
    let ways = find_ways(&BTreeSet::from([moved.namespace]));
    let path = ways.get(&moved.namespace);
    let netns = path.map(|path| open_sandbox(path)).transpose()?;
    netns
        .filter(|netns| netns.cookie().is_ok_and(|cookie| cookie == moved.cookie))
        .ok_or(FollowLink::Gone)
}

const LINKS_AT_A_TIME: usize = 256;
