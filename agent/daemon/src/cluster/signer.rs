//! The endpoint that admits hosts and renews certificates, and how to ask it.
//!
//! # Theory of operation
//!
//! TLS 1.3 on one TCP port of the host that has the CA's key. A connection carries one request and one reply, each a length
//! (4 bytes, big endian) and that much JSON. A host that joins shows no certificate; it knows the CA by the hash in its
//! token, and only the signer has a certificate for [`SIGNER_NAME`], so no other member can ask it for the token's secret. A
//! host that renews shows the certificate it has, and gets one for the same identity.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::identity::host_of;

/// What is asked of the signer. `Debug` would show a secret, so there is none.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Request {
    Join(JoinRequest),
    /// A signing request, for whoever asks.
    Renew {
        request: String,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct JoinRequest {
    pub(super) token_id: String,
    pub(super) secret: String,
    pub(super) host: String,
    pub(super) name: String,
    pub(super) address: IpAddr,
    /// A signing request, PEM.
    pub(super) request: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reply {
    Joined(Joined),
    Renewed { certificate: String },
    Refused(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Joined {
    pub(super) cluster: String,
    pub(super) ca: String,
    pub(super) certificate: String,
    pub(super) etcd: Vec<String>,
    pub(super) etcd_managed: bool,
}

/// Who decides. Calls may block.
pub(super) trait Decide: Send + Sync + 'static {
    fn server_config(&self) -> Option<Arc<ServerConfig>>;
    fn join(&self, from: IpAddr, request: &JoinRequest) -> Reply;
    /// `host` has shown a certificate of its own that is good.
    fn renew(&self, host: &str, request: &str) -> Reply;
}

/// Why an answer did not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskSigner {
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
    #[error("{0}")]
    Refused(String),
}

/// Serves until the listener fails or the task is dropped.
pub(super) async fn serve(listener: TcpListener, signer: Arc<dyn Decide>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let complaints = Arc::new(Complaints::default());
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a host that joins was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            continue;
        };
        let (signer, complaints) = (Arc::clone(&signer), Arc::clone(&complaints));
        tokio::spawn(async move {
            match timeout(EXCHANGE_LIMIT, answer(stream, from.ip(), signer)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => complaints.tell(from.ip(), &error.to_string()),
                Err(_) => complaints.tell(from.ip(), "it was too slow"),
            }
            drop(permit);
        });
    }
}

/// Asks once. Returns the reply, and the address that this host had towards the signer.
pub(super) async fn ask(
    address: SocketAddr,
    config: ClientConfig,
    make: impl FnOnce(IpAddr) -> Request,
) -> Result<Reply, AskSigner> {
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let connect = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
    let stream = connect
        .unwrap_or_else(|_| Err(late()))
        .map_err(|source| AskSigner::Connect { address, source })?;
    let broke_off = |source| AskSigner::BrokeOff { address, source };
    let own = stream.local_addr().map_err(broke_off)?.ip();
    let exchange = async {
        let name = ServerName::try_from(SIGNER_NAME).map_err(|error| AskSigner::Stranger {
            address,
            source: io::Error::other(error),
        })?;
        let mut stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|source| AskSigner::Stranger { address, source })?;
        send(&mut stream, &make(own)).await.map_err(broke_off)?;
        receive::<Reply>(&mut stream).await.map_err(broke_off)
    };
    let reply = timeout(EXCHANGE_LIMIT, exchange)
        .await
        .unwrap_or_else(|_| Err(broke_off(late())))?;
    match reply {
        Reply::Refused(why) => Err(AskSigner::Refused(why)),
        reply => Ok(reply),
    }
}

async fn answer(stream: TcpStream, from: IpAddr, signer: Arc<dyn Decide>) -> io::Result<()> {
    let config = signer
        .server_config()
        .ok_or_else(|| io::Error::other("the signer has no certificate"))?;
    let mut stream = TlsAcceptor::from(config).accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates();
    let host = shown.and_then(|chain| host_of(chain.first()?));
    let request: Request = receive(&mut stream).await?;
    let deciding = tokio::task::spawn_blocking(move || match request {
        Request::Join(request) => signer.join(from, &request),
        Request::Renew { request } => match host {
            Some(host) => signer.renew(&host, &request),
            None => Reply::Refused("a certificate is renewed for the host that shows it".into()),
        },
    });
    let reply = deciding.await.map_err(io::Error::other)?;
    send(&mut stream, &reply).await?;
    // The other side may have read enough.
    let _ = stream.shutdown().await;
    match reply {
        Reply::Refused(why) => Err(io::Error::other(why)),
        _ => Ok(()),
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&body).await?;
    stream.flush().await
}

async fn receive<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > MESSAGE_LEN_MAX {
        return Err(io::Error::other("the message is too long"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    // serde's words may repeat a secret; the line and column do not.
    serde_json::from_slice(&body)
        .map_err(|error| io::Error::other(format!("not understood at byte {}", error.column())))
}

/// Says once of each address that it was refused, and counts the rest.
#[derive(Debug, Default)]
struct Complaints(Mutex<HashMap<IpAddr, u64>>);

impl Complaints {
    fn tell(&self, from: IpAddr, why: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= COMPLAINTS_MAX {
            seen.clear();
        }
        let times = seen.entry(from).or_insert(0);
        *times += 1;
        if *times == 1 {
            tracing::warn!(%from, why, "a host was refused");
        } else {
            tracing::debug!(%from, why, times, "a host was refused again");
        }
    }
}

/// Only the signer's certificate has this name.
pub(super) const SIGNER_NAME: &str = "signer.tapestry";
const MESSAGE_LEN_MAX: usize = 64 * 1024;
const CONNECTIONS_MAX: usize = 64;
const COMPLAINTS_MAX: usize = 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const EXCHANGE_LIMIT: Duration = Duration::from_secs(15);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
