//! One descriptor that is readable when any of several things is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use rustix::event::{EventfdFlags, epoll, eventfd};
use switch_core::lock;

/// An epoll instance, which can itself be polled, and a flag in it.
#[derive(Debug)]
pub(crate) struct Readiness {
    epoll: OwnedFd,
    flag: OwnedFd,
    is_raised: Mutex<bool>,
}

impl Readiness {
    pub(crate) fn new(sources: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flag = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        for source in sources.iter().copied().chain([flag.as_fd()]) {
            epoll::add(
                &epoll,
                source,
                epoll::EventData::new_u64(0),
                epoll::EventFlags::IN,
            )?;
        }
        Ok(Self {
            epoll,
            flag,
            is_raised: Mutex::new(false),
        })
    }

    /// Watches `new` too, until it is closed.
    pub(crate) fn watch(&self, new: BorrowedFd<'_>) -> io::Result<()> {
        let data = epoll::EventData::new_u64(0);
        epoll::add(&self.epoll, new, data, epoll::EventFlags::IN)?;
        Ok(())
    }

    /// Watches `new` instead of `old`.
    pub(crate) fn replace(&self, old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
        self.watch(new)?;
        epoll::delete(&self.epoll, old)?;
        Ok(())
    }

    /// Readable until [`Self::lower`], whatever the sources say.
    pub(crate) fn raise(&self) {
        let mut is_raised = lock(&self.is_raised);
        if !std::mem::replace(&mut *is_raised, true) {
            let _ = rustix::io::write(&self.flag, &1_u64.to_ne_bytes());
        }
    }

    pub(crate) fn lower(&self) {
        let mut is_raised = lock(&self.is_raised);
        if std::mem::replace(&mut *is_raised, false) {
            let _ = rustix::io::read(&self.flag, &mut [0; 8]);
        }
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
