//! Where an upstream server is, and how it is spoken to.

use std::fmt;
use std::net::SocketAddr;

use hickory_resolver::config::{ConnectionConfig, ProtocolConfig};

/// An upstream server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    pub socket: SocketAddr,
    pub protocol: Protocol,
    /// Whom the certificate must name; the address itself where absent. Plain servers have no certificate.
    pub name: Option<String>,
}

/// How an upstream server is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// UDP, and TCP for what does not fit.
    Plain,
    /// RFC 7858.
    Tls,
    /// RFC 8484, over HTTP/2, at this path.
    Https { path: String },
    /// RFC 9250.
    Quic,
}

impl From<SocketAddr> for ServerAddress {
    fn from(socket: SocketAddr) -> Self {
        Self {
            socket,
            protocol: Protocol::Plain,
            name: None,
        }
    }
}

impl ServerAddress {
    pub(crate) fn is_encrypted(&self) -> bool {
        self.protocol != Protocol::Plain
    }

    /// What hickory calls the connections of such a server.
    pub(crate) fn connections(&self) -> Vec<ConnectionConfig> {
        let server_name = || match &self.name {
            Some(name) => name.as_str().into(),
            None => self.socket.ip().to_string().into(),
        };
        let protocols = match &self.protocol {
            Protocol::Plain => vec![ProtocolConfig::Udp, ProtocolConfig::Tcp],
            Protocol::Tls => vec![ProtocolConfig::Tls {
                server_name: server_name(),
            }],
            Protocol::Https { path } => vec![ProtocolConfig::Https {
                server_name: server_name(),
                path: path.as_str().into(),
            }],
            Protocol::Quic => vec![ProtocolConfig::Quic {
                server_name: server_name(),
            }],
        };
        let connection = |protocol| {
            let mut connection = ConnectionConfig::new(protocol);
            connection.port = self.socket.port();
            connection
        };
        protocols.into_iter().map(connection).collect()
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.protocol {
            Protocol::Plain => write!(f, "{}", self.socket),
            Protocol::Tls => write!(f, "tls://{}", self.socket),
            Protocol::Https { path } => write!(f, "https://{}{path}", self.socket),
            Protocol::Quic => write!(f, "quic://{}", self.socket),
        }
    }
}
