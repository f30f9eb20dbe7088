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
    /// The address that tunnels of other hosts go to.
    pub(crate) address: IpAddr,
    /// Whether that is the address from which this host reaches the signer, because the one it joined with is gone.
    #[serde(default)]
    pub(crate) follows_way: bool,
    /// Where hosts are admitted and certificates renewed.
    pub(crate) signer: SocketAddr,
    /// Which host does that; absent where it is not known.
    #[serde(default)]
    pub(crate) signer_host: Option<String>,
    /// URLs of etcd.
    pub(crate) etcd: Vec<String>,
    /// Whether etcd is a child of the signer's agent.
    pub(crate) etcd_managed: bool,
    /// Where this host's QUIC tunnels end.
    pub(crate) quic_udp_port: u16,
    /// Whether this host is the signer.
    pub(crate) signs: bool,
}

impl Settings {
    /// The same with the signer, and the etcd that it runs, at another address.
    pub(crate) fn with_signer(self, signer: SocketAddr) -> Self {
        let etcd = match self.etcd_managed {
            true => vec![client_url(signer)],
            false => self.etcd,
        };
        Self {
            signer,
            etcd,
            ..self
        }
    }
}

/// Where clients reach the etcd of the signer at `address`.
pub(crate) fn client_url(address: SocketAddr) -> String {
    format!("https://{}", neighbour(address, 1))
}

fn neighbour(address: SocketAddr, distance: u16) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port().wrapping_add(distance))
}
