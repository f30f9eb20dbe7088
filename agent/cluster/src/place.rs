//! Where this host is on the underlay.
//!
//! # Theory of operation
//!
//! A host listens at an address of its own. Others mostly reach it there, and know it by that. Where an address is translated to
//! the host's, as clouds do it, the host does not have the one that others dial, and is told it ([`wanted`]).

use std::net::{IpAddr, SocketAddr, TcpListener};

use crate::settings::Settings;

/// An address, and who knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: IpAddr,
    /// Whether the address is the one from which this host reaches the signer, and changes with that.
    pub(crate) follows_way: bool,
    /// Whether the others know.
    pub(crate) is_told: bool,
    /// Where hosts are admitted and certificates renewed.
    pub(crate) signer: SocketAddr,
    /// Whether this host, as the signer, serves there already. On other hosts always true.
    pub(crate) is_served: bool,
}

impl Place {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            address: settings.address,
            follows_way: settings.follows_way,
            // The first session tells.
            is_told: true,
            signer: settings.signer,
            is_served: true,
        }
    }
}

/// What was asked for as this host's address, and the port: its own address, and where others reach it if that is not the
/// same. `way` is the address that it has towards the others.
pub(crate) fn wanted(
    asked: Option<IpAddr>,
    way: impl FnOnce() -> Option<IpAddr>,
    port: u16,
) -> Option<(IpAddr, Option<SocketAddr>)> {
    match asked {
        Some(address) if is_own(address) => Some((address, None)),
        Some(elsewhere) => Some((way()?, Some(SocketAddr::new(elsewhere, port)))),
        None => Some((way()?, None)),
    }
}

/// Whether this host has the address.
pub(crate) fn is_own(address: IpAddr) -> bool {
    let taken = TcpListener::bind(SocketAddr::new(address, 0));
    !matches!(taken, Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_here_is_one_that_leads_here() {
        let [own, way, elsewhere] =
            ["127.0.0.1", "192.0.2.1", "203.0.113.7"].map(|ip| ip.parse().unwrap());
        let told = SocketAddr::new(elsewhere, 4790);
        assert_eq!(wanted(Some(own), || None, 4790), Some((own, None)));
        assert_eq!(wanted(None, || Some(way), 4790), Some((way, None)));
        assert_eq!(
            wanted(Some(elsewhere), || Some(way), 4790),
            Some((way, Some(told)))
        );
        assert_eq!(wanted(Some(elsewhere), || None, 4790), None);
    }
}
