//! Links that an agent before left to the guardian: its successor takes them over as they are.
//!
//! # Theory of operation
//!
//! A container keeps its link, with all that was set on it, over the agent's death. The next agent takes the descriptor over by the
//! endpoint's record alone, without a look into the sandbox, so that frames flow again at once. The look comes later
//! ([`super::restore`]): where the sandbox or the link has gone meanwhile, what was taken over goes as well.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use agent_core::record::{EndpointRecord, NetnsId, Owner};
use switch_core::PortId;
use switch_io::{NewPort, set_persistent, take_over, whereabouts};

use super::plug::{held_name, plug_in};
use super::{Endpoints, Place};
use crate::edge::Registration;
use crate::networks::Segment;
use crate::seats::Plug;

/// A link that is taken over, before it has a port.
struct Taken<'r> {
    record: &'r EndpointRecord,
    place: Place,
    segment: Arc<Segment>,
    own: Arc<OwnedFd>,
    link: String,
}

impl Endpoints {
    /// Takes over the links that an agent before held, all together: frames wait for the last of them. Where one fails, it is made
    /// again later.
    pub(crate) fn adopt(&self, records: &[EndpointRecord]) {
        let taken = records.iter().filter_map(|record| self.take(record));
        let (taken, new): (Vec<_>, Vec<_>) = taken.unzip();
        let ports = self.ground.switch.attach_ports(new);
        let registered = taken.iter().zip(ports).filter_map(|(taken, port)| {
            let registered = port
                .map_err(Failed::from)
                .and_then(|port| self.register_taken(taken, port));
            registered
                .map_err(|error| self.fail_over(&taken.place, taken.record, &*error))
                .ok()
        });
        let registered: Vec<_> = registered.collect();
        registered.into_iter().for_each(Registration::wait);
    }

    /// A link that an agent before held, and what it needs to be a port.
    fn take<'r>(&self, record: &'r EndpointRecord) -> Option<(Taken<'r>, NewPort)> {
        let tap = self.ground.held.take(&held_name(&record.id))?;
        // One that was not made to its end is made again.
        let whole = record.link.as_ref().and_then(|_| whereabouts(&tap).ok());
        let Some((_, link)) = whole else {
            self.discard(&record.id, &tap);
            return None;
        };
        let Some(place) = self.take_back(record) else {
            self.discard(&record.id, &tap);
            return None;
        };
        let made = || -> Result<_, Failed> {
            let segment = place.segment.clone().ok_or("its network has no ports")?;
            let own = Arc::new(tap.try_clone()?);
            let new = NewPort {
                bridge: Arc::clone(&segment.bridge),
                device: take_over(tap)?,
                config: place.record.endpoint_port_config(record),
            };
            Ok((segment, own, new))
        };
        match made() {
            Ok((segment, own, new)) => {
                let taken = Taken {
                    record,
                    place,
                    segment,
                    own,
                    link,
                };
                Some((taken, new))
            }
            Err(error) => {
                self.fail_over(&place, record, &*error);
                None
            }
        }
    }

    fn register_taken(&self, taken: &Taken<'_>, port: PortId) -> Result<Registration, Failed> {
        let Taken {
            record,
            place,
            segment,
            own,
            link,
        } = taken;
        let plug = Plug {
            port: Some(port),
            link: link.clone(),
            tap: Some(Arc::clone(own)),
            sandbox: sandbox_on_record(record),
            ..Plug::default()
        };
        let (plug, registration) = self.register(place, segment, record, (port, plug))?;
        plug_in(place, record, &plug)?;
        Ok(registration)
    }

    fn fail_over(&self, place: &Place, record: &EndpointRecord, error: &dyn std::error::Error) {
        tracing::warn!(endpoint = record.name, %error, "a link is made again");
        self.unplug_half(place, &record.id);
        place.seats.unreserve(record);
    }

    /// Whether the endpoint's link was taken over and is there; it is seated then, in `sandbox`.
    pub(super) fn settle_adopted(&self, record: &EndpointRecord, sandbox: NetnsId) -> bool {
        let Some(place) = self.networks.place(&record.network) else {
            return false;
        };
        let Some(adopted) = place.seats.coming(&record.id) else {
            return false;
        };
        let is_there = adopted
            .plug
            .tap
            .as_ref()
            .is_some_and(|tap| whereabouts(tap).is_ok());
        if !is_there {
            self.unplug_half(&place, &record.id);
            place.seats.unreserve(record);
            return false;
        }
        let mut plug = adopted.plug;
        plug.sandbox = Some(sandbox);
        place.seats.plug(&record.id, plug);
        drop(place.seats.seat(&record.id, &self.ground.journal));
        true
    }

    /// Links that no record names any more go, at the end of the start.
    pub(crate) fn let_go_of_other_links(&self) {
        for (name, tap) in self.ground.held.take_other_links() {
            // Its link may be gone already.
            let _ = set_persistent(&tap, false);
            self.ground.held.release(&name);
        }
    }

    fn discard(&self, id: &str, tap: &OwnedFd) {
        // Its link may be gone already.
        let _ = set_persistent(tap, false);
        self.ground.held.release(&held_name(id));
    }
}

/// As far as the record knows it; a container's is found with its process.
fn sandbox_on_record(record: &EndpointRecord) -> Option<NetnsId> {
    match record.owner {
        Owner::Sandbox(sandbox) => Some(sandbox),
        Owner::Container(_) | Owner::Engine(_) => None,
    }
}

type Failed = Box<dyn std::error::Error>;
