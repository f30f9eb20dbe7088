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

/// What one published port may hold.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) associations: usize,
    /// How long an association lives after the last datagram in either direction.
    pub(super) idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            associations: 1024,
            idle: Duration::from_secs(60),
        }
    }
}

/// Relays until dropped; associations end with it.
pub(super) async fn serve(socket: Arc<UdpSocket>, targets: Vec<SocketAddr>, limits: Limits) {
    let Some(&target) = targets.first() else {
        return;
    };
    let mut proxy = Proxy {
        socket,
        target,
        limits,
        associations: HashMap::new(),
        tasks: JoinSet::new(),
    };
    loop {
        tokio::select! {
            ready = proxy.socket.readable() => match ready {
                Ok(()) => proxy.forward_waiting().await,
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
    limits: Limits,
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
    /// Most ports are silent most of the time, so a buffer lives no longer than there is something to read.
    async fn forward_waiting(&mut self) {
        let mut buffer = Vec::with_capacity(DATAGRAM_BYTES);
        for _ in 0..BATCH {
            buffer.clear();
            match self.socket.try_recv_buf_from(&mut buffer) {
                Ok((_, client)) => self.forward(client, &buffer).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error of an earlier reply; the next read is unaffected.
                Err(_) => return sleep(ERROR_PAUSE).await,
            }
        }
    }

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
        if self.associations.len() >= self.limits.associations {
            self.evict();
        }
        let any: SocketAddr = match self.target {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let upstream = Arc::new(UdpSocket::bind(any).await?);
        upstream.connect(self.target).await?;
        let (activity, heard) = mpsc::channel(1);
        let replies = Replies {
            socket: Arc::clone(&self.socket),
            upstream: Arc::clone(&upstream),
            client,
            idle: self.limits.idle,
        };
        self.tasks.spawn(replies.pass(heard));
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

/// The way back of one association.
struct Replies {
    socket: Arc<UdpSocket>,
    upstream: Arc<UdpSocket>,
    client: SocketAddr,
    idle: Duration,
}

impl Replies {
    /// Passes the container's datagrams back until both sides are silent, or the association is dropped.
    async fn pass(self, mut heard: mpsc::Receiver<()>) -> SocketAddr {
        let mut deadline = Instant::now() + self.idle;
        loop {
            tokio::select! {
                active = heard.recv() => match active {
                    Some(()) => deadline = Instant::now() + self.idle,
                    None => return self.client,
                },
                ready = timeout_at(deadline, self.upstream.readable()) => match ready {
                    Ok(Ok(())) => {
                        if self.pass_waiting().await {
                            deadline = Instant::now() + self.idle;
                        }
                    }
                    Ok(Err(_)) => sleep(ERROR_PAUSE).await,
                    Err(_) => return self.client,
                },
            }
        }
    }

    /// Whether there was something to pass.
    async fn pass_waiting(&self) -> bool {
        let mut buffer = Vec::with_capacity(DATAGRAM_BYTES);
        for passed in 0..BATCH {
            buffer.clear();
            match self.upstream.try_recv_buf(&mut buffer) {
                Ok(_) => {
                    let _ = self.socket.send_to(&buffer, self.client).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return passed > 0,
                // The container's port is closed; it may open.
                Err(_) => {
                    sleep(ERROR_PAUSE).await;
                    return passed > 0;
                }
            }
        }
        true
    }
}

/// Datagrams handled before the other side is looked at.
const BATCH: usize = 64;
const ERROR_PAUSE: Duration = Duration::from_millis(5);
const DATAGRAM_BYTES: usize = 65_535;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn socket() -> UdpSocket {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
    }

    /// A proxy in front of a server, and where clients send to.
    async fn proxied(limits: Limits) -> (UdpSocket, SocketAddr, JoinSet<()>) {
        let (server, front) = (socket().await, socket().await);
        let address = front.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(
            Arc::new(front),
            vec![server.local_addr().unwrap()],
            limits,
        ));
        (server, address, tasks)
    }

    /// The association's address, as the server sees it.
    async fn seen(server: &UdpSocket, client: &UdpSocket, to: SocketAddr) -> SocketAddr {
        client.send_to(b"x", to).await.unwrap();
        let mut buffer = [0; 8];
        let received = timeout(Duration::from_secs(5), server.recv_from(&mut buffer));
        received.await.unwrap().unwrap().1
    }

    #[tokio::test]
    async fn an_idle_association_is_forgotten_and_a_busy_one_is_not() {
        let limits = Limits {
            idle: Duration::from_millis(200),
            ..Limits::default()
        };
        let (server, to, _tasks) = proxied(limits).await;
        let client = socket().await;
        let first = seen(&server, &client, to).await;
        for _ in 0..6 {
            sleep(Duration::from_millis(50)).await;
            assert_eq!(seen(&server, &client, to).await, first);
        }
        sleep(Duration::from_millis(400)).await;
        assert_ne!(seen(&server, &client, to).await, first);
    }

    #[tokio::test]
    async fn at_the_bound_the_longest_silent_client_makes_room() {
        let limits = Limits {
            associations: 2,
            ..Limits::default()
        };
        let (server, to, _tasks) = proxied(limits).await;
        let clients = [socket().await, socket().await, socket().await];
        let mut first_seen = Vec::new();
        for client in &clients {
            first_seen.push(seen(&server, client, to).await);
        }
        assert_eq!(seen(&server, &clients[2], to).await, first_seen[2]);
        assert_eq!(seen(&server, &clients[1], to).await, first_seen[1]);
        assert_ne!(seen(&server, &clients[0], to).await, first_seen[0]);
    }
}
