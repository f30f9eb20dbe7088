//! Queries that wait for a server.
//!
//! # Theory of operation
//!
//! Each waits in a task of its own, and leaves with the edge if that ends first. There are a bounded number of places,
//! and an endpoint may hold as many as are free: one alone may take half of them, two a third each, so that those who
//! ask for names that nobody answers leave places for the next.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use dns_core::Request;
use dns_io::Upstream;
use tokio::task::{Id, JoinSet};

use super::task::Asked;

#[derive(Default)]
pub(super) struct Forwards {
    running: JoinSet<Vec<u8>>,
    waiting: HashMap<Id, Asked>,
    of_source: HashMap<IpAddr, usize>,
}

impl Forwards {
    /// Whether `source` may have one more place.
    pub(super) fn has_room(&self, source: IpAddr) -> bool {
        let free = PLACES.saturating_sub(self.waiting.len());
        self.of_source.get(&source).copied().unwrap_or(0) < free
    }

    pub(super) fn start(&mut self, asked: Asked, upstream: Arc<Upstream>, request: Request) {
        let transport = asked.transport;
        *self.of_source.entry(asked.source).or_default() += 1;
        let task = self
            .running
            .spawn(async move { upstream.resolve(&request, transport).await });
        self.waiting.insert(task.id(), asked);
    }

    /// The next to have its reply; an empty one if the task failed. `None` while none is waiting.
    pub(super) async fn next(&mut self) -> Option<(Asked, Vec<u8>)> {
        let (id, reply) = match self.running.join_next_with_id().await? {
            Ok(done) => done,
            Err(error) => (error.id(), Vec::new()),
        };
        let asked = self.waiting.remove(&id)?;
        if let Some(count) = self.of_source.get_mut(&asked.source) {
            *count -= 1;
            if *count == 0 {
                self.of_source.remove(&asked.source);
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

    fn asked(source: u8) -> Asked {
        Asked::new([10, 0, 0, source].into())
    }

    fn fill(forwards: &mut Forwards, source: u8) -> usize {
        let mut taken = 0;
        while forwards.has_room(asked(source).source) {
            let asked = asked(source);
            *forwards.of_source.entry(asked.source).or_default() += 1;
            let task = forwards.running.spawn(std::future::pending());
            forwards.waiting.insert(task.id(), asked);
            taken += 1;
        }
        taken
    }

    #[tokio::test]
    async fn greedy_endpoints_leave_room_for_the_next() {
        let mut forwards = Forwards::default();
        assert_eq!(fill(&mut forwards, 1), PLACES / 2);
        assert_eq!(fill(&mut forwards, 2), PLACES / 4);
        for source in 3..6 {
            assert!(fill(&mut forwards, source) > 0, "{source}");
        }
    }

    #[tokio::test]
    async fn a_failed_task_frees_its_place() {
        let mut forwards = Forwards::default();
        let asked = asked(1);
        let source = asked.source;
        forwards.of_source.insert(source, 1);
        let task = forwards.running.spawn(std::future::pending());
        forwards.waiting.insert(task.id(), asked);
        task.abort();
        let (_, reply) = forwards.next().await.unwrap();
        assert!(reply.is_empty() && forwards.of_source.is_empty());
        assert!(forwards.next().await.is_none());
    }
}
