//! The UDP proxy of a published port.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

/// Relays until dropped; associations end with it.
pub(super) async fn serve(socket: UdpSocket, targets: Vec<SocketAddr>) {
    let Some(&target) = targets.first() else {
        return;
    };
    let mut proxy = Proxy {
        socket: Arc::new(socket),
        target,
        associations: HashMap::new(),
        tasks: JoinSet::new(),
    };
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        tokio::select! {
            received = proxy.socket.recv_from(&mut buffer) => match received {
                Ok((length, client)) => proxy.forward(client, &buffer[..length]).await,
                // An ICMP error of an earlier reply; the next read is unaffected.
                Err(_) => sleep(ERROR_PAUSE).await,
            },
            Some(ended) = proxy.tasks.join_next() => {
                if let Ok(client) = ended {
                    proxy.forget(client);
                }
            }
        }
    }
}

struct Proxy {
    socket: Arc<UdpSocket>,
    target: SocketAddr,
    associations: HashMap<SocketAddr, Association>,
    tasks: JoinSet<SocketAddr>,
}

/// One client: its socket towards the container, and when it was last heard.
struct Association {
    upstream: Arc<UdpSocket>,
    heard: Instant,
    /// Keeps the reply task awake to the client's own activity; closing it ends the task.
    activity: mpsc::Sender<()>,
}

impl Proxy {
    async fn forward(&mut self, client: SocketAddr, datagram: &[u8]) {
        self.forget(client);
        if !self.associations.contains_key(&client) {
            match self.associate(client).await {
                Ok(association) => {
                    self.associations.insert(client, association);
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot reach a container for a published port");
                    return;
                }
            }
        }
        if let Some(association) = self.associations.get_mut(&client) {
            association.heard = Instant::now();
            let _ = association.activity.try_send(());
            let _ = association.upstream.send(datagram).await;
        }
    }

    async fn associate(&mut self, client: SocketAddr) -> io::Result<Association> {
        if self.associations.len() >= ASSOCIATIONS {
            self.evict();
        }
        let any: SocketAddr = match self.target {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let upstream = Arc::new(UdpSocket::bind(any).await?);
        upstream.connect(self.target).await?;
        let (activity, heard) = mpsc::channel(1);
        let replies = replies(
            Arc::clone(&self.socket),
            Arc::clone(&upstream),
            client,
            heard,
        );
        self.tasks.spawn(replies);
        Ok(Association {
            upstream,
            heard: Instant::now(),
            activity,
        })
    }

    /// The client that was silent for longest makes room.
    fn evict(&mut self) {
        let oldest = self
            .associations
            .iter()
            .min_by_key(|(_, association)| association.heard)
            .map(|(client, _)| *client);
        if let Some(client) = oldest {
            self.associations.remove(&client);
        }
    }

    /// Drops an association whose reply task has ended; an evicted client may be back with a new one, which stays.
    fn forget(&mut self, client: SocketAddr) {
        if let Some(association) = self.associations.get(&client)
            && association.activity.is_closed()
        {
            self.associations.remove(&client);
        }
    }
}

/// Passes the container's datagrams back until both sides are silent.
async fn replies(
    socket: Arc<UdpSocket>,
    upstream: Arc<UdpSocket>,
    client: SocketAddr,
    mut heard: mpsc::Receiver<()>,
) -> SocketAddr {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let mut deadline = Instant::now() + IDLE;
    loop {
        tokio::select! {
            active = heard.recv() => match active {
                Some(()) => deadline = Instant::now() + IDLE,
                None => return client,
            },
            received = timeout_at(deadline, upstream.recv(&mut buffer)) => match received {
                Ok(Ok(length)) => {
                    deadline = Instant::now() + IDLE;
                    let _ = socket.send_to(&buffer[..length], client).await;
                }
                // The container's port is closed; it may open.
                Ok(Err(_)) => sleep(ERROR_PAUSE).await,
                Err(_) => return client,
            },
        }
    }
}

const ASSOCIATIONS: usize = 1024;
const IDLE: Duration = Duration::from_secs(60);
const ERROR_PAUSE: Duration = Duration::from_millis(5);
const DATAGRAM_BYTES: usize = 65_535;
