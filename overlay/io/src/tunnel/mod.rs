//! What tunnels of either kind have in common.

mod ports;

pub use self::ports::AddTunnelPort;
pub(crate) use self::ports::{Member, Members};
