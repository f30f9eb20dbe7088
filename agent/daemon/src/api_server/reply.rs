//! How a call into the agent becomes an HTTP response.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use agent_api::{ApiError, ErrorKind};
use axum::Json;
use axum::body::{Body as AxumBody, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::body::{Body as HttpBody, Frame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::agent::Agent;
use crate::panics::contained_in;

/// A failure, as its status and its one-line body.
pub(super) struct Refusal(ApiError);

pub(super) type Reply<T> = Result<Json<T>, Refusal>;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

/// A JSON body; what does not parse is refused with the parser's own words.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let read = timeout(BODY_PATIENCE, Json::<T>::from_request(request, state));
        let Ok(read) = read.await else {
            let patience = BODY_PATIENCE.as_secs();
            return Err(Refusal(ApiError::new(
                ErrorKind::Invalid,
                format!("the body did not come within {patience} s; send it at once"),
            )));
        };
        match read {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Refusal(ApiError::new(
                    ErrorKind::TooLong,
                    format!(
                        "the body is longer than {} MiB; ask for less at once",
                        BODY_LEN_MAX >> 20
                    ),
                )))
            }
            Err(rejection) => Err(Refusal(ApiError::new(
                ErrorKind::Invalid,
                one_line(&rejection.body_text()),
            ))),
        }
    }
}

/// Gives every failure the one shape it has, also those that axum answers itself: a query or a path that does not parse, a
/// method that a route does not have.
pub(super) async fn in_one_shape(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let Some(response) = contained_in(next.run(request)).await else {
        return failed_inside().into_response();
    };
    let status = response.status();
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if is_json || !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let (head, body) = response.into_parts();
    let said = axum::body::to_bytes(body, SAID_LEN_MAX)
        .await
        .unwrap_or_default();
    let said = one_line(&String::from_utf8_lossy(&said));
    let error = match status {
        StatusCode::METHOD_NOT_ALLOWED => ApiError::new(
            ErrorKind::MethodNotAllowed,
            format!("{path} does not take {method}; GET /v1/openapi.json lists what it takes"),
        ),
        _ if status.is_client_error() => ApiError::new(ErrorKind::Invalid, said),
        _ => ApiError::new(ErrorKind::Failed, said),
    };
    let mut response = Refusal(error).into_response();
    if let Some(allowed) = head.headers.get(ALLOW) {
        response.headers_mut().insert(ALLOW, allowed.clone());
    }
    response
}

/// Runs `call` where it may block: the agent's work is system calls.
pub(super) async fn blocking<T: Send + 'static>(
    agent: Arc<Agent>,
    call: impl FnOnce(&Arc<Agent>) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(move || call(&agent)).await {
        Ok(result) => result.map_err(Refusal),
        Err(_) => Err(failed_inside()),
    }
}

fn failed_inside() -> Refusal {
    Refusal(ApiError::new(
        ErrorKind::Failed,
        "the agent failed inside this request; its log says where",
    ))
}

/// A body that goes on as long as `items` come, one line each.
pub(super) fn lines<T: Send + 'static>(
    mut items: mpsc::Receiver<T>,
    to_line: impl Fn(T) -> Vec<u8> + Send + 'static,
) -> Response {
    let (mut sender, body) = Channel::<Bytes>::new(LINES_BUFFERED);
    tokio::spawn(async move {
        while let Some(item) = items.recv().await {
            if sender.send_data(to_line(item).into()).await.is_err() {
                return;
            }
        }
    });
    let kind = [(CONTENT_TYPE, "application/x-ndjson")];
    (kind, AxumBody::new(body)).into_response()
}

/// A body of what comes, whose sender sees when the client has gone.
pub(super) fn chunks_of(kind: &'static str, chunks: mpsc::Receiver<Bytes>) -> Response {
    let kind = [(CONTENT_TYPE, kind)];
    (kind, AxumBody::new(Chunks(chunks))).into_response()
}

struct Chunks(mpsc::Receiver<Bytes>);

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.0.poll_recv(context);
        chunk.map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// An answer of one line that goes on until `over`. `hold` goes with it: then, or when the client hangs up.
pub(super) fn held<T: Serialize>(
    answer: &T,
    hold: impl Send + 'static,
    over: impl Future<Output = ()> + Send + 'static,
) -> Result<Response, Refusal> {
    let mut line = serde_json::to_vec(answer)
        .map_err(|error| Refusal(ApiError::new(ErrorKind::Failed, error.to_string())))?;
    line.push(b'\n');
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        if sender.send_data(line.into()).await.is_ok() {
            over.await;
        }
    });
    let body = body.map_frame(move |frame| {
        let _ = &hold;
        frame
    });
    let kind = [(CONTENT_TYPE, "application/json")];
    Ok((kind, AxumBody::new(body)).into_response())
}

pub(super) async fn no_such_route(uri: Uri) -> Refusal {
    Refusal(ApiError::new(
        ErrorKind::NotFound,
        format!("no route {}; GET /v1/openapi.json lists them", uri.path()),
    ))
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

const LINES_BUFFERED: usize = 16;
/// All ports of both protocols published, each by itself, are two thirds of this.
pub(super) const BODY_LEN_MAX: usize = 16 << 20;
/// Sixteen MiB take a fraction of a second on a unix socket.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
const SAID_LEN_MAX: usize = 4096;
