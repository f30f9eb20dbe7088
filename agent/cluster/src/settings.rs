//! What a host knows of its place in the cluster, and keeps as `cluster.json`.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// What is not secret, as `cluster.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The cluster's id.
    pub(crate) cluster: String,
    /// This host's id.
    pub(crate) host: String,
    /// Its name, for people.
    pub(crate) name: String,
    /// This host's own address, where it listens.
    pub(crate) address: IpAddr,
    /// Where others reach its tunnels, and the signer's IP address with it, if that is not `address`: an address that is
    /// translated to that one.
    #[serde(default)]
    pub(crate) advertised: Option<SocketAddr>,
    /// Whether that is the address from which this host reaches the signer, because the one it joined with is gone.
    #[serde(default)]
    pub(crate) follows_way: bool,
    /// Where hosts are admitted and certificates renewed.
    pub(crate) signer: SocketAddr,
    /// Which host does that; absent where it is not known.
    #[serde(default)]
    pub(crate) signer_host: Option<String>,
    /// Where this host's QUIC tunnels end.
    pub(crate) quic_udp_port: u16,
    #[serde(flatten)]
    pub(crate) duty: Duty,
}

/// What a host has to do for the others, and with which etcd. A member has no etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Duty {
    /// Whether this host is a manager.
    pub(crate) signs: bool,
    /// URLs of etcd; where managers run it, that of this host's own.
    pub(crate) etcd: Vec<String>,
    /// Whether etcd is a child of each manager's agent.
    pub(crate) etcd_managed: bool,
    /// The members of etcd that this host's has joined, itself among them; empty where it began by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) etcd_joins: Vec<EtcdPeer>,
    /// Whether it was promoted, and the others do not know of it yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_on_trial: bool,
}

/// A member of etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EtcdPeer {
    pub(crate) name: String,
    /// Where the other members reach it.
    pub(crate) url: String,
}

impl Settings {
    /// Where others reach this host's tunnels, as it is at `address` now.
    pub(crate) fn told(&self, address: IpAddr) -> SocketAddr {
        let own = SocketAddr::new(address, self.quic_udp_port);
        self.advertised.unwrap_or(own)
    }

    /// Where others reach what this host serves as a manager. A member serves nothing: where its manager is.
    pub(crate) fn served(&self) -> SocketAddr {
        match self.advertised {
            Some(told) if self.duty.signs => SocketAddr::new(told.ip(), self.signer.port()),
            _ => self.signer,
        }
    }

    /// The addresses that lead there: its own, and the one that is translated to it.
    pub(crate) fn service_addresses(&self) -> Vec<IpAddr> {
        let mut addresses = vec![self.signer.ip(), self.served().ip()];
        addresses.dedup();
        addresses
    }

    /// The same with the signer, and the etcd that it runs, at another address.
    pub(crate) fn with_signer(self, signer: SocketAddr) -> Self {
        let mut duty = self.duty;
        if duty.etcd_managed {
            duty.etcd = vec![client_url(signer)];
        }
        Self {
            signer,
            duty,
            ..self
        }
    }
}

/// Where clients reach the etcd of the signer at `address`.
pub(crate) fn client_url(address: SocketAddr) -> String {
    format!("https://{}", neighbour(address, 1))
}

/// And where the other members of etcd do.
pub(crate) fn peer_url(address: SocketAddr) -> String {
    format!("https://{}", neighbour(address, 2))
}

/// The port so many after that.
pub(crate) fn neighbour(address: SocketAddr, distance: u16) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port().wrapping_add(distance))
}
