//! The endpoint that admits hosts and renews certificates, and how to ask it.
//!
//! # Theory of operation
//!
//! TLS 1.3 on one TCP port of the host that has the CA's key. A connection carries one request and one reply, each a length
//! (4 bytes, big endian) and that much JSON. A host that joins shows no certificate. It knows the CA by the hash in its
//! token, and it talks only to who has a certificate for [`SIGNER_NAME`]. The signer alone has that, so no other member can
//! ask for the token's secret. A host that renews shows its certificate, and gets a new one for the same identity. It may do
//! so when that certificate has ended, or is of a CA that was replaced; for anything else its certificate must be good. So it is
//! for the CA's key, which a manager gives to a host that becomes one.
//!
//! Requests tell the time, because clocks that differ are the usual reason why a certificate seems to be no good. Where it is
//! the signer's that seems so, a host asks for the time there and for nothing else.
//!
//! A member's connection to the store begins with one such request. After the reply it is the store's own
//! ([`agent_store::serve`]), as long as the host is a member and its certificate good.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use agent_store::Store;
use agent_store::wire::{receive, send};

use crate::ca::SIGNER_NAME;
use crate::clock::{ClocksDiffer, compare, now_s};
use crate::handover::{Handover, ManageRequest};
use crate::identity::Asking;
use crate::trust::{Shown, Standing};

/// What is asked of the signer. Not `Debug`, which would show a secret.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    Join(JoinRequest),
    /// For whoever asks.
    Renew(RenewRequest),
    /// What the time is there, and what this host's certificate is worth.
    Greet,
    /// The connection goes on as one to the store.
    Store,
    /// For a host that becomes a manager, or is one.
    Manage(ManageRequest),
}

