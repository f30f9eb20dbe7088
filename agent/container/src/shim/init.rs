//! Starting the init.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::failure::{MakeContainer, because};
use crate::control::Control;

/// Starts this very program as init, as root of the user namespace the shim moved to where it did.
pub(super) fn spawn_init(own_users: bool) -> Result<(Child, Control), MakeContainer> {
    let (ours, theirs) = Control::pair().map_err(because("make a socket"))?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("tapestry")
        .arg("init")
        .env_clear()
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if own_users {
        command.gid(0).uid(0);
    }
    let child = command.spawn().map_err(because("start the init"))?;
    Ok((child, ours))
}
