//! Which threads come first where the processor is short.

use std::io;

use rustix::process::{getpriority_process, setpriority_process};

/// How nice a thread was to others when it began (sched(7)). What it starts, threads and processes, is as nice as it is then.
#[derive(Clone, Copy, Debug)]
pub struct Niceness(i32);

impl Niceness {
    pub fn of_this_thread() -> io::Result<Self> {
        Ok(Self(getpriority_process(None)?))
    }

    /// This thread comes before others of the machine: it does little, and somebody waits for it. Needs CAP_SYS_NICE.
    pub fn prefer_this_thread(self) -> io::Result<()> {
        Ok(setpriority_process(None, self.0 - PREFERENCE)?)
    }

    /// This thread is as nice as that one was.
    pub fn give_this_thread(self) -> io::Result<()> {
        Ok(setpriority_process(None, self.0)?)
    }
}

/// Of the processor it gets three times the share of another thread while both want it.
const PREFERENCE: i32 = 5;
