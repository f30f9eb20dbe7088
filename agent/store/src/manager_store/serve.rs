//! The far end: a store's calls, carried out for whoever is on the other side of a stream.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::wire::{Answer, Asked, Call, Said, receive, send};
use crate::{Store, WatchEvent};

/// Carries out what is asked, until the stream ends or one of its writes takes too long. Whether the other side may do it is
/// `store`'s to know.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    store: Arc<dyn Store>,
) -> io::Result<()> {
    let (mut input, mut output) = tokio::io::split(stream);
    let (said, mut to_say) = mpsc::channel::<Said>(SAID_BOUND);
    // Whatever is under way ends with this function.
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(said) = to_say.recv().await {
            let sent = timeout(WRITE_LIMIT, send(&mut output, &said)).await;
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
                let _ = said.send(Said::Answer { number, answer }).await;
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
                        let _ = said.send(Said::Answer { number, answer }).await;
                    }
                });
            }
        }
    }
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
async fn follow(store: Arc<dyn Store>, prefix: String, number: u64, said: mpsc::Sender<Said>) {
    let opening = spawn_blocking(move || store.watch(&prefix));
    let Ok(mut watch) = opening.await else {
        return;
    };
    let answer = Answer::Done;
    let mut saying = said.send(Said::Answer { number, answer }).await;
    while saying.is_ok()
        && let Some(event) = watch.next().await
    {
        saying = said.send(Said::Event { number, event }).await;
    }
    if saying.is_ok() {
        // The store has closed the watch: what happens from here on is missed.
        let event = WatchEvent::Lagged;
        let _ = said.send(Said::Event { number, event }).await;
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
