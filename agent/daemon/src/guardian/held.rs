//! What the guardian holds for the agent, as the agent sees it.
//!
//! A descriptor has a name for whose it is: `tap/ENDPOINT`, `host/NETWORK`, `listen/api`. An agent that begins gets all that
//! the last one had. It takes what its records name, and lets the guardian release the rest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use rustix::stdio::dup2_stdin;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::deaths::Deaths;
use super::line::{Line, Verb};
use crate::locks::{hold_nothing, lock};

/// The agent's side of the guardian.
pub(crate) struct Held {
    line: Arc<Line>,
    /// Of the last agent's, what nobody has taken yet.
    waiting: Mutex<BTreeMap<String, OwnedFd>>,
    /// By who waits for the guardian to let go of something.
    released: Mutex<Receiver<()>>,
    /// By whom it is told that another agent, which still forwarded when this one began, reads no links any more. Nobody waits twice.
    read: Mutex<Option<Receiver<()>>>,
    /// Whether there was such a one, and by whom it is told that it has ended.
    follows: bool,
    alone: Mutex<Receiver<()>>,
    pub(crate) deaths: Deaths,
}

/// What the guardian tells the agent to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// To act no more, but to go on forwarding: another one begins.
    Rest,
    /// To read no link any more: the other one is about to.
    Pause,
    /// To read and act again: the other one failed.
    Resume,
    /// To end at once: the other one forwards.
    Leave,
    /// The guardian has gone, and nobody starts the agent again.
    Orphaned,
}

/// The way to the guardian, of an agent that has not begun.
pub(crate) struct Unbegun(Line);

impl Unbegun {
    /// The guardian is at the agent's standard input.
    pub(crate) fn at_stdin() -> io::Result<Self> {
        let line = Line::of(io::stdin().as_fd().try_clone_to_owned()?);
        // The agent's own children have nothing to say to the guardian.
        dup2_stdin(File::open("/dev/null")?)?;
        Ok(Self(line))
    }

    /// Says that the agent could begin, and waits until it shall.
    pub(crate) fn begin(self) -> io::Result<(Held, UnboundedReceiver<Order>)> {
        let Self(line) = self;
        line.send(Verb::Prepared, "", None)?;
        let mut waiting = BTreeMap::new();
        let (verb, deaths) = loop {
            let message = line.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match (message.verb, message.fd) {
                (Verb::Hold, Some(fd)) => drop(waiting.insert(message.text, fd)),
                (verb @ (Verb::Begin | Verb::Follow), _) => break (verb, message.text),
                _ => {}
            }
        };
        let line = Arc::new(line);
        let (tell_released, released) = channel();
        let (tell_read, read) = channel();
        let (tell_alone, alone) = channel();
        let (tell_order, orders) = unbounded_channel();
        let ears = Ears {
            line: Arc::clone(&line),
            released: tell_released,
            read: tell_read,
            alone: tell_alone,
            orders: tell_order,
        };
        std::thread::Builder::new()
            .name("guardian".to_owned())
            .spawn(move || ears.listen())?;
        let held = Held {
            line,
            waiting: Mutex::new(waiting),
            released: Mutex::new(released),
            follows: verb == Verb::Follow,
            read: Mutex::new((verb == Verb::Follow).then_some(read)),
            alone: Mutex::new(alone),
            deaths: Deaths::parse(&deaths),
        };
        Ok((held, orders))
    }
}

impl Held {
    /// Takes what the last agent had by that name.
    pub(crate) fn take(&self, name: &str) -> Option<OwnedFd> {
        lock(&self.waiting).remove(name)
    }

    /// Whether another agent still forwarded when this one began.
    pub(crate) const fn follows(&self) -> bool {
        self.follows
    }

    /// Whether the last agent had something by that name that nobody took yet.
    pub(crate) fn has(&self, name: &str) -> bool {
        lock(&self.waiting).contains_key(name)
    }

