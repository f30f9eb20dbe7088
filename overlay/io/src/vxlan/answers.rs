//! Answers to packets that are too big for the tunnel.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;

use overlay_core::{Bucket, too_big};
use switch_core::{Frame, Mac, PortId, Time, VnetHeader, lock};

use crate::outlet::Outlet;

/// In whose name a port answers.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Answers enter the switch as from this port: the network's edge, which may speak in the gateway's name.
    pub port: PortId,
    pub mac: Mac,
    /// The network's gateway addresses; answers come from the packet's destination where there is none.
    pub addresses: Vec<IpAddr>,
}

/// Answers that wait for the trunk to be read, rationed and bounded.
#[derive(Debug)]
pub(super) struct Answers {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    budget: Bucket,
    waiting: VecDeque<(PortId, Vec<u8>)>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            state: Mutex::new(State {
                budget: too_big::budget(Time::from_millis(0)),
                waiting: VecDeque::new(),
            }),
        }
    }

    /// Answers a frame that was to be sent and cannot; says whether an answer waits now.
    pub(super) fn answer(&self, frame: &Frame<'_>, mtu: u32, gateway: &Gateway) -> bool {
        let now = Time::at(self.start, Instant::now());
        let mut state = lock(&self.state);
        if state.waiting.len() >= WAITING_MAX || !state.budget.take(now, 1) {
            return false;
        }
        let mut bytes = vec![0; too_big::LEN_MAX];
        let len = too_big::answer(frame, mtu, gateway.mac, &gateway.addresses, &mut bytes);
        if len == 0 {
            return false;
        }
        bytes.truncate(len);
        state.waiting.push_back((gateway.port, bytes));
        true
    }

    /// Puts answers into `outlet` while it has room; says whether some still wait.
    pub(super) fn drain(&self, outlet: &mut Outlet<'_>) -> bool {
        let mut state = lock(&self.state);
        while outlet.has_room(1) {
            let Some((port, bytes)) = state.waiting.pop_front() else {
                return false;
            };
            outlet.put(port, &[0; VnetHeader::LEN], &bytes);
        }
        !state.waiting.is_empty()
    }
}

/// More than a burst.
const WAITING_MAX: usize = 64;
