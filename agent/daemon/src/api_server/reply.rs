//! How a call into the agent becomes an HTTP response.

use std::sync::Arc;

use agent_api::{ApiError, ErrorKind};
use axum::Json;
use axum::body::{Body as AxumBody, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::Channel;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::agent::Agent;

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
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(Refusal(ApiError::new(
                ErrorKind::Invalid,
                one_line(&rejection),
            ))),
        }
    }
}

/// Runs `call` where it may block: the agent's work is system calls.
pub(super) async fn blocking<T: Send + 'static>(
    agent: Arc<Agent>,
    call: impl FnOnce(&Arc<Agent>) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(move || call(&agent)).await {
        Ok(result) => result.map_err(Refusal),
        Err(_) => Err(Refusal(ApiError::new(
            ErrorKind::Failed,
            "the agent failed inside this request; its log says where",
        ))),
    }
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

pub(super) async fn no_such_route(uri: Uri) -> Refusal {
    Refusal(ApiError::new(
        ErrorKind::NotFound,
        format!("no route {}; GET /v1/openapi.json lists them", uri.path()),
    ))
}

fn one_line(rejection: &JsonRejection) -> String {
    rejection.body_text().replace('\n', " ")
}

const LINES_BUFFERED: usize = 16;
