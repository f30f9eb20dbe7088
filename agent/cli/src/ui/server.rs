//! The page's server: files from the command, answers from the agent.

use std::io;
use std::sync::Arc;

use agent_api::{ApiError, Client, ClientError, ErrorKind};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{StatusCode, request};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use tokio::net::TcpListener;

use super::guard::{Asked, Guard, Pass, Refusal};

struct Server {
    guard: Guard,
    client: Client,
}

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener, guard: Guard, client: Client) -> io::Result<()> {
    let server = Arc::new(Server { guard, client });
    let router = Router::new().fallback(answer).with_state(server);
    axum::serve(listener, router).await
}

async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    match server.guard.judge(&asked(&head)) {
        Ok(Pass::File(file)) => {
            let kind = (CONTENT_TYPE, file.kind);
            ([kind], HEADERS, file.text).into_response()
        }
        Ok(Pass::Agent) => match pass(&server.client, &head, body).await {
            Ok(answer) => answer,
            Err(error) => told(
                StatusCode::BAD_GATEWAY,
                ErrorKind::Failed,
                &error.to_string(),
            ),
        },
        Err(refusal) => told(status(refusal), refusal.kind(), &refusal.to_string()),
    }
}

fn asked(head: &request::Parts) -> Asked<'_> {
    let field = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    Asked {
        method: head.method.as_str(),
        path: head.uri.path(),
        host: field(HOST),
        origin: field(ORIGIN),
        authorization: field(AUTHORIZATION),
    }
}

/// What the agent answers, as it comes.
async fn pass(client: &Client, head: &request::Parts, body: Body) -> Result<Response, ClientError> {
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return Ok(told(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::TooLong,
            "the page sends no such thing",
        ));
    };
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let answer = client.forward(head.method.clone(), path, body).await?;
    Ok(answer.map(Body::new))
}

/// In the form of the agent's own errors.
fn told(status: StatusCode, kind: ErrorKind, message: &str) -> Response {
    (status, HEADERS, Json(ApiError::new(kind, message))).into_response()
}

fn status(refusal: Refusal) -> StatusCode {
    StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::FORBIDDEN)
}

/// The page is made of this server's files, is in no frame of another one, and tells nobody where it is.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// Octets: a frame in hexadecimal digits, and what is around it.
const BODY_MAX: usize = 1 << 20;
