//! The client of the REST API: HTTP/1 over the agent's unix socket, one connection per request.

mod cluster;
mod containers;
mod endpoints;
mod networks;

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::{ApiError, Capture, DEFAULT_SOCKET, ErrorKind, EventQuery, Info, Version};

/// Speaks to one agent. Holds no connection: an agent may restart between two calls.
///
/// Every method needs a tokio runtime with I/O, and waits as long as the agent takes; dropping the future gives up.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why a request brought no answer. Every variant is one line that names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no agent at {}; start one with: {}", .socket.display(), start_command(.socket))]
    NotRunning { socket: PathBuf },
    #[error(
        "the socket {} was left behind by an agent that is gone; start one with: {}",
        .socket.display(),
        start_command(.socket)
    )]
    Stale { socket: PathBuf },
    #[error(
        "no permission to use {}; run as root, or as a member of the group that owns the socket",
        .socket.display()
    )]
    Denied { socket: PathBuf },
    #[error("{} is no socket; name the agent's with --socket, as in --socket {DEFAULT_SOCKET}", .socket.display())]
    NoSocket { socket: PathBuf },
    #[error("cannot connect to {}: {source}; check that --socket names an agent's socket", .socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error(
        "the agent at {} broke off the conversation ({reason}); its log says why",
        .socket.display()
    )]
    BrokeOff { socket: PathBuf, reason: String },
    #[error(
        "the agent at {} does not answer {request} as version {} expects ({reason}); run both in the same version",
        .socket.display(),
        env!("CARGO_PKG_VERSION")
    )]
    Unexpected {
        socket: PathBuf,
        request: String,
        reason: String,
    },
    /// The agent understood, and said no.
    #[error(transparent)]
    Refused(#[from] ApiError),
}

impl ClientError {
    /// Whether the agent says that the named thing does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind() == Some(ErrorKind::NotFound)
    }

    /// What sort of refusal it is; `None` where no agent refused.
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Refused(error) => Some(error.kind),
            _ => None,
        }
    }
}

type Answer<T> = Result<T, ClientError>;

impl Client {
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub async fn version(&self) -> Answer<Version> {
        self.fetch("/version").await
    }

    pub async fn info(&self) -> Answer<Info> {
        self.fetch("/info").await
    }

    /// The API's own description, as OpenAPI 3.
    pub async fn openapi(&self) -> Answer<serde_json::Value> {
        self.fetch("/openapi.json").await
    }

    /// What happens, an [`crate::Event`] a line.
    pub async fn events(&self, query: &EventQuery) -> Answer<LogStream> {
        let mut path = "/events?".to_owned();
        let given = [("since_ms", query.since_ms), ("until_ms", query.until_ms)];
        for (name, ms) in given {
            if let Some(ms) = ms {
                // Writing to a string does not fail.
                let _ = write!(path, "{name}={ms}&");
            }
        }
        if !query.filters.is_empty() {
            let filters = serde_json::to_string(&query.filters);
            let filters =
                filters.map_err(|error| self.unexpected("GET", "/events", &error.to_string()))?;
            let _ = write!(path, "filters={}", segment(&filters));
        }
        self.follow(&path).await
    }

    /// `path` ends where what is captured of it is named.
    async fn capture(&self, mut path: String, capture: &Capture) -> Answer<LogStream> {
        path += &segment(capture.of.as_deref().unwrap_or_default());
        if let Some(bytes) = capture.snap_len {
            path += &format!("&snaplen={bytes}");
        }
        path += &format!("&filter={}", segment(&capture.filter));
        path += &format!("&program={}", capture.program);
        self.follow(&path).await
    }

    fn stream(&self, response: Response<Incoming>) -> LogStream {
        LogStream {
            socket: self.socket.clone(),
            body: response.into_body(),
        }
    }

    async fn fetch<T: DeserializeOwned>(&self, path: &str) -> Answer<T> {
        let response = self.ask(Method::GET, path, Bytes::new()).await?;
        self.decode("GET", path, response).await
    }

    /// As [`Self::fetch`], of an answer that goes on.
    async fn follow(&self, path: &str) -> Answer<LogStream> {
        let response = self.ask(Method::GET, path, Bytes::new()).await?;
        Ok(self.stream(response))
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Answer<T> {
        let body = self.encode(path, body)?;
        let response = self.ask(Method::POST, path, body).await?;
        self.decode("POST", path, response).await
    }

    async fn amend<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Answer<T> {
        let body = self.encode(path, body)?;
        let response = self.ask(Method::PATCH, path, body).await?;
        self.decode("PATCH", path, response).await
    }

    /// As [`Self::post`], where the answer's body does not matter.
    async fn tell(&self, path: &str, body: &impl Serialize) -> Answer<()> {
        let body = self.encode(path, body)?;
        self.ask(Method::POST, path, body).await.map(drop)
    }

    async fn delete(&self, path: &str) -> Answer<()> {
        self.ask(Method::DELETE, path, Bytes::new()).await.map(drop)
    }

    fn encode(&self, path: &str, body: &impl Serialize) -> Answer<Bytes> {
        serde_json::to_vec(body)
            .map(Bytes::from)
            .map_err(|error| self.unexpected("POST", path, &error.to_string()))
    }

    async fn decode<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        response: Response<Incoming>,
    ) -> Answer<T> {
        let body = self.collect(response).await?;
        serde_json::from_slice(&body)
            .map_err(|error| self.unexpected(method, path, &error.to_string()))
    }

