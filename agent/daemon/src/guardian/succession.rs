//! One agent takes the place of another that runs: a newer program, or the same one with another configuration.
//!
//! # Theory of operation
//!
//! | the new one | the old one |
//! |---|---|
//! | starts, reads its configuration, says that it could begin | acts and forwards |
//! | | is told to rest: brings its acts to their end, lets go of its records; forwards |
//! | gets the descriptors and the records; attaches every port | forwards |
//! | connects to the other hosts, and has them send to it ([`crate::sharing::handover`]) | passes on what is for the new one |
//! | | is told to pause: reads no link any more, sends what it has read |
//! | reads every port, forwards | |
//! | | is told to leave: takes in what is still on its way to it; ends |
//! | reads the tunnels' sockets, looks around, serves its API | |
//!
//! At no time do both read the same link: each would read every other burst, and what one has read would overtake what the other
//! has. While neither does, frames wait in the links' queues. Up to that moment whatever goes wrong ends the new one, and the old one
//! goes on; from then on the new one is an agent like any other.

use std::time::Duration;

use rustix::process::Signal;

use super::line::Verb;
use super::{Guardian, Running};

impl Guardian {
    /// The one that took the place of `old`; `None` where the old one goes on, or has died.
    pub(super) async fn replace(&mut self, old: &mut Running) -> Option<Running> {
        tracing::info!("another agent is to take the place of this one");
        let mut new = match self.agents.start() {
            Ok(new) => new,
            Err(error) => {
                tracing::error!(%error, "the other agent cannot be run; this one goes on");
                return None;
            }
        };
        let Err(why) = self.succeed(old, &mut new).await else {
            tracing::info!("another agent took the place of this one");
            return Some(new);
        };
        // One that ends by itself says why.
        if tokio::time::timeout(LAST_WORDS, new.child.wait())
            .await
            .is_err()
        {
            let _ = new.child.kill().await;
        }
        tracing::error!("the other agent {why}; this one goes on");
        let _ = old.tell(Verb::Resume);
        None
    }

    async fn succeed(&mut self, old: &mut Running, new: &mut Running) -> Result<(), &'static str> {
        if !self.hears(new, Verb::Prepared).await {
            return Err("did not start, as it said above");
        }
        if !self.obeys(old, Verb::Rest).await {
            return Err("found acts that do not come to an end");
        }
        self.hand_over(new, Verb::Follow);
        if !self.hears(new, Verb::Attached).await {
            return Err("did not attach the links, as it said above");
        }
        if !self.obeys(old, Verb::Pause).await {
            return Err("found links that are not let go of");
        }
        let _ = new.tell(Verb::Read);
        if !self.hears(new, Verb::Forwarding).await {
            return Err("did not begin, as it said above");
        }
        let _ = old.tell(Verb::Leave);
        if tokio::time::timeout(PATIENCE, old.child.wait())
            .await
            .is_err()
        {
            old.signal(Signal::KILL);
            let _ = old.child.wait().await;
        }
        // What it said last is about descriptors that are the new one's by now.
        let _ = new.tell(Verb::Alone);
        Ok(())
    }

    /// Tells that, and waits until the same is said back. Whether it was.
    async fn obeys(&mut self, running: &mut Running, verb: Verb) -> bool {
        running.tell(verb).is_ok() && self.hears(running, verb).await
    }

    /// Waits for that word, and does what else is said meanwhile. Whether it came.
    async fn hears(&mut self, running: &mut Running, verb: Verb) -> bool {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            tokio::select! {
                biased;
                heard = running.hearing.next() => match heard {
                    Some(message) if message.verb == verb => return true,
                    Some(message) => self.take(message, &running.hearing.line),
                    None => return false,
                },
                _ = running.child.wait() => return false,
                () = tokio::time::sleep_until(deadline) => return false,
            }
        }
    }
}

const LAST_WORDS: Duration = Duration::from_secs(1);
/// For each step.
const PATIENCE: Duration = Duration::from_secs(15);
