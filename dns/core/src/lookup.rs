//! What is known of a name.

use std::net::IpAddr;

use hickory_proto::rr::Name;

use crate::ServiceTarget;

/// What a zone knows about a name and a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Addresses(Vec<IpAddr>),
    Pointer(Name),
    Services(Vec<ServiceTarget>),
    /// The name exists, without that type.
    NoData,
    /// The name is this network's to know, and it does not exist.
    Absent,
    /// Not this network's to know.
    Foreign,
}
