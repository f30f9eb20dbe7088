//! The near end: one connection after another, and the calls and watches that go over them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::ReadHalf;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::wire::{Answer, Asked, Call, Failure, Said, receive, send};
use super::{Connection, Dial};
use crate::WatchEvent;
use crate::etcd_store::Pause;
use crate::watch::Told;

/// What the store wants of its thread.
pub(super) enum Order {
    Call {
        call: Call,
        answer: oneshot::Sender<Answer>,
    },
    Watch {
        prefix: String,
        events: broadcast::Sender<Told>,
        started: oneshot::Sender<()>,
    },
    StartOver,
}

pub(super) struct Link {
    dial: Arc<dyn Dial>,
    orders: mpsc::UnboundedReceiver<Order>,
    last_number: u64,
    /// Calls without an answer, in the order in which they were made.
    waiting: BTreeMap<u64, Waiting>,
    watches: BTreeMap<u64, Followed>,
    /// Since when no manager answers.
    alone_since: Instant,
}

struct Waiting {
    call: Call,
    answer: oneshot::Sender<Answer>,
}

struct Followed {
    prefix: String,
    events: broadcast::Sender<Told>,
    /// Present until the first answer, or until something may have been missed.
    started: Option<oneshot::Sender<()>>,
}

/// Why a connection is not used any more.
enum Broken {
    Ended(String),
    GivenUp,
    /// The store itself is gone.
    Closed,
}

impl Link {
    pub(super) fn new(dial: Arc<dyn Dial>, orders: mpsc::UnboundedReceiver<Order>) -> Self {
        Self {
            dial,
            orders,
            last_number: 0,
            waiting: BTreeMap::new(),
            watches: BTreeMap::new(),
            alone_since: Instant::now(),
        }
    }

    pub(super) async fn run(mut self) {
        let dial = Arc::clone(&self.dial);
        let mut pause = Pause::default();
        loop {
            match dial.dial().await {
                Ok(connection) => {
                    let begun = Instant::now();
                    match self.converse(connection).await {
                        Broken::Closed => return,
                        Broken::GivenUp => {}
                        Broken::Ended(why) => tracing::debug!(why, "a manager's connection ended"),
                    }
                    self.alone_since = Instant::now();
                    self.lose_transactions();
                    if begun.elapsed() > SETTLED {
                        // Another manager may answer at once.
                        pause = Pause::default();
                        continue;
                    }
                }
                // A manager's agent may be starting again.
                Err(_) if self.alone_since.elapsed() < GRACE => {}
                Err(why) => self.fail_all(&why),
            }
            tokio::time::sleep(pause.take()).await;
        }
    }

    async fn converse(&mut self, connection: Box<dyn Connection>) -> Broken {
        let (input, mut output) = tokio::io::split(connection);
        let (heard, mut said) = mpsc::channel(SAID_BOUND);
        let listening = tokio::spawn(listen(input, heard));
        let broken = self.exchange(&mut output, &mut said).await;
        listening.abort();
        broken
    }

