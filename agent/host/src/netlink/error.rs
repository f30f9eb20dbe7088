//! What the kernel refused, in words.

use std::fmt;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::DecodeError;
use nix::errno::Errno;

use crate::namespace::EnterNetns;

/// A failed operation on links, addresses or routes, named with its subject.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    #[error("cannot talk to the kernel over netlink: {0}")]
    Exchange(#[source] io::Error),
    #[error("the kernel's netlink answer is malformed: {0}")]
    Malformed(#[from] DecodeError),
    #[error("the kernel's netlink answer has no {0}")]
    Missing(&'static str),
    #[error(transparent)]
    Enter(#[from] EnterNetns),
    #[error("there is no link {0}")]
    NoSuchLink(String),
    #[error("cannot list {what}: {refusal}")]
    List {
        what: &'static str,
        refusal: Refusal,
    },
    #[error("cannot rename link {link} to {name}: {refusal}")]
    Rename {
        link: String,
        name: String,
        refusal: Refusal,
    },
    #[error("cannot configure link {link}: {refusal}")]
    Configure { link: String, refusal: Refusal },
    #[error("cannot bring link {link} up: {refusal}")]
    Up { link: String, refusal: Refusal },
    #[error("cannot delete link {link}: {refusal}")]
    Delete { link: String, refusal: Refusal },
    #[error("cannot add address {address} to link {link}: {refusal}")]
    AddAddress {
        link: String,
        address: IpNet,
        refusal: Refusal,
    },
    #[error("cannot add the route to {destination} {}through link {link}: {refusal}", Via(*gateway))]
    AddRoute {
        link: String,
        destination: IpNet,
        gateway: Option<IpAddr>,
        refusal: Refusal,
    },
    #[error("cannot enter neighbor {address} of link {link}: {refusal}")]
    AddNeighbor {
        link: String,
        address: IpAddr,
        refusal: Refusal,
    },
    #[error("every name from eth0 to eth{last} is taken in the sandbox")]
    NoFreeName { last: u32 },
    #[error("cannot set {path}: {source}")]
    Sysctl {
        path: String,
        #[source]
        source: io::Error,
    },
}

impl NetlinkError {
    /// The errno, where it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::List { refusal, .. }
            | Self::Rename { refusal, .. }
            | Self::Configure { refusal, .. }
            | Self::Up { refusal, .. }
            | Self::Delete { refusal, .. }
            | Self::AddAddress { refusal, .. }
            | Self::AddRoute { refusal, .. }
            | Self::AddNeighbor { refusal, .. } => Some(refusal.errno),
            _ => None,
        }
    }
}

/// The kernel's no: the errno and, where the kernel said one, its own sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub errno: Errno,
    pub kernel_says: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(meaning(self.errno))?;
        match &self.kernel_says {
            Some(sentence) => write!(f, " ({}: {sentence})", self.errno),
            None => write!(f, " ({})", self.errno),
        }
    }
}

struct Via(Option<IpAddr>);

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(gateway) => write!(f, "via {gateway} "),
            None => Ok(()),
        }
    }
}

fn meaning(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => "the agent lacks CAP_NET_ADMIN here",
        Errno::EACCES => "IPv6 is disabled on the link, or access is denied",
        Errno::EEXIST => "it exists already",
        Errno::ENODEV | Errno::ENXIO => "the link is gone",
        Errno::EBUSY => "the link is busy",
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => "the gateway is not reachable on the link",
        Errno::EADDRNOTAVAIL => "the address does not belong to this host",
        Errno::EINVAL => "the kernel does not accept a value",
        Errno::ERANGE => "a value is out of range",
        Errno::EOPNOTSUPP => "the kernel does not support it",
        Errno::ENETDOWN => "the link is down",
        Errno::ENFILE | Errno::EMFILE => "too many open files",
        Errno::ENOMEM | Errno::ENOBUFS => "out of kernel memory",
        _ => "the kernel refused",
    }
}
