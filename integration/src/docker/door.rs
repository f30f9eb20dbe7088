//! What the process around the plugin does for it: whom it lets in, and which sockets outlive it.

use std::os::fd::{BorrowedFd, OwnedFd};

/// What the process that serves the plugin does for it.
pub trait Doorkeeper: Clone + Send + Sync + 'static {
    /// Whether somebody may call, by the id of the process that connected, and why not: whoever calls makes the agent do things.
    fn admit(&self, pid: Option<i32>) -> Result<(), String>;
    /// Told of what does not work.
    fn warn(&self, warning: String);
    /// Whether another process takes the place of this one, which the engine is not to notice.
    fn is_followed(&self) -> bool;
    /// A socket that an earlier process left under that name.
    fn take_socket(&self, name: &str) -> Option<OwnedFd>;
    /// Leaves a copy of a socket for a later process.
    fn leave_socket(&self, name: &str, socket: BorrowedFd<'_>);
}
