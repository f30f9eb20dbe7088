//! Which container a process belongs to.
//!
//! PID namespaces nest, nobody leaves one, and a process in a container that makes another stays within the container's:
//! so a process is in a container if one of the namespaces around it is.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::sys::parent_namespace;

/// A PID namespace, by its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidNamespace(u64);

impl PidNamespace {
    /// That of a process, as the caller numbers it.
    pub fn of(pid: i32) -> io::Result<Self> {
        fs::metadata(path(pid)).map(Self::from)
    }

    /// Those around a process that are below the caller's own, innermost first: none for a process beside the caller.
    pub fn around(pid: i32) -> io::Result<Vec<Self>> {
        let own = Self::from(fs::metadata("/proc/self/ns/pid")?);
        let mut around = Vec::new();
        let mut namespace = File::open(path(pid))?;
        loop {
            let this = Self::from(namespace.metadata()?);
            if this == own {
                return Ok(around);
            }
            // The kernel nests them 32 deep at most, pid_namespaces(7).
            around.push(this);
            namespace = match parent_namespace(&namespace) {
                Ok(parent) => parent,
                // Not below the caller's.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Ok(around);
                }
                Err(error) => return Err(error),
            };
        }
    }
}

impl From<Metadata> for PidNamespace {
    fn from(namespace: Metadata) -> Self {
        Self(namespace.ino())
    }
}

fn path(pid: i32) -> String {
    format!("/proc/{pid}/ns/pid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_beside_us_is_in_no_namespace_below() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(PidNamespace::around(own).unwrap(), []);
        assert!(PidNamespace::around(i32::MAX).is_err());
    }
}
