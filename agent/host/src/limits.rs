//! Resource limits of the agent's process.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, getrlimit, setrlimit};

/// Why the limit on open files stays as it is.
#[derive(Debug, thiserror::Error)]
#[error("cannot raise the limit on open files: {0}")]
pub struct RaiseLimit(#[from] io::Error);

/// Raises the soft limit on open files to the hard one, and returns it; None means unlimited.
///
/// Every endpoint costs a few files; the usual soft limit of 1024 ends at some hundred containers.
pub fn raise_open_files() -> Result<Option<u64>, RaiseLimit> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).map_err(io::Error::from)?;
    }
    Ok(limit.maximum)
}

/// Why nothing more is made that keeps a file open.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the agent may have {limit} files open, and has nearly as many; raise LimitNOFILE of its service and restart it, or detach something"
)]
pub struct FewFiles {
    pub limit: u64,
}

/// Refuses when the file that was opened just now is among the last that the process may have: the rest is for clients of the API,
/// and for programs that are to be run. The kernel gives out the lowest number that is free.
pub fn check_open_files(newest: impl AsFd) -> Result<(), FewFiles> {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return Ok(());
    };
    let number = u64::try_from(newest.as_fd().as_raw_fd()).unwrap_or_default();
    match number + RESERVED_FILES < limit {
        true => Ok(()),
        false => Err(FewFiles { limit }),
    }
}

const RESERVED_FILES: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise_open_files().unwrap(), hard);
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }
}