#[derive(Serialize, Deserialize)]
pub struct RenewRequest {
    /// A signing request, PEM.
    pub request: String,
    /// What the asking host's clock says, in seconds since 1970; absent where an older agent asks.
    #[serde(default)]
    pub now_s: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub struct JoinRequest {
    pub token_id: String,
    pub secret: String,
    pub name: String,
    pub address: IpAddr,
    /// A signing request, PEM.
    pub request: String,
    /// What the asking host's clock says, in seconds since 1970; absent where an older agent asks.
    #[serde(default)]
    pub now_s: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    Joined(Joined),
    Renewed(Renewed),
    Greeted(Greeted),
    Serving,
    Managing(Handover),
    Refused(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Renewed {
    pub certificate: String,
    /// The CAs that are trusted; absent where an older agent answers.
    #[serde(default)]
    pub ca: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Greeted {
    /// What the signer's clock says, in seconds since 1970.
    pub now_s: u64,
    /// Whether the certificate of the host that asks is good for nothing but being renewed.
    pub must_renew: bool,
    /// Whether that host is on record as a manager; absent where that is not known.
    #[serde(default)]
    pub is_manager: Option<bool>,
    /// How often the cluster was restored or recovered, as far as that manager knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Joined {
    pub cluster: String,
    /// The id that the certificate is for.
    pub host: String,
    pub ca: String,
    pub certificate: String,
    /// The signer's own id.
    pub signer_host: String,
}

/// Who decides. Calls may block.
pub(crate) trait Decide: Send + Sync + 'static {
    fn server_config(&self) -> Option<Arc<ServerConfig>>;
    fn join(&self, from: IpAddr, request: &JoinRequest) -> Reply;
    /// Whoever asks has proved to have the certificate.
    fn renew(&self, shown: &Shown, request: &RenewRequest) -> Reply;
    /// What a manager needs, where the host that asks is one or is to be one.
    fn manage(&self, host: &str, request: &ManageRequest) -> Reply;
    /// Whether a host is on record as a manager; `None` while that is not known.
    fn is_manager(&self, host: &str) -> Option<bool>;
    /// How often the cluster was restored or recovered, as far as is known.
    fn generation(&self) -> Option<u64>;
    /// What may be done with a certificate, now.
    fn standing(&self, shown: &Shown) -> Standing;
    /// The store as a host may use it that has shown a good certificate; none where it was revoked.
    fn store(&self, host: &str) -> Option<Arc<dyn Store>>;
    /// Whether this manager is out of step while there are others, so that whoever wants the store is better off there.
    fn is_cut_off(&self) -> bool;
    /// Changes when a host may be a member no more, or a CA is retired.
    fn departures(&self) -> watch::Receiver<()>;
}

/// Why an answer did not come.
#[derive(Debug, thiserror::Error)]
pub enum AskSigner {
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

/// Serves until the task is dropped. `refused` counts those who were not admitted or certified.
pub(crate) async fn serve(listener: TcpListener, signer: Arc<dyn Decide>, refused: Arc<AtomicU64>) {
    let doors = Doors {
        exchanges: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        members: Arc::new(Semaphore::new(MEMBERS_MAX)),
    };
    let complaints = Arc::new(Complaints {
        seen: Mutex::default(),
        refused,
    });
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a host that joins was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&doors.exchanges).try_acquire_owned() else {
            continue;
        };
        let (signer, complaints) = (Arc::clone(&signer), Arc::clone(&complaints));
        let members = Arc::clone(&doors.members);
        tokio::spawn(async move {
            let answering = answer(stream, from.ip(), Arc::clone(&signer), members);
            let member = match timeout(EXCHANGE_LIMIT, answering).await {
                Ok(Ok(member)) => member,
                Ok(Err(error)) => return complaints.tell(from.ip(), &error.to_string()),
                Err(_) => return complaints.tell(from.ip(), "it was too slow"),
            };
            drop(permit);
            if let Some(member) = member {
                member.serve(&*signer).await;
            }
        });
    }
}

/// How many may be inside.
struct Doors {
    exchanges: Arc<Semaphore>,
    members: Arc<Semaphore>,
}

/// A member at the store.
struct MemberStream {
    shown: Shown,
    store: Arc<dyn Store>,
    stream: server::TlsStream<TcpStream>,
    _permit: OwnedSemaphorePermit,
}

impl MemberStream {
    /// Until the connection ends, or the member's time does.
    async fn serve(self, signer: &dyn Decide) {
        let left = self.shown.until_s.saturating_sub(now_s());
        let (host, mut departures) = (self.shown.host.clone(), signer.departures());
        let may_stay = || {
            signer.standing(&self.shown) == Standing::Good
                && signer.store(&host).is_some()
                && !signer.is_cut_off()
        };
        let shut_out = async {
            while may_stay() {
                let looked = timeout(LOOK_EVERY, departures.changed()).await;
                if matches!(looked, Ok(Err(_))) {
                    return;
                }
            }
        };
        tokio::select! {
            ended = agent_store::serve(self.stream, self.store) => {
                tracing::debug!(host, ?ended, "a member's connection to the store ended");
            }
            () = shut_out => tracing::info!(host, "a host is shut out of the store"),
            () = tokio::time::sleep(Duration::from_secs(left)) => {
                tracing::debug!(host, "a member's certificate has ended");
            }
        }
    }
}

/// Asks once. `make` gets the address that this host has towards the signer.
pub(crate) async fn ask(
    address: SocketAddr,
    asking: Asking,
    make: impl FnOnce(IpAddr) -> Request,
) -> Result<Reply, AskSigner> {
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
) -> Result<client::TlsStream<TcpStream>, AskSigner> {
    let exchanging = exchange(address, asking, STORE_CONNECT_LIMIT, |_| Request::Store);
    let reply = timeout(STORE_LIMIT, exchanging).await;
    match reply.unwrap_or_else(|_| Err(late(address)))? {
        (Reply::Serving, stream) => Ok(stream),
        _ => Err(AskSigner::BrokeOff {
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
) -> Result<(Reply, client::TlsStream<TcpStream>), AskSigner> {
    let connect = timeout(connect_limit, TcpStream::connect(address)).await;
    let stream = connect
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| AskSigner::Connect { address, source })?;
    let broke_off = |source| AskSigner::BrokeOff { address, source };
    // Calls are small, and somebody waits for each.
    stream.set_nodelay(true).map_err(broke_off)?;
    let own = stream.local_addr().map_err(broke_off)?.ip();
    let Asking { config, seen } = asking;
    let name = ServerName::try_from(SIGNER_NAME).map_err(|error| AskSigner::Stranger {
        address,
        source: io::Error::other(error),
    })?;
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|source| match seen.is_rotated() {
            true => AskSigner::Rotated,
            false => AskSigner::Stranger { address, source },
        })?;
    let is_out_of_date = seen.is_out_of_date();
    let request = match is_out_of_date {
        true => Request::Greet,
        false => make(own),
    };
    send(&mut stream, &request).await.map_err(broke_off)?;
    let reply = receive(&mut stream, MESSAGE_LEN_MAX).await;
    match reply.map_err(broke_off)? {
        Reply::Refused(why) => Err(AskSigner::Refused(why)),
        Reply::Greeted(greeted) if is_out_of_date => {
            Err(out_of_date(address, greeted.now_s, now_s()))
        }
        reply => Ok((reply, stream)),
    }
}

fn late(address: SocketAddr) -> AskSigner {
    AskSigner::BrokeOff {
        address,
        source: io::ErrorKind::TimedOut.into(),
    }
}

/// Why the certificate of the signer at `address` is not good now, with what the clocks of both say.
fn out_of_date(address: SocketAddr, its_s: u64, own_s: u64) -> AskSigner {
    let compared = compare(
        ("this host", own_s),
        (&format!("the host at {}", address.ip()), its_s),
    );
    match compared {
        Err(differ) => differ.into(),
        Ok(()) => AskSigner::OutOfDate { address },
    }
}

/// Answers the one request of a connection. A member's connection to the store goes on.
async fn answer(
    stream: TcpStream,
    from: IpAddr,
    signer: Arc<dyn Decide>,
    members: Arc<Semaphore>,
) -> io::Result<Option<MemberStream>> {
    let config = signer
        .server_config()
        .ok_or_else(|| io::Error::other("the signer has no certificate"))?;
    // Answers are small, and somebody waits for each.
    stream.set_nodelay(true)?;
    let mut stream = TlsAcceptor::from(config).accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates();
    let shown = shown.and_then(|chain| Shown::read(chain.first()?));
    let request: Request = receive(&mut stream, MESSAGE_LEN_MAX).await?;
    let (reply, of_member) = match request {
        Request::Greet => (Reply::Greeted(greeted(signer, shown).await), None),
        request => {
            let deciding = spawn_blocking(move || decide(&*signer, from, shown, request));
            deciding.await.map_err(io::Error::other)?
        }
    };
    send(&mut stream, &reply).await?;
    if let Some((shown, store)) = of_member {
        let Ok(permit) = members.try_acquire_owned() else {
            return Err(io::Error::other("too many members are connected"));
        };
        return Ok(Some(MemberStream {
            shown,
            store,
            stream,
            _permit: permit,
        }));
    }
    // The other side may have read enough.
    let _ = stream.shutdown().await;
    match reply {
        Reply::Refused(why) => Err(io::Error::other(why)),
        _ => Ok(None),
    }
}

/// Comes at once, whatever the store does: by it others see that this manager lives.
async fn greeted(signer: Arc<dyn Decide>, shown: Option<Shown>) -> Greeted {
    let is_good = |shown: &Shown| signer.standing(shown) == Standing::Good;
    let must_renew = shown.as_ref().is_some_and(|shown| !is_good(shown));
    let generation = signer.generation();
    let is_manager = match shown {
        Some(shown) => {
            let looking = spawn_blocking(move || signer.is_manager(&shown.host));
            let looked = timeout(LOOK_LIMIT, looking).await;
            looked.ok().and_then(Result::ok).flatten()
        }
        None => None,
    };
    Greeted {
        now_s: now_s(),
        must_renew,
        is_manager,
        generation,
    }
}

/// A member, and the store as it may use it.
type OfMember = (Shown, Arc<dyn Store>);

/// The reply, and the store where that is what the host wants and gets. A certificate that is not good now gets no further than to
/// be renewed. May block.
fn decide(
    signer: &dyn Decide,
    from: IpAddr,
    shown: Option<Shown>,
    request: Request,
) -> (Reply, Option<OfMember>) {
    let refused = |why: &str| Reply::Refused(why.to_owned());
    let is_good = |shown: &Shown| signer.standing(shown) == Standing::Good;
    let reply = match (request, shown) {
        (Request::Join(request), _) => signer.join(from, &request),
        (Request::Renew(request), Some(shown)) => signer.renew(&shown, &request),
        (Request::Greet, _) => refused("that is answered without asking anybody"),
        (Request::Store, Some(_)) if signer.is_cut_off() => {
            refused("this manager is out of step; another one is not")
        }
        (Request::Store, Some(shown)) if is_good(&shown) => match signer.store(&shown.host) {
            Some(store) => return (Reply::Serving, Some((shown, store))),
            None => refused(NO_MEMBER),
        },
        (Request::Manage(request), Some(shown)) if is_good(&shown) => {
            signer.manage(&shown.host, &request)
        }
        (Request::Store | Request::Manage(_), Some(_)) => {
            refused("this host's certificate must be renewed first")
        }
        (Request::Renew(_) | Request::Store | Request::Manage(_), None) => {
            refused("that is for a host that shows its certificate")
        }
    };
    (reply, None)
}

/// Says once of each address that it was refused, and counts all.
#[derive(Debug)]
struct Complaints {
    seen: Mutex<HashMap<IpAddr, u64>>,
    refused: Arc<AtomicU64>,
}

impl Complaints {
    fn tell(&self, from: IpAddr, why: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
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

const MESSAGE_LEN_MAX: usize = 64 * 1024;
const CONNECTIONS_MAX: usize = 64;
/// Twice as many as the largest cluster has hosts.
const MEMBERS_MAX: usize = 1024;
const COMPLAINTS_MAX: usize = 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const EXCHANGE_LIMIT: Duration = Duration::from_secs(15);
/// A manager that takes longer is left for the next one.
const STORE_CONNECT_LIMIT: Duration = Duration::from_millis(600);
const STORE_LIMIT: Duration = Duration::from_millis(1500);
/// What a host is told that the cluster does not know.
pub(crate) const NO_MEMBER: &str =
    "this host is revoked or has left; run `tapestry cluster leave` there and join again";
/// Whether this manager can serve a member still.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Less than whoever greets all managers waits.
const LOOK_LIMIT: Duration = Duration::from_millis(500);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::ca::{Ca, Subject, ca_hash, host_subject};
    use crate::identity::{Candidate, Identity, certificates, pinned_asking};

    fn identity(ca: &Ca, names: &[&str], lifetime: Duration) -> Identity {
        let candidate = Candidate::new().unwrap();
        let subject = Subject {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            addresses: vec![[127, 0, 0, 1].into()],
        };
        let issued = ca.sign(&candidate.request, &subject, lifetime).unwrap();
        Identity {
            host: names[0].to_owned(),
            ca: ca.certificate().to_owned(),
            certificate: issued.certificate,
            key: candidate.key,
        }
    }

    /// Answers with the host that the client has shown a certificate of.
    struct Mirror {
        service: Identity,
        asked: AtomicUsize,
        store: Arc<agent_store::RedbStore>,
        departures: watch::Sender<()>,
        /// Locked while the store is away.
        away: Mutex<()>,
        _dir: tempfile::TempDir,
    }

    impl Decide for Mirror {
        fn server_config(&self) -> Option<Arc<ServerConfig>> {
            let clients = certificates(&self.service.ca).unwrap();
            Some(Arc::new(self.service.server_config(&clients).unwrap()))
        }

        fn join(&self, _from: IpAddr, request: &JoinRequest) -> Reply {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Reply::Refused(format!("joined {}", request.name))
        }

        fn renew(&self, shown: &Shown, _request: &RenewRequest) -> Reply {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Reply::Renewed(Renewed {
                certificate: shown.host.clone(),
                ca: None,
            })
        }

        fn manage(&self, host: &str, _request: &ManageRequest) -> Reply {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Reply::Refused(format!("no order for {host}"))
        }

        fn is_manager(&self, host: &str) -> Option<bool> {
            let _waits = self.away.lock().unwrap();
            Some(host == "0a0b")
        }

        fn generation(&self) -> Option<u64> {
            Some(7)
        }

        fn standing(&self, shown: &Shown) -> Standing {
            match shown.is_good_at(now_s()) {
                true => Standing::Good,
                false => Standing::Renewable,
            }
        }

        fn store(&self, host: &str) -> Option<Arc<dyn Store>> {
            (host == "0a0b").then(|| Arc::clone(&self.store) as _)
        }

        fn is_cut_off(&self) -> bool {
            false
        }

        fn departures(&self) -> watch::Receiver<()> {
            self.departures.subscribe()
        }
    }

    async fn server(service: Identity) -> (SocketAddr, Arc<Mirror>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mirror = Arc::new(Mirror {
            service,
            asked: AtomicUsize::new(0),
            store: Arc::new(agent_store::RedbStore::open(dir.path()).unwrap()),
            departures: watch::Sender::new(()),
            away: Mutex::default(),
            _dir: dir,
        });
        tokio::spawn(serve(listener, Arc::clone(&mirror) as _, Arc::default()));
        (address, mirror)
    }

    fn renew(_: IpAddr) -> Request {
        Request::Renew(RenewRequest {
            request: "request".to_owned(),
            now_s: Some(now_s()),
        })
    }

    fn join(_: IpAddr) -> Request {
        Request::Join(JoinRequest {
            token_id: "id".into(),
            secret: "secret".into(),
            name: "new".into(),
            address: [127, 0, 0, 1].into(),
            request: "request".into(),
            now_s: Some(now_s()),
        })
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_member_is_who_its_certificate_says() {
        let (ca, _) = Ca::create("c").unwrap();
        let (address, _) = server(identity(&ca, &[SIGNER_NAME], HOUR)).await;
        let member = identity(&ca, &["0a0b"], HOUR);
        let reply = ask(address, member.asking().unwrap(), renew).await;
        assert!(
            matches!(&reply, Ok(Reply::Renewed(renewed)) if renewed.certificate == "0a0b"),
            "{reply:?}"
        );
    }

    #[tokio::test]
    async fn who_has_no_certificate_may_only_join() {
        let (ca, _) = Ca::create("c").unwrap();
        let (address, _) = server(identity(&ca, &[SIGNER_NAME], HOUR)).await;
        let pinned = || pinned_asking(ca_hash(ca.certificate()).unwrap()).unwrap();
        let joined = ask(address, pinned(), join).await.unwrap_err();
        assert_eq!(joined.to_string(), "joined new");
        let refused = ask(address, pinned(), renew).await.unwrap_err();
        assert!(matches!(refused, AskSigner::Refused(_)), "{refused:?}");
    }

    #[tokio::test]
    async fn a_signer_with_another_ca_or_another_name_is_told_nothing() {
        let ((ours, _), (other, _)) = (Ca::create("c").unwrap(), Ca::create("c").unwrap());
        let pinned = || pinned_asking(ca_hash(ours.certificate()).unwrap()).unwrap();
        for service in [
            identity(&other, &[SIGNER_NAME], HOUR),
            identity(&ours, &["0a0b"], HOUR),
        ] {
            let (address, mirror) = server(service).await;
            let refused = ask(address, pinned(), join).await.unwrap_err();
            assert!(matches!(refused, AskSigner::Stranger { .. }), "{refused:?}");
            assert_eq!(mirror.asked.load(Ordering::Relaxed), 0);
        }
    }

    #[tokio::test]
    async fn certificates_of_another_ca_are_refused() {
        let ((ours, _), (other, _)) = (Ca::create("c").unwrap(), Ca::create("c").unwrap());
        let (address, mirror) = server(identity(&ours, &[SIGNER_NAME], HOUR)).await;
        let mut stranger = identity(&other, &["0a0b"], HOUR);
        stranger.ca = ours.certificate().to_owned();
        let refused = ask(address, stranger.asking().unwrap(), renew).await;
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(mirror.asked.load(Ordering::Relaxed), 0);
    }

    /// A certificate of which nothing is left.
    async fn ended(ca: &Ca, names: &[&str]) -> Identity {
        let ended = identity(ca, names, Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        ended
    }

    #[tokio::test]
    async fn a_certificate_that_has_ended_is_renewed_and_good_for_nothing_else() {
        let (ca, _) = Ca::create("c").unwrap();
        let (address, _) = server(identity(&ca, &[SIGNER_NAME], HOUR)).await;
        let (ended, good) = (ended(&ca, &["0a0b"]).await, identity(&ca, &["0a0c"], HOUR));
        let renewed = ask(address, ended.asking().unwrap(), renew).await;
        assert!(
            matches!(&renewed, Ok(Reply::Renewed(renewed)) if renewed.certificate == "0a0b"),
            "{renewed:?}"
        );
        for (identity, must_renew) in [(ended, true), (good, false)] {
            let greeted = ask(address, identity.asking().unwrap(), |_| Request::Greet).await;
            let Ok(Reply::Greeted(greeted)) = greeted else {
                panic!("{greeted:?}");
            };
            assert_eq!(greeted.must_renew, must_renew);
            assert_eq!(greeted.is_manager, Some(must_renew));
            assert!(greeted.now_s.abs_diff(now_s()) < 60);
        }
    }

    #[tokio::test]
    async fn who_greets_a_manager_whose_store_is_away_hears_from_it_all_the_same() {
        let (ca, _) = Ca::create("c").unwrap();
        let (address, mirror) = server(identity(&ca, &[SIGNER_NAME], HOUR)).await;
        let away = mirror.away.lock().unwrap();
        let member = identity(&ca, &["0a0b"], HOUR).asking().unwrap();
        let greeted = ask(address, member, |_| Request::Greet).await;
        drop(away);
        let Ok(Reply::Greeted(greeted)) = greeted else {
            panic!("{greeted:?}");
        };
        assert_eq!((greeted.must_renew, greeted.is_manager), (false, None));
        assert_eq!(greeted.generation, Some(7));
    }

    #[tokio::test]
    async fn whose_certificate_has_ended_is_told_nothing_and_named() {
        let (ca, _) = Ca::create("c").unwrap();
        let (address, mirror) = server(ended(&ca, &[SIGNER_NAME]).await).await;
        let pinned = pinned_asking(ca_hash(ca.certificate()).unwrap()).unwrap();
        let member = identity(&ca, &["0a0b"], HOUR).asking().unwrap();
        for (asking, make) in [(pinned, join as fn(_) -> _), (member, renew)] {
            let refused = ask(address, asking, make).await.unwrap_err();
            assert!(matches!(refused, AskSigner::OutOfDate { .. }), "{refused}");
        }
        assert_eq!(mirror.asked.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_ca_key_is_not_even_asked_for_without_a_good_certificate() {
        let (ca, _) = Ca::create("c").unwrap();
        let (address, mirror) = server(identity(&ca, &[SIGNER_NAME], HOUR)).await;
        let manage = |_| Request::Manage(ManageRequest::default());
        let pinned = pinned_asking(ca_hash(ca.certificate()).unwrap()).unwrap();
        let ended = ended(&ca, &["0a0b"]).await.asking().unwrap();
        for asking in [pinned, ended] {
            let refused = ask(address, asking, manage).await.unwrap_err();
            assert!(matches!(refused, AskSigner::Refused(_)), "{refused:?}");
        }
        assert_eq!(mirror.asked.load(Ordering::Relaxed), 0);
        let good = identity(&ca, &["0a0c"], HOUR).asking().unwrap();
        let refused = ask(address, good, manage).await.unwrap_err();
        assert_eq!(refused.to_string(), "no order for 0a0c");
    }

    #[test]
    fn a_clock_that_is_off_is_named_in_both_directions() {
        let address = "192.0.2.1:4790".parse().unwrap();
        let said = |its_s, own_s| out_of_date(address, its_s, own_s).to_string();
        let ahead = said(1_000_000, 1_090_000);
        assert!(
            ahead.starts_with(
                "the clock of this host is 1 d 1 h ahead of the clock of the host at 192.0.2.1;"
            ),
            "{ahead}"
        );
        let behind = said(1_090_000, 1_000_000);
        assert!(
            behind.starts_with(
                "the clock of the host at 192.0.2.1 is 1 d 1 h ahead of the clock of this host;"
            ),
            "{behind}"
        );
        let ended = said(1_000_000, 1_000_200);
        assert!(
            ended.starts_with("the certificate of 192.0.2.1:4790 has ended"),
            "{ended}"
        );
    }

    /// The CA that comes after `old`, with the bridge to it.
    fn successor(old: &Ca) -> (Ca, String) {
        let (new, _) = Ca::create("c").unwrap();
        let bridge = old.bridge_to(&new).unwrap();
        (new, bridge)
    }

    #[tokio::test]
    async fn a_host_that_knows_only_a_former_ca_finds_its_way_over_the_bridges() {
        let (first, _) = Ca::create("c").unwrap();
        let (second, bridge) = successor(&first);
        let (third, last_bridge) = successor(&second);
        let mut service = identity(&third, &[SIGNER_NAME], HOUR);
        service.certificate += &(last_bridge + &bridge);
        service.ca += &(second.certificate().to_owned() + first.certificate());
        let (address, _) = server(service).await;
        let was_off = identity(&first, &["0a0b"], HOUR);
        let renewed = ask(address, was_off.asking().unwrap(), renew).await;
        assert!(renewed.is_ok(), "{renewed:?}");
    }

    #[tokio::test]
    async fn a_token_from_before_a_rotation_is_told_as_that() {
        let (old, _) = Ca::create("c").unwrap();
        let (new, bridge) = successor(&old);
        let mut service = identity(&new, &[SIGNER_NAME], HOUR);
        service.certificate += &bridge;
        service.ca += old.certificate();
        let (address, mirror) = server(service).await;
        let pinned = pinned_asking(ca_hash(old.certificate()).unwrap()).unwrap();
        let refused = ask(address, pinned, join).await.unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("before the cluster's CA was rotated"),
            "{refused}"
        );
        assert_eq!(mirror.asked.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_store_is_for_members_that_show_a_certificate() {
        let (ca, _) = Ca::create("c").unwrap();
        let (address, mirror) = server(identity(&ca, &[SIGNER_NAME], HOUR)).await;
        let client = |name: &str| identity(&ca, &[name], HOUR).asking().unwrap();
        let mut stream = ask_for_store(address, client("0a0b")).await.unwrap();
        mirror
            .store
            .put_if("a", serde_json::json!(1), agent_store::Expected::Absent)
            .unwrap();
        let asked = agent_store::wire::Asked {
            number: 1,
            call: agent_store::wire::Call::Get("a".to_owned()),
        };
        send(&mut stream, &asked).await.unwrap();
        let said: agent_store::wire::Said = receive(&mut stream, MESSAGE_LEN_MAX).await.unwrap();
        assert!(format!("{said:?}").contains("Entry(Some("), "{said:?}");
        let refused = ask_for_store(address, client("0a0c")).await.unwrap_err();
        assert!(matches!(refused, AskSigner::Refused(_)), "{refused:?}");
        let pinned = pinned_asking(ca_hash(ca.certificate()).unwrap()).unwrap();
        let refused = ask_for_store(address, pinned).await.unwrap_err();
        assert!(matches!(refused, AskSigner::Refused(_)), "{refused:?}");
    }

    #[test]
    fn the_ca_names_whom_it_knows_and_not_what_a_request_says() {
        let (ca, _) = Ca::create("c").unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let wish = rcgen::CertificateParams::new(vec![SIGNER_NAME.to_owned()]).unwrap();
        let request = wish.serialize_request(&key).unwrap().pem().unwrap();
        let subject = host_subject("0a0b", [192, 0, 2, 1].into());
        let issued = ca.sign(&request, &subject, HOUR).unwrap();
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        assert_eq!(Shown::read(&der).unwrap().host, "0a0b");
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 2);
    }
}
