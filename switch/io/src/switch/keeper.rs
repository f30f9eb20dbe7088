//! Replaces workers that have ended although nobody stopped them.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::desk::Desk;
use crate::contained::contained;
use crate::vigil::{Ends, Vigil};

/// The thread that waits for ends; stops when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    ends: Ends,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(vigil: Vigil, desk: Arc<Desk>) -> io::Result<Self> {
        let ends = vigil.ends();
        let thread = std::thread::Builder::new()
            .name("switch-keeper".into())
            .spawn(move || {
                while let Some(end) = vigil.next() {
                    contained("replacing a worker", || desk.replace(end));
                }
            })?;
        Ok(Self {
            ends,
            thread: Some(thread),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.ends.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
