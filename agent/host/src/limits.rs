//! Resource limits of the agent's process.

use std::io;

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
