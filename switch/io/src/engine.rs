//! Engines: the ways to move frames in and out of the kernel.

/// Which interface to the kernel moves the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// io_uring where it is allowed, epoll otherwise.
    #[default]
    Auto,
    Uring,
    Epoll,
}

/// What runs, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineReport {
    pub engine: EngineKind,
    /// Why it is not io_uring, if that was wished for.
    pub fallback: Option<String>,
    pub workers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    Uring,
    Epoll,
}

impl EngineKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}
