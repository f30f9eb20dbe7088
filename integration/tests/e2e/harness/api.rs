//! The REST API by hand, so that the tests see what any other program would.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use agent_api::ApiError;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An HTTP reply with a JSON body; `Null` where there was none.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Reply {
    /// The body of a reply that had to be a success.
    #[track_caller]
    pub(crate) fn ok<T: DeserializeOwned>(self) -> T {
        assert!((200..300).contains(&self.status), "{self:?}");
        serde_json::from_value(self.body.clone())
            .unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What a reply says that had to be a refusal.
    #[track_caller]
    pub(crate) fn refusal(self) -> ApiError {
        assert!(self.status >= 400, "{self:?}");
        serde_json::from_value(self.body.clone())
            .unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One request over a connection of its own.
pub(crate) fn request(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> std::io::Result<Reply> {
    let body = body.map(Value::to_string).unwrap_or_default();
    request_raw(socket, method, path, body.as_bytes())
}

/// One request with whatever body.
pub(crate) fn request_raw(
    socket: &Path,
    method: &str,
    path: &str,
    body: &[u8],
) -> std::io::Result<Reply> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: tapestry\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )?;
    // Who refuses a long body does not read it to its end.
    let _ = stream.write_all(body);
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    // The agent ended before it answered.
    if reply.is_empty() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(parse(&reply))
}

fn parse(reply: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(reply);
    let (head, rest) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("not HTTP: {text:?}"));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status: {head:?}"));
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        joined_chunks(rest)
    } else {
        rest.to_owned()
    };
    let body = if body.trim().is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&body).unwrap_or(Value::String(body))
    };
    Reply { status, body }
}

/// RFC 9112 §7.1, for JSON, whose chunks are text.
fn joined_chunks(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        body.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    body
}
