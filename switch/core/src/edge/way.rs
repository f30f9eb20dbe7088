//! The way back to whoever asked.

use std::net::SocketAddr;

use crate::{Mac, PortId};

/// How somebody on the network is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) port: PortId,
    pub(super) mac: Mac,
}

/// Names a connection for its whole life; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ConnectionId(pub(super) u64);

/// How an answer finds its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReturnPath {
    Udp {
        way: Way,
        client: SocketAddr,
        server: SocketAddr,
    },
    Tcp(ConnectionId),
}
