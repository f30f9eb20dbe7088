//! Forgets old FDB entries, away from the workers.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use switch_core::Time;

use super::desk::Desk;
use crate::confine::give_up_capabilities;
use crate::contained::contained;

/// The ageing thread; stops when its sender is dropped.
#[derive(Debug)]
pub(super) struct Ager {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ager {
    pub(super) fn start(desk: Arc<Desk>, start: Instant) -> io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new()
            .name("switch-ager".into())
            .spawn(move || {
                // Ageing goes on all the same.
                let _ = give_up_capabilities();
                while stopped.recv_timeout(AGEING_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    for bridge in desk.registry.bridges() {
                        contained("ageing", || {
                            let now = Time::at(start, Instant::now());
                            bridge.age(now);
                            desk.remind(&bridge, now);
                        });
                    }
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Ager {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

const AGEING_INTERVAL: Duration = Duration::from_secs(10);
