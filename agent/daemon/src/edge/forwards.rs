//! Queries that wait for a server.
//!
//! # Theory of operation
//!
//! Each waits in a task of its own, and leaves with the edge if that ends first. There are a bounded number of places,
//! and those behind a port may hold as many as are free: one port alone may take half of them, two a third each, so that
//! those who ask for names that nobody answers, under whatever addresses, leave places for the next.

use std::collections::HashMap;
use std::sync::Arc;

use dns_core::Request;
use dns_io::Upstream;
use switch_core::PortId;
use tokio::task::{Id, JoinSet};

use super::asked::Asked;

#[derive(Default)]
pub(super) struct Forwards {
    running: JoinSet<Vec<u8>>,
    waiting: HashMap<Id, Asked>,
    of_port: HashMap<PortId, usize>,
}

impl Forwards {
    /// Whether those behind `port` may have one more place.
    pub(super) fn has_room(&self, port: PortId) -> bool {
        let free = PLACES.saturating_sub(self.waiting.len());
        self.of_port.get(&port).copied().unwrap_or(0) < free
    }

    pub(super) fn start(&mut self, asked: Asked, upstream: Arc<Upstream>, request: Request) {
        let (carrier, payer) = (asked.carrier, u64::from(asked.ingress.0));
        *self.of_port.entry(asked.ingress).or_default() += 1;
        let task = self
            .running
            .spawn(async move { upstream.resolve(&request, carrier, payer).await });
        self.waiting.insert(task.id(), asked);
    }

    /// The next to have its reply; an empty one if the task failed. `None` while none is waiting.
    pub(super) async fn next(&mut self) -> Option<(Asked, Vec<u8>)> {
        let (id, reply) = match self.running.join_next_with_id().await? {
            Ok(done) => done,
            Err(error) => (error.id(), Vec::new()),
        };
        let asked = self.waiting.remove(&id)?;
        if let Some(count) = self.of_port.get_mut(&asked.ingress) {
            *count -= 1;
            if *count == 0 {
                self.of_port.remove(&asked.ingress);
            }
        }
        Some((asked, reply))
    }
}

/// Queries that wait for servers at a time, in one network.
const PLACES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(forwards: &mut Forwards, port: u32) -> usize {
        let mut taken = 0;
        while forwards.has_room(PortId(port)) {
            let asked = Asked::new(PortId(port));
            *forwards.of_port.entry(asked.ingress).or_default() += 1;
            let task = forwards.running.spawn(std::future::pending());
            forwards.waiting.insert(task.id(), asked);
            taken += 1;
        }
        taken
    }

    #[tokio::test]
    async fn greedy_ports_leave_room_for_the_next() {
        let mut forwards = Forwards::default();
        assert_eq!(fill(&mut forwards, 1), PLACES / 2);
        assert_eq!(fill(&mut forwards, 2), PLACES / 4);
        for port in 3..6 {
            assert!(fill(&mut forwards, port) > 0, "{port}");
        }
    }

    #[tokio::test]
    async fn a_failed_task_frees_its_place() {
        let mut forwards = Forwards::default();
        let asked = Asked::new(PortId(1));
        forwards.of_port.insert(PortId(1), 1);
        let task = forwards.running.spawn(std::future::pending());
        forwards.waiting.insert(task.id(), asked);
        task.abort();
        let (_, reply) = forwards.next().await.unwrap();
        assert!(reply.is_empty() && forwards.of_port.is_empty());
        assert!(forwards.next().await.is_none());
    }
}
