//! Asking a manager: for one answer, or for the store.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agent_store::wire::{receive, send};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client};

use super::{EXCHANGE_LIMIT, MESSAGE_LEN_MAX, Reply, Request};
use crate::ca::MANAGER_NAME;
use crate::clock::{ClocksDiffer, compare, now_s};
use crate::identity::Asking;

/// Why an answer did not come.
#[derive(Debug, thiserror::Error)]
pub enum AskManager {
    #[error(
        "cannot reach the cluster at {address}: {source}; is its agent running, and the port open?"
    )]
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("{address} is not the cluster of this token: {source}")]
    Stranger {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("the cluster at {address} broke off: {source}")]
    BrokeOff {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(
        "this token was made before the cluster's CA was rotated; make a new one with `tapestry cluster token`"
    )]
    Rotated,
    #[error(transparent)]
    Clocks(#[from] ClocksDiffer),
    #[error(
        "the certificate of {address} has ended, though its clock agrees with this host's; its agent's log says why"
    )]
    OutOfDate { address: SocketAddr },
    #[error("{0}")]
    Refused(String),
}

/// Asks once. `make` gets the address that this host has towards the manager.
pub(crate) async fn ask(
    address: SocketAddr,
    asking: Asking,
    make: impl FnOnce(IpAddr) -> Request,
) -> Result<Reply, AskManager> {
    let exchanging = exchange(address, asking, CONNECT_LIMIT, make);
    let reply = timeout(EXCHANGE_LIMIT, exchanging).await;
    reply
        .unwrap_or_else(|_| Err(late(address)))
        .map(|(reply, _)| reply)
}

/// A connection to the store of a manager.
pub(crate) async fn ask_for_store(
    address: SocketAddr,
    asking: Asking,
) -> Result<client::TlsStream<TcpStream>, AskManager> {
    let exchanging = exchange(address, asking, STORE_CONNECT_LIMIT, |_| Request::Store);
    let reply = timeout(STORE_LIMIT, exchanging).await;
    match reply.unwrap_or_else(|_| Err(late(address)))? {
        (Reply::Serving, stream) => Ok(stream),
        _ => Err(AskManager::BrokeOff {
            address,
            source: io::Error::other("it answered something else"),
        }),
    }
}

async fn exchange(
    address: SocketAddr,
    asking: Asking,
    connect_limit: Duration,
    make: impl FnOnce(IpAddr) -> Request,
) -> Result<(Reply, client::TlsStream<TcpStream>), AskManager> {
    let connect = timeout(connect_limit, TcpStream::connect(address)).await;
    let stream = connect
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| AskManager::Connect { address, source })?;
    let broke_off = |source| AskManager::BrokeOff { address, source };
    // Calls are small, and somebody waits for each.
    stream.set_nodelay(true).map_err(broke_off)?;
    let own = stream.local_addr().map_err(broke_off)?.ip();
    let Asking { config, seen } = asking;
    let name = ServerName::try_from(MANAGER_NAME).map_err(|error| AskManager::Stranger {
        address,
        source: io::Error::other(error),
    })?;
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|source| match seen.is_rotated() {
            true => AskManager::Rotated,
            false => AskManager::Stranger { address, source },
        })?;
    let is_out_of_date = seen.is_out_of_date();
    let request = match is_out_of_date {
        true => Request::Greet,
        false => make(own),
    };
    send(&mut stream, &request).await.map_err(broke_off)?;
    let reply = receive(&mut stream, MESSAGE_LEN_MAX).await;
    match reply.map_err(broke_off)? {
        Reply::Refused(why) => Err(AskManager::Refused(why)),
        Reply::Greeted(greeted) if is_out_of_date => {
            Err(out_of_date(address, greeted.now_s, now_s()))
        }
        reply => Ok((reply, stream)),
    }
}

fn late(address: SocketAddr) -> AskManager {
    AskManager::BrokeOff {
        address,
        source: io::ErrorKind::TimedOut.into(),
    }
}

/// Why the certificate of the manager at `address` is not good now, with what the clocks of both say.
pub(super) fn out_of_date(address: SocketAddr, its_s: u64, own_s: u64) -> AskManager {
    let compared = compare(
        ("this host", own_s),
        (&format!("the host at {}", address.ip()), its_s),
    );
    match compared {
        Err(differ) => differ.into(),
        Ok(()) => AskManager::OutOfDate { address },
    }
}

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A manager that takes longer is left for the next one.
const STORE_CONNECT_LIMIT: Duration = Duration::from_millis(600);
const STORE_LIMIT: Duration = Duration::from_millis(1500);
