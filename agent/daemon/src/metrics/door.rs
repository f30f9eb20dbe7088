//! The address at which metrics are scraped, where the configuration has one.
//!
//! The guardian holds the socket, so that a scrape during a restart of the agent waits for the next one. Here is nothing else to be
//! asked for, and nothing that changes anything.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Metrics;
use crate::ground::Ground;

/// The socket, open or not.
pub(crate) struct Door(Option<StdTcpListener>);

impl Door {
    /// As the configuration says. An address that cannot be had is warned of: networks go on without.
    pub(crate) fn open(ground: &Ground) -> Self {
        let kept = ground.held.take(METRICS).map(StdTcpListener::from);
        let Some(address) = ground.config.metrics.listen else {
            if kept.is_some() {
                ground.held.release(METRICS);
            }
            return Self(None);
        };
        let is_same = |kept: &StdTcpListener| kept.local_addr().is_ok_and(|at| at == address);
        let listener = match kept.filter(is_same) {
            Some(kept) => Ok(kept),
            None => StdTcpListener::bind(address),
        };
        match listener.and_then(|listener| ready(listener, ground)) {
            Ok(listener) => Self(Some(listener)),
            Err(error) => {
                ground.warn(warning(address, &error));
                Self(None)
            }
        }
    }

    /// Answers until dropped.
    pub(crate) async fn serve(self: Arc<Self>, metrics: Arc<Metrics>) {
        let cloned = self.0.as_ref().map(StdTcpListener::try_clone);
        let listener = match cloned.map(|cloned| cloned.and_then(TcpListener::from_std)) {
            Some(Ok(listener)) => listener,
            Some(Err(error)) => return tracing::warn!(%error, "metrics are not served"),
            None => return,
        };
        let router = Router::new()
            .route("/metrics", get(scrape))
            .with_state(metrics);
        let service = TowerToHyperService::new(router);
        let places = Arc::new(Semaphore::new(CLIENTS_MAX));
        loop {
            // Whoever is one too many waits in the socket's queue.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let answering = answer(stream, service.clone());
                    tokio::spawn(async move {
                        answering.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a scrape waits");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn ready(listener: StdTcpListener, ground: &Ground) -> io::Result<StdTcpListener> {
    listener.set_nonblocking(true)?;
    ground.held.hold(METRICS, &listener);
    tracing::info!(address = %listener.local_addr()?, "metrics are served");
    Ok(listener)
}

fn warning(address: SocketAddr, error: &io::Error) -> String {
    format!(
        "metrics are not served at {address}: {error}; give another address at [metrics] listen"
    )
}

async fn scrape(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    metrics.answer(&headers).await
}

async fn answer(stream: TcpStream, service: TowerToHyperService<Router>) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_PATIENCE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a scraper hung up"),
        Err(_) => tracing::debug!("a scraper that stayed too long was let go"),
    }
}

/// By which the guardian holds the socket.
const METRICS: &str = "listen/metrics";
const CLIENTS_MAX: usize = 16;
const HEADERS_PATIENCE: Duration = Duration::from_secs(10);
/// Scrapers keep a connection from scrape to scrape, and open another when it ends.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(600);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
