//! The manager's side: who comes in, and what each is answered.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_store::Store;
use agent_store::wire::{receive, send};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, server};

use super::{
    EXCHANGE_LIMIT, Greeted, JoinRequest, MESSAGE_LEN_MAX, NO_MEMBER, RenewRequest, Reply, Request,
};
use crate::clock::now_s;
use crate::handover::ManageRequest;
use crate::trust::{Shown, Standing};

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

/// Serves until the task is dropped. `refused` counts those who were not admitted or certified.
pub(crate) async fn serve(
    listener: TcpListener,
    manager: Arc<dyn Decide>,
    refused: Arc<AtomicU64>,
) {
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
        let (manager, complaints) = (Arc::clone(&manager), Arc::clone(&complaints));
        let members = Arc::clone(&doors.members);
        tokio::spawn(async move {
            let answering = answer(stream, from.ip(), Arc::clone(&manager), members);
            let member = match timeout(EXCHANGE_LIMIT, answering).await {
                Ok(Ok(member)) => member,
                Ok(Err(error)) => return complaints.tell(from.ip(), &error.to_string()),
                Err(_) => return complaints.tell(from.ip(), "it was too slow"),
            };
            drop(permit);
            if let Some(member) = member {
                member.serve(&*manager).await;
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
    async fn serve(self, manager: &dyn Decide) {
        let left = self.shown.until_s.saturating_sub(now_s());
        let (host, mut departures) = (self.shown.host.clone(), manager.departures());
        let may_stay = || {
            manager.standing(&self.shown) == Standing::Good
                && manager.store(&host).is_some()
                && !manager.is_cut_off()
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

/// Answers the one request of a connection. A member's connection to the store goes on.
async fn answer(
    stream: TcpStream,
    from: IpAddr,
    manager: Arc<dyn Decide>,
    members: Arc<Semaphore>,
) -> io::Result<Option<MemberStream>> {
    let config = manager
        .server_config()
        .ok_or_else(|| io::Error::other("the manager has no certificate"))?;
    // Answers are small, and somebody waits for each.
    stream.set_nodelay(true)?;
    let mut stream = TlsAcceptor::from(config).accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates();
    let shown = shown.and_then(|chain| Shown::read(chain.first()?));
    let request: Request = receive(&mut stream, MESSAGE_LEN_MAX).await?;
    let (reply, of_member) = match request {
        Request::Greet => (Reply::Greeted(greeted(manager, shown).await), None),
        request => {
            let deciding = spawn_blocking(move || decide(&*manager, from, shown, request));
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
async fn greeted(manager: Arc<dyn Decide>, shown: Option<Shown>) -> Greeted {
    let is_good = |shown: &Shown| manager.standing(shown) == Standing::Good;
    let must_renew = shown.as_ref().is_some_and(|shown| !is_good(shown));
    let generation = manager.generation();
    let is_manager = match shown {
        Some(shown) => {
            let looking = spawn_blocking(move || manager.is_manager(&shown.host));
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
    manager: &dyn Decide,
    from: IpAddr,
    shown: Option<Shown>,
    request: Request,
) -> (Reply, Option<OfMember>) {
    let refused = |why: &str| Reply::Refused(why.to_owned());
    let is_good = |shown: &Shown| manager.standing(shown) == Standing::Good;
    let reply = match (request, shown) {
        (Request::Join(request), _) => manager.join(from, &request),
        (Request::Renew(request), Some(shown)) => manager.renew(&shown, &request),
        (Request::Greet, _) => refused("that is answered without asking anybody"),
        (Request::Store, Some(_)) if manager.is_cut_off() => {
            refused("this manager is out of step; another one is not")
        }
        (Request::Store, Some(shown)) if is_good(&shown) => match manager.store(&shown.host) {
            Some(store) => return (Reply::Serving, Some((shown, store))),
            None => refused(NO_MEMBER),
        },
        (Request::Manage(request), Some(shown)) if is_good(&shown) => {
            manager.manage(&shown.host, &request)
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

const CONNECTIONS_MAX: usize = 64;
/// Twice as many as the largest cluster has hosts.
const MEMBERS_MAX: usize = 1024;
const COMPLAINTS_MAX: usize = 1024;
/// Whether this manager can serve a member still.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Less than whoever greets all managers waits.
const LOOK_LIMIT: Duration = Duration::from_millis(500);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
