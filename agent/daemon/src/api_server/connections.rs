//! Connections to the API: how many there may be, and how long a client may take to say what it wants.
//!
//! Whoever is one too many is told so at once. A client that says nothing is let go, so that a crowd of those keeps nobody out
//! for long.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use agent_api::{ApiError, ErrorKind};
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::peer::Peer;

/// Serves the API until it `closes`, which ends each connection when what was asked there is answered (who has just come may ask
/// still), or until dropped; answers that have begun go on.
pub(crate) async fn serve(
    listener: UnixListener,
    router: Router,
    mut closes: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let api = TowerToHyperService::new(router);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closes.changed() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a client of the API waits");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                let answering = answer(stream, api.clone(), place, closes.clone());
                drop(tokio::spawn(answering));
            }
            Err(_) => refuse(&stream),
        }
    }
    drop(listener);
    // Each connection has a place until its end.
    let _ = places.acquire_many(PLACES).await;
}

async fn answer(
    stream: UnixStream,
    api: TowerToHyperService<Router>,
    place: OwnedSemaphorePermit,
    closes: watch::Receiver<bool>,
) {
    let peer = Peer::of_stream(&stream);
    let (asks, asked) = watch::channel(false);
    let service = service_fn(move |mut request: Request<Incoming>| {
        asks.send_replace(true);
        request.extensions_mut().insert(ConnectInfo(peer.clone()));
        api.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let served = tokio::select! {
        served = &mut served => served,
        () = closing(closes, asked) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a client of the API hung up, or said nothing");
    }
    drop(place);
}

/// The API closes, and whoever has connected has had the time to ask.
async fn closing(mut closes: watch::Receiver<bool>, mut asked: watch::Receiver<bool>) {
    let _ = closes.changed().await;
    let _ = timeout(FIRST_PATIENCE, asked.wait_for(|asked| *asked)).await;
}

fn refuse(stream: &UnixStream) {
    let why = format!(
        "{CONNECTIONS_MAX} clients are connected to the agent already; try again when one of them has its answer"
    );
    let error = ApiError::new(ErrorKind::Exhausted, why);
    let body = serde_json::to_string(&error).unwrap_or_default();
    let (status, length) = (error.kind.status(), body.len());
    let answer = format!(
        "HTTP/1.1 {status} Insufficient Storage\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    // A new connection takes that much at once, or is gone.
    let _ = stream.try_write(answer.as_bytes());
}

/// More than may wait ([`super::waiters`]).
const CONNECTIONS_MAX: usize = PLACES as usize;
const PLACES: u32 = 1024;
/// A client asks as soon as it is connected.
const FIRST_PATIENCE: Duration = Duration::from_millis(500);
const HEADERS_PATIENCE: Duration = Duration::from_secs(10);
/// No descriptor was free, for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: tapestry\r\nconnection: close\r\n\r\n";

    async fn answer_of(mut client: UnixStream) -> String {
        let mut told = String::new();
        client.write_all(REQUEST).await.unwrap();
        client.read_to_string(&mut told).await.unwrap();
        told
    }

    #[tokio::test]
    async fn who_came_before_the_api_closed_is_answered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let (close, closes) = watch::channel(false);
        let router = Router::new().route("/", get(async || "here"));
        let served = tokio::spawn(serve(UnixListener::bind(&path).unwrap(), router, closes));
        let first = UnixStream::connect(&path).await.unwrap();
        let later = UnixStream::connect(&path).await.unwrap();
        assert!(answer_of(later).await.ends_with("here"));
        close.send(true).unwrap();
        tokio::task::yield_now().await;
        assert!(answer_of(first).await.ends_with("here"));
        served.await.unwrap();
    }
}
