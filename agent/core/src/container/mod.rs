//! Containers: what a request for one comes to, and why something is not done with one.

mod binds;
mod error;
mod names;
mod plan;
mod sysctl;

pub use binds::{BadBind, Bind};
pub use error::{
    ConnectContainer, CreateContainer, DisconnectContainer, ExecCommand, NotRunning, PlanContainer,
    RemoveRunning, StartContainer,
};
pub use names::{resolv_conf_on, resolv_conf_without_network};
pub use plan::{Fresh, attached_network, check_container_name, networks_called, plan};
pub use sysctl::{BadSysctl, sysctl_paths};