    /// Sends one request and waits for the head of its answer; anything but 2xx is an error.
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Answer<Response<Incoming>> {
        let request = self.request(&method, path, body)?;
        let response = self.send(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.collect(response).await?;
        Err(self.refusal(method.as_str(), path, status, &body))
    }

    /// Sends somebody else's request as it is. `path` begins with `/v1/`, and has the query. Whatever the agent answers is no error.
    pub async fn forward(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Answer<Response<Incoming>> {
        let path = path.strip_prefix("/v1").unwrap_or(path);
        let request = self.request(&method, path, body)?;
        self.send(request).await
    }

    /// A request that an agent did not take, since another one takes its place, goes to that one.
    async fn send(&self, mut request: Request<Full<Bytes>>) -> Answer<Response<Incoming>> {
        let mut again = 0..PLACES_TAKEN_MAX;
        loop {
            let mut failed = match self.dial().await?.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            match failed.take_message().filter(|_| again.next().is_some()) {
                Some(unsent) => request = unsent,
                None => return Err(self.broke_off(failed.error())),
            }
        }
    }

    async fn dial(&self) -> Answer<http1::SendRequest<Full<Bytes>>> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broke_off(&error))?;
        // Ends by itself: with the answer's last byte, or when the answer is dropped.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, method: &Method, path: &str, body: Bytes) -> Answer<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/v1{path}"))
            .header(header::HOST, "tapestry");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request
            .body(Full::new(body))
            .map_err(|error| self.unexpected(method.as_str(), path, &error.to_string()))
    }

    async fn collect(&self, response: Response<Incoming>) -> Answer<Bytes> {
        let body = response.into_body().collect().await;
        body.map(|whole| whole.to_bytes())
            .map_err(|error| self.broke_off(&error))
    }

    fn refusal(&self, method: &str, path: &str, status: StatusCode, body: &[u8]) -> ClientError {
        if let Ok(error) = serde_json::from_slice::<ApiError>(body) {
            return ClientError::Refused(ApiError::new(error.kind, one_line(&error.message)));
        }
        let text = one_line(&String::from_utf8_lossy(body));
        let reason = if text.is_empty() {
            status.to_string()
        } else {
            format!("{status}: {text}")
        };
        self.unexpected(method, path, &reason)
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        // The kernel says of a file and of a directory what it says of a socket that nobody listens at.
        let is_other = |found: std::fs::Metadata| !found.file_type().is_socket();
        if std::fs::metadata(&socket).is_ok_and(is_other) {
            return ClientError::NoSocket { socket };
        }
        match source.kind() {
            io::ErrorKind::NotFound => ClientError::NotRunning { socket },
            io::ErrorKind::ConnectionRefused => ClientError::Stale { socket },
            io::ErrorKind::PermissionDenied => ClientError::Denied { socket },
            _ => ClientError::Connect { socket, source },
        }
    }

    fn broke_off(&self, error: &hyper::Error) -> ClientError {
        ClientError::BrokeOff {
            socket: self.socket.clone(),
            reason: one_line(&error.to_string()),
        }
    }

    fn unexpected(&self, method: &str, path: &str, reason: &str) -> ClientError {
        ClientError::Unexpected {
            socket: self.socket.clone(),
            request: format!("{method} /v1{path}"),
            reason: one_line(reason),
        }
    }
}

/// The bytes of a log as they come.
#[derive(Debug)]
pub struct LogStream {
    socket: PathBuf,
    body: Incoming,
}

impl LogStream {
    /// The next bytes, cut anywhere; `None` at the end.
    pub async fn chunk(&mut self) -> Answer<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| ClientError::BrokeOff {
                socket: self.socket.clone(),
                reason: one_line(&error.to_string()),
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// A container that was made and not started: the agent removes it when this goes, however.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "the connection lives as long as it")] LogStream);

/// How often in a row an agent may be replaced while a request is on its way.
const PLACES_TAKEN_MAX: usize = 2;

fn start_command(socket: &Path) -> String {
    if socket == Path::new(DEFAULT_SOCKET) {
        "tapestry agent".to_owned()
    } else {
        format!("tapestry agent --socket {}", socket.display())
    }
}

/// Percent-encodes one path segment (RFC 3986 §2.3: all but the unreserved characters).
fn segment(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Joins lines and takes out what could move a terminal's cursor.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_encodes_all_but_unreserved_bytes() {
        assert_eq!(segment("my_net-1.x~"), "my_net-1.x~");
        assert_eq!(segment("a/b?c=ü"), "a%2Fb%3Fc%3D%C3%BC");
    }

    #[test]
    fn one_line_joins_lines_and_drops_escapes() {
        assert_eq!(one_line("a\n  b\u{1b}[31m c\n"), "a b [31m c");
    }

    #[test]
    fn remedy_names_the_socket_unless_it_is_the_default() {
        let missing = |socket: &str| ClientError::NotRunning {
            socket: socket.into(),
        };
        assert_eq!(
            missing(DEFAULT_SOCKET).to_string(),
            "no agent at /run/tapestry/agent.sock; start one with: tapestry agent"
        );
        assert_eq!(
            missing("/tmp/a.sock").to_string(),
            "no agent at /tmp/a.sock; start one with: tapestry agent --socket /tmp/a.sock"
        );
    }
}
