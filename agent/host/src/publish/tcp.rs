//! The TCP proxy of a published port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Accepts until dropped; connections end with it.
pub(super) async fn serve(listener: Arc<TcpListener>, targets: Vec<SocketAddr>) {
    let targets: Arc<[SocketAddr]> = targets.into();
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // At the bound clients wait in the backlog.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((client, _)) => {
                let targets = Arc::clone(&targets);
                connections.spawn(async move {
                    if let Err(error) = relay(client, &targets).await {
                        tracing::debug!(%error, "a published connection ended");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on a published port");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn relay(mut client: TcpStream, targets: &[SocketAddr]) -> io::Result<()> {
    let mut container = match connect(targets).await {
        Ok(container) => container,
        Err(error) => {
            // The client was let in already; a reset is as near to a refusal as it gets.
            client.set_zero_linger()?;
            return Err(error);
        }
    };
    client.set_nodelay(true)?;
    container.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut container).await?;
    Ok(())
}

async fn connect(targets: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for target in targets {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(elapsed) => failure = elapsed.into(),
        }
    }
    Err(failure)
}

const CONNECTIONS: usize = 4096;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
