//! Announcements: who remembers another MAC for an endpoint's address learns the right one.
//!
//! # Theory of operation
//!
//! An address that is used again may come with another MAC. Caches of neighbours, the host's among them, hold the old one
//! for up to a minute, and send there. So a new endpoint announces itself from its own link, as its own kernel might: its
//! frames pass the guard and the tunnels like any others of its, and do not come back to it.
//!
//! They go to everybody, so they are sent only where somebody may remember another MAC ([`agent_core::endpoint::Past`]).

use std::time::Duration;

use agent_core::endpoint::announcements;
use agent_core::record::EndpointRecord;
use agent_host::Netns;
use switch_core::Mac;
use switch_io::packet::{PacketSocket, VNET_LENGTH};

use super::{Endpoints, Place};

impl Endpoints {
    /// Notes what neighbours know of an endpoint that is about to go. One that spoke from another MAC than its own may be
    /// remembered by either.
    pub(super) fn note_past(&self, place: &Place, record: &EndpointRecord) {
        let Some(segment) = &place.segment else {
            return;
        };
        let own = Mac::new(record.mac);
        for address in record.addresses() {
            let known = segment.bridge.neighbors().lookup(address);
            let is_own = known.is_some_and(|neighbor| neighbor.mac == own);
            place
                .seats
                .with_past(|past| past.note(address, is_own.then_some(own)));
        }
    }

    /// Tells everybody on the network, here and on other hosts, of an endpoint that has just got `link`.
    pub(super) fn announce(
        &self,
        place: &Place,
        record: &EndpointRecord,
        link: &str,
        netns: &Netns,
    ) {
        let seats = &place.seats;
        let frames = seats.with_past(|past| announcements(&place.record, past, record));
        if frames.is_empty() {
            return;
        }
        let opened = netns.run(|| PacketSocket::open_sender(link));
        let socket = match opened {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return unannounced(record, &error),
            Err(error) => return unannounced(record, &error),
        };
        self.ground.runtime.spawn(async move {
            for pause in PAUSES {
                tokio::time::sleep(pause).await;
                for frame in &frames {
                    if socket.send(&PLAIN, frame).is_err() {
                        // The link has gone again.
                        return;
                    }
                }
            }
        });
    }
}

fn unannounced(record: &EndpointRecord, error: &dyn std::fmt::Display) {
    tracing::warn!(endpoint = record.name, %error, "neighbours may not find an endpoint for a minute");
}

/// A second in all: other hosts take nothing of an endpoint before the news of it has reached them.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_millis(700),
];
const PLAIN: [u8; VNET_LENGTH] = [0; VNET_LENGTH];
