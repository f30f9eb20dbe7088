//! One descriptor that is readable when any of several things is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, epoll, eventfd};

/// An epoll instance, which can itself be polled, and a flag in it.
#[derive(Debug)]
pub(crate) struct Readiness {
    epoll: OwnedFd,
    flag: OwnedFd,
    is_raised: AtomicBool,
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
            is_raised: AtomicBool::new(false),
        })
    }

    /// Watches `new` instead of `old`.
    pub(crate) fn replace(&self, old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
        let data = epoll::EventData::new_u64(0);
        epoll::add(&self.epoll, new, data, epoll::EventFlags::IN)?;
        epoll::delete(&self.epoll, old)?;
        Ok(())
    }

    /// Readable until [`Self::lower`], whatever the sources say. Both are for the trunk's reader alone.
    pub(crate) fn raise(&self) {
        if !self.is_raised.swap(true, Ordering::Relaxed) {
            let _ = rustix::io::write(&self.flag, &1_u64.to_ne_bytes());
        }
    }

    pub(crate) fn lower(&self) {
        if self.is_raised.swap(false, Ordering::Relaxed) {
            let _ = rustix::io::read(&self.flag, &mut [0; 8]);
        }
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
