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
use tokio::sync::Notify;

use super::line::{Line, Verb};
use crate::locks::{hold_nothing, lock};

/// The agent's side of the guardian. Without one, nothing is held.
#[derive(Default)]
pub(crate) struct Held {
    line: Option<Arc<Line>>,
    /// Of the last agent's, what nobody has taken yet.
    waiting: Mutex<BTreeMap<String, OwnedFd>>,
    /// By who waits for the guardian to let go of something.
    released: Option<Mutex<Receiver<()>>>,
    /// Told when the guardian has gone.
    gone: Arc<Notify>,
    /// How the last agent ended, and how many did so far, in the guardian's words.
    pub(crate) last_end: Option<String>,
}

impl Held {
    /// Hears what there is from the guardian at the agent's standard input.
    pub(crate) fn from_guardian() -> io::Result<Self> {
        let line = Line::of(io::stdin().as_fd().try_clone_to_owned()?);
        // The agent's own children have nothing to say to the guardian.
        dup2_stdin(File::open("/dev/null")?)?;
        let mut waiting = BTreeMap::new();
        let last_end = loop {
            let message = line.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match (message.verb, message.fd) {
                (Verb::Hold, Some(fd)) => drop(waiting.insert(message.text, fd)),
                (Verb::Begin, _) => break message.text,
                _ => {}
            }
        };
        let (line, gone) = (Arc::new(line), Arc::<Notify>::default());
        let (told, released) = channel();
        let (listening, lost) = (Arc::clone(&line), Arc::clone(&gone));
        std::thread::Builder::new()
            .name("guardian".to_owned())
            .spawn(move || listen(&listening, &told, &lost))?;
        Ok(Self {
            line: Some(line),
            waiting: Mutex::new(waiting),
            released: Some(Mutex::new(released)),
            gone,
            last_end: (!last_end.is_empty()).then_some(last_end),
        })
    }

    /// Takes what the last agent had by that name.
    pub(crate) fn take(&self, name: &str) -> Option<OwnedFd> {
        lock(&self.waiting).remove(name)
    }

    /// Whether the last agent had something by that name that nobody took yet.
    pub(crate) fn has(&self, name: &str) -> bool {
        lock(&self.waiting).contains_key(name)
    }

    /// Gives the guardian a copy to hold. Where that fails, the descriptor goes with the agent.
    pub(crate) fn hold(&self, name: &str, fd: impl AsFd) {
        let Some(line) = &self.line else { return };
        if let Err(error) = line.send(Verb::Hold, name, Some(fd.as_fd())) {
            tracing::warn!(name, %error, "the guardian does not hold a descriptor");
        }
    }

    /// The guardian has no copy any more when this returns.
    pub(crate) fn release(&self, name: &str) {
        hold_nothing();
        let (Some(line), Some(released)) = (&self.line, &self.released) else {
            return;
        };
        let released = lock(released);
        if line.send(Verb::Release, name, None).is_ok() {
            // It ends without an answer where the guardian has gone, and its copies with it.
            let _ = released.recv();
        }
    }

    /// The links that nobody took, at the end of the start.
    pub(crate) fn take_other_links(&self) -> Vec<(String, OwnedFd)> {
        let is_link = |name: &str| LINKS.iter().any(|kind| name.starts_with(kind));
        let mut waiting = lock(&self.waiting);
        let (links, others) = std::mem::take(&mut *waiting)
            .into_iter()
            .partition(|(name, _)| is_link(name));
        *waiting = others;
        let links: BTreeMap<_, _> = links;
        links.into_iter().collect()
    }

    /// The agent answers.
    pub(crate) fn tell_ready(&self) {
        self.tell(Verb::Ready);
    }

    /// The agent ends, and shall not be started again.
    pub(crate) fn tell_stopping(&self) {
        self.tell(Verb::Stopping);
    }

    fn tell(&self, verb: Verb) {
        if let Some(line) = &self.line
            && let Err(error) = line.send(verb, "", None)
        {
            tracing::warn!(?verb, %error, "the guardian is not told");
        }
    }

    /// Returns when the guardian has gone, which nobody starts again.
    pub(crate) async fn guardian_gone(&self) {
        self.gone.notified().await;
    }
}

fn listen(line: &Line, released: &Sender<()>, gone: &Notify) {
    // What cannot be read is as good as closed.
    while let Ok(Some(message)) = line.receive() {
        if message.verb == Verb::Release && released.send(()).is_err() {
            return;
        }
    }
    gone.notify_one();
}

/// How the names of links begin.
const LINKS: [&str; 2] = ["tap/", "host/"];
