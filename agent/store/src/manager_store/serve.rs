//! The far end: a store's calls, carried out for whoever is on the other side of a stream.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::wire::{Answer, Asked, Call, Said, append, append_event, receive};
use crate::watch::Told;
use crate::{Store, WatchEvent};

/// What goes to the other side next.
enum ToSay {
    Answer { number: u64, answer: Answer },
    Event { number: u64, told: Told },
}

/// Carries out what is asked, until the stream ends or one of its writes takes too long. Whether the other side may do it is
/// `store`'s to know.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    store: Arc<dyn Store>,
) -> io::Result<()> {
    let (mut input, mut output) = tokio::io::split(stream);
    let (said, mut to_say) = mpsc::channel::<ToSay>(SAID_BOUND);
    // Whatever is under way ends with this function.
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut some = Vec::new();
        while to_say.recv_many(&mut some, SAID_BOUND).await > 0 {
            let sent = timeout(WRITE_LIMIT, say(&mut output, some.drain(..))).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    });
    let calls = Arc::new(Semaphore::new(CALLS_MAX));
    let mut watches: HashMap<u64, AbortHandle> = HashMap::new();
    loop {
        let asked: Asked = tokio::select! {
            asked = receive(&mut input, CALL_LEN_MAX) => asked?,
            () = said.closed() => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        while tasks.try_join_next().is_some() {}
        watches.retain(|_, watch| !watch.is_finished());
        let (number, said) = (asked.number, said.clone());
        match asked.call {
            // Whether this side is there is not for the store to say.
            Call::Ping => {
                let answer = Answer::Done;
                // The writer may be gone, and with it the other side.
                let _ = said.send(ToSay::Answer { number, answer }).await;
            }
            Call::Unwatch(watch) => {
                watches.remove(&watch).as_ref().map(AbortHandle::abort);
            }
            Call::Watch(_) if watches.len() >= WATCHES_MAX => {
                return Err(io::Error::other("it follows too much at once"));
            }
            Call::Watch(prefix) => {
                let follow = follow(Arc::clone(&store), prefix, number, said);
                watches.insert(number, tasks.spawn(follow));
            }
            call => {
                // The semaphore is never closed.
                let Ok(permit) = Arc::clone(&calls).acquire_owned().await else {
                    continue;
                };
                let store = Arc::clone(&store);
                tasks.spawn(async move {
                    let answer = spawn_blocking(move || carry_out(&*store, call)).await;
                    drop(permit);
                    if let Ok(answer) = answer {
                        // The writer may be gone, and with it the other side.
                        let _ = said.send(ToSay::Answer { number, answer }).await;
                    }
                });
            }
        }
    }
}

/// All that waits in one write: where much happens, each is little.
async fn say(
    output: &mut (impl AsyncWrite + Unpin),
    some: impl Iterator<Item = ToSay>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    for to_say in some {
        match to_say {
            ToSay::Answer { number, answer } => {
                append(&mut bytes, &Said::Answer { number, answer })?;
            }
            ToSay::Event { number, told } => append_event(&mut bytes, number, told.json())?,
        }
    }
    output.write_all(&bytes).await?;
    output.flush().await
}

/// May block.
fn carry_out(store: &dyn Store, call: Call) -> Answer {
    let done = match call {
        Call::Get(key) => store.get(&key).map(Answer::Entry),
        Call::List(prefix) => store.list(&prefix).map(Answer::Entries),
        Call::Transact(changes) => store.transact(&changes).map(Answer::Revision),
        Call::Grant(millis) => store
            .grant(Duration::from_millis(millis))
            .map(Answer::Lease),
        Call::KeepAlive(lease) => store.keep_alive(lease).map(|()| Answer::Done),
        Call::EndLease(lease) => store.end_lease(lease).map(|()| Answer::Done),
        Call::Ping | Call::Watch(_) | Call::Unwatch(_) => Ok(Answer::Done),
    };
    done.unwrap_or_else(|error| Answer::Failed(error.into()))
}

/// Says what happens under a prefix. Where more happens than the other side reads, the watch itself tells it so.
async fn follow(store: Arc<dyn Store>, prefix: String, number: u64, said: mpsc::Sender<ToSay>) {
    let opening = spawn_blocking(move || store.watch(&prefix));
    let Ok(mut watch) = opening.await else {
        return;
    };
    let answer = Answer::Done;
    let mut saying = said.send(ToSay::Answer { number, answer }).await;
    while saying.is_ok()
        && let Some(told) = watch.next_told().await
    {
        saying = said.send(ToSay::Event { number, told }).await;
    }
    if saying.is_ok() {
        // The store has closed the watch: what happens from here on is missed.
        let told = WatchEvent::Lagged.into();
        let _ = said.send(ToSay::Event { number, told }).await;
    }
}

/// Nothing that a host writes at once is longer.
const CALL_LEN_MAX: usize = 1 << 20;
/// Of one connection at once; more wait.
const CALLS_MAX: usize = 64;
const WATCHES_MAX: usize = 16;
const SAID_BOUND: usize = 256;
/// A side that does not read for so long is gone.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