    /// Gives the guardian a copy to hold. Where that fails, the descriptor goes with the agent.
    pub(crate) fn hold(&self, name: &str, fd: impl AsFd) {
        if let Err(error) = self.line.send(Verb::Hold, name, Some(fd.as_fd())) {
            tracing::warn!(name, %error, "the guardian does not hold a descriptor");
        }
    }

    /// The guardian has no copy any more when this returns.
    pub(crate) fn release(&self, name: &str) {
        hold_nothing();
        let released = lock(&self.released);
        if self.line.send(Verb::Release, name, None).is_ok() {
            // It ends without an answer where the guardian has gone, and its copies with it.
            let _ = released.recv();
        }
    }

    /// The links that nobody took, at the end of the start.
    pub(crate) fn take_other_links(&self) -> Vec<(String, OwnedFd)> {
        let is_link = |name: &str| LINKS.iter().any(|kind| name.starts_with(kind));
        let mut waiting = lock(&self.waiting);
        let (links, others): (BTreeMap<_, _>, _) = std::mem::take(&mut *waiting)
            .into_iter()
            .partition(|(name, _)| is_link(name));
        *waiting = others;
        links.into_iter().collect()
    }

    /// The agent is about to read its links. When this returns, nobody else does, and what was read is sent.
    pub(crate) fn take_links(&self) {
        let read = lock(&self.read).take();
        if let Some(read) = read {
            self.tell(Verb::Attached);
            // As below.
            let _ = read.recv();
        }
    }

    /// The agent forwards. When this returns, no other one does, nor has anything that this one may want.
    pub(crate) fn take_over(&self) {
        if self.follows {
            self.tell(Verb::Forwarding);
            // It ends without a word where the guardian has gone: then the other one ends as well.
            let _ = lock(&self.alone).recv();
        }
    }

    /// Lets go of what nobody took and is called so.
    pub(crate) fn release_others(&self, kind: &str) {
        let others: Vec<_> = {
            let mut waiting = lock(&self.waiting);
            let others = waiting.extract_if(.., |name, _| name.starts_with(kind));
            others.collect()
        };
        for (name, _) in others {
            self.release(&name);
        }
    }

    /// The agent answers.
    pub(crate) fn tell_ready(&self) {
        self.tell(Verb::Ready);
    }

    /// The agent ends, and shall not be started again.
    pub(crate) fn tell_stopping(&self) {
        self.tell(Verb::Stopping);
    }

    /// The agent acts no more.
    pub(crate) fn tell_resting(&self) {
        self.tell(Verb::Rest);
    }

    /// The agent reads no link, and what it has read is sent.
    pub(crate) fn tell_paused(&self) {
        self.tell(Verb::Pause);
    }

    fn tell(&self, verb: Verb) {
        if let Err(error) = self.line.send(verb, "", None) {
            tracing::warn!(?verb, %error, "the guardian is not told");
        }
    }
}

/// Hears what the guardian says, and tells whom it concerns.
struct Ears {
    line: Arc<Line>,
    released: Sender<()>,
    read: Sender<()>,
    alone: Sender<()>,
    orders: UnboundedSender<Order>,
}

impl Ears {
    fn listen(self) {
        // What cannot be read is as good as closed.
        while let Ok(Some(message)) = self.line.receive() {
            // Nobody waits for some of it any more.
            match message.verb {
                Verb::Release => drop(self.released.send(())),
                Verb::Read => drop(self.read.send(())),
                Verb::Alone => drop(self.alone.send(())),
                Verb::Rest => drop(self.orders.send(Order::Rest)),
                Verb::Pause => drop(self.orders.send(Order::Pause)),
                Verb::Resume => drop(self.orders.send(Order::Resume)),
                Verb::Leave => drop(self.orders.send(Order::Leave)),
                _ => {}
            }
        }
        let _ = self.orders.send(Order::Orphaned);
    }
}

/// How the names of links begin.
const LINKS: [&str; 2] = ["tap/", "host/"];
