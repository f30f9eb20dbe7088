//! The kernel's own tests of its bridge, retold (`tools/testing/selftests/net/forwarding/bridge_igmp.sh`, `bridge_mld.sh`): the
//! same reports, and the same verdicts. What is ours alone stands beside them.

mod in_vlans;
mod kernel;
mod lists;
mod model;
mod network;
mod overlay;
mod rounds;
pub(in crate::multicast) mod wire;
