//! The host as the agent needs it: forwarding, limits, rights.

mod limits;
mod rights;
mod sysctl;

pub use limits::{RaiseLimit, raise_open_files};
pub use rights::{MissingRights, check_rights};
pub use sysctl::{
    SetSysctl, SysctlChange, change, forwarding_changes, liberal_tracking_changes, restore,
};
