//! Networks: what a request for one comes to, and what its record says of its parts.

mod docker_options;
mod edge;
mod error;
mod names;
mod option_list;
mod options;
mod overlay;
mod plan;
mod ports;
mod predefined;
mod uplink;
mod vlan;
mod vxlan;

pub use docker_options::in_our_words;
pub use error::{CreateNetwork, RemoveNetwork, RenameNetwork, Teardown};
pub use options::DRIVER_OFFLOAD;
pub(crate) use options::check_options;
pub use overlay::OverlayWish;
pub(crate) use plan::check_mtu;
pub use plan::{MTU_MAX, SubnetEntry, Surroundings, check_vni, plan};
pub use ports::settings_of;
pub use predefined::{DEFAULT_NETWORK, PREDEFINED, is_predefined, without_segment};
pub use uplink::{LanMode, Parent, Uplink, keep_for_host, uplink_of};
pub(crate) use vlan::read_vlans;
pub use vlan::{BadVlan, VlanWords, check_vlans};
pub use vxlan::{Asked, VxlanOptions};

/// Of a network that is on one host, in bytes of a packet.
pub const DEFAULT_MTU: u16 = 1500;