    async fn exchange(
        &mut self,
        output: &mut (impl tokio::io::AsyncWrite + Unpin),
        said: &mut mpsc::Receiver<Result<Said, String>>,
    ) -> Broken {
        for call in self.take_up() {
            if let Err(broken) = write(output, call).await {
                return broken;
            }
        }
        let mut heard = Instant::now();
        let mut tick = interval(PING);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let call = tokio::select! {
                order = self.orders.recv() => match order {
                    None => return Broken::Closed,
                    Some(Order::StartOver) => return Broken::GivenUp,
                    Some(order) => Some(self.note(order)),
                },
                message = said.recv() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(said)) => {
                            if let Some(broken) = self.hear(said) {
                                return broken;
                            }
                        }
                        Some(Err(why)) => return Broken::Ended(why),
                        None => return Broken::Ended("it said no more".to_owned()),
                    }
                    None
                }
                _ = tick.tick() => {
                    if heard.elapsed() > SILENCE_LIMIT {
                        return Broken::Ended("it is silent".to_owned());
                    }
                    (heard.elapsed() >= PING).then(|| self.number(Call::Ping))
                }
            };
            for call in self.left_watches().into_iter().chain(call) {
                if let Err(broken) = write(output, call).await {
                    return broken;
                }
            }
        }
    }

    /// What is to be asked on a new connection: whatever has no answer yet, and every watch.
    fn take_up(&mut self) -> Vec<Asked> {
        self.watches
            .retain(|_, watch| watch.events.receiver_count() > 0);
        let waiting = self.waiting.iter().map(|(number, waiting)| Asked {
            number: *number,
            call: waiting.call.clone(),
        });
        let watches = self.watches.iter().map(|(number, watch)| Asked {
            number: *number,
            call: Call::Watch(watch.prefix.clone()),
        });
        // A watch comes first: what a list does not have, it tells.
        watches.chain(waiting).collect()
    }

    fn number(&mut self, call: Call) -> Asked {
        self.last_number += 1;
        Asked {
            number: self.last_number,
            call,
        }
    }

    fn note(&mut self, order: Order) -> Asked {
        match order {
            Order::Call { call, answer } => {
                let asked = self.number(call.clone());
                self.waiting.insert(asked.number, Waiting { call, answer });
                asked
            }
            Order::Watch {
                prefix,
                events,
                started,
            } => {
                let asked = self.number(Call::Watch(prefix.clone()));
                let followed = Followed {
                    prefix,
                    events,
                    started: Some(started),
                };
                self.watches.insert(asked.number, followed);
                asked
            }
            // Taken out before.
            Order::StartOver => self.number(Call::Ping),
        }
    }

    /// A far end that does not reach the store is left, where there is another one.
    fn hear(&mut self, said: Said) -> Option<Broken> {
        match said {
            Said::Event { number, event } => {
                if let Some(watch) = self.watches.get(&number) {
                    // The watcher may be gone.
                    let _ = watch.events.send(event.into());
                }
            }
            Said::Answer { number, answer } => {
                if let Some(watch) = self.watches.get_mut(&number) {
                    watch.begin();
                } else if let Some(waiting) = self.waiting.remove(&number) {
                    let broken = match &answer {
                        Answer::Failed(Failure::Unreachable(why)) if self.dial.leaves() => {
                            Some(Broken::Ended(why.clone()))
                        }
                        _ => None,
                    };
                    // Who asked may have given up.
                    let _ = waiting.answer.send(answer);
                    return broken;
                }
            }
        }
        None
    }

    /// Ends the watches that nobody follows any more.
    fn left_watches(&mut self) -> Vec<Asked> {
        let left: Vec<u64> = self
            .watches
            .extract_if(.., |_, watch| watch.events.receiver_count() == 0)
            .map(|(number, _)| number)
            .collect();
        left.into_iter()
            .map(|number| self.number(Call::Unwatch(number)))
            .collect()
    }

    /// Fails what must not be asked twice, and forgets whose asker has given up.
    fn lose_transactions(&mut self) {
        let (lost, kept) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, waiting)| matches!(waiting.call, Call::Transact(_)));
        let lost: BTreeMap<u64, Waiting> = lost;
        self.waiting = kept;
        self.waiting
            .retain(|_, waiting| !waiting.answer.is_closed());
        fail(lost, "the connection ended before the answer came");
        for watch in self.watches.values_mut() {
            // What happens from here on is missed.
            watch.started = None;
        }
    }

    /// No manager answers.
    fn fail_all(&mut self, why: &str) {
        while let Ok(order) = self.orders.try_recv() {
            if !matches!(order, Order::StartOver) {
                self.note(order);
            }
        }
        fail(std::mem::take(&mut self.waiting), why);
        for watch in self.watches.values_mut() {
            watch.started = None;
        }
    }
}

impl Followed {
    /// The far end follows from now on.
    fn begin(&mut self) {
        let in_time = self
            .started
            .take()
            .is_some_and(|started| started.send(()).is_ok());
        if !in_time {
            // The watcher may be gone.
            let _ = self.events.send(WatchEvent::Lagged.into());
        }
    }
}

fn fail(waiting: BTreeMap<u64, Waiting>, why: &str) {
    for waiting in waiting.into_values() {
        let failure = Failure::Unreachable(why.to_owned());
        // Who asked may have given up.
        let _ = waiting.answer.send(Answer::Failed(failure));
    }
}

async fn write(
    output: &mut (impl tokio::io::AsyncWrite + Unpin),
    asked: Asked,
) -> Result<(), Broken> {
    match timeout(SILENCE_LIMIT, send(output, &asked)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Broken::Ended(error.to_string())),
        Err(_) => Err(Broken::Ended("it takes nothing".to_owned())),
    }
}

/// A task of its own, as a message must not be given up half read.
async fn listen(
    mut input: ReadHalf<Box<dyn Connection>>,
    heard: mpsc::Sender<Result<Said, String>>,
) {
    loop {
        let said = receive::<Said>(&mut input, SAID_LEN_MAX).await;
        let has_ended = said.is_err();
        let said = said.map_err(|error| error.to_string());
        if heard.send(said).await.is_err() || has_ended {
            return;
        }
    }
}

/// A list of everything that 500 hosts share is some megabytes.
const SAID_LEN_MAX: usize = 64 << 20;
const SAID_BOUND: usize = 64;
/// A far end that was silent for so long is asked whether it is there.
const PING: Duration = Duration::from_millis(400);
/// After so much silence it is not. Another manager is found within 2 s then.
const SILENCE_LIMIT: Duration = Duration::from_millis(1200);
/// So long calls wait for a manager, where none answers any more.
const GRACE: Duration = Duration::from_secs(2);
/// After a connection that lasted so long, the next one is dialed at once.
const SETTLED: Duration = Duration::from_secs(2);
