//! Who may use the agent's socket besides root.

use std::io;
use std::os::unix::fs::chown;
use std::path::Path;

use nix::unistd::{Gid, Group};
use rustix::process::getegid;

use super::ReadConfig;

/// A group of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketGroup(u32);

impl SocketGroup {
    /// By its name or number.
    pub(super) fn find(called: &str) -> Result<Self, ReadConfig> {
        let found = match called.parse() {
            Ok(number) => Group::from_gid(Gid::from_raw(number)),
            Err(_) => Group::from_name(called),
        };
        match found {
            Ok(Some(group)) => Ok(Self(group.gid.as_raw())),
            Ok(None) => Err(ReadConfig::Group(called.to_owned())),
            Err(error) => Err(ReadConfig::LookUpGroup {
                group: called.to_owned(),
                why: io::Error::from(error).to_string(),
            }),
        }
    }

    /// Whom a socket belongs to that the agent makes.
    pub(crate) fn own() -> Self {
        Self(getegid().as_raw())
    }

    /// Lets this group use the socket.
    pub(crate) fn give(self, socket: &Path) -> io::Result<()> {
        chown(socket, None, Some(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_name_and_by_number() {
        assert_eq!(SocketGroup::find("root").unwrap(), SocketGroup(0));
        assert_eq!(SocketGroup::find("0").unwrap(), SocketGroup(0));
        for unknown in ["no-such-group", "4000000000", ""] {
            let refused = SocketGroup::find(unknown).unwrap_err().to_string();
            assert!(refused.contains("there is no such group"), "{refused}");
        }
    }
}
