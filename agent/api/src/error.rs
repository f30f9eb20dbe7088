//! Failures as the API reports them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One line that says what failed, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub kind: ErrorKind,
    pub message: String,
}

/// What sort of failure it is; each has its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// 400: the request itself is wrong.
    Invalid,
    /// 403: whoever asks is not answered.
    Forbidden,
    /// 404: the named thing does not exist.
    NotFound,
    /// 405: the route is there, and not for this method.
    MethodNotAllowed,
    /// 409: it exists already, or is in use.
    Conflict,
    /// 413: the request's body is longer than the agent reads.
    TooLong,
    /// 507: a pool, table or limit is used up.
    Exhausted,
    /// 501: this build or kernel cannot do it.
    Unsupported,
    /// 400: the container has no such program; `run` exits with 127.
    CommandNotFound,
    /// 400: the program is there and cannot be executed; `run` exits with 126.
    CommandNotExecutable,
    /// 500: the host did not let the agent do it.
    Failed,
}

impl ErrorKind {
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid | Self::CommandNotFound | Self::CommandNotExecutable => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::TooLong => 413,
            Self::Failed => 500,
            Self::Unsupported => 501,
            Self::Exhausted => 507,
        }
    }
}

impl ApiError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}
