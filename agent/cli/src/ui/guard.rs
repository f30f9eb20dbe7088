//! Who may ask what of the page's server.

use std::net::SocketAddr;

use agent_api::ErrorKind;

use super::page::{File, file};

/// What was asked, as far as it decides.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    /// Without the query.
    pub(super) path: &'a str,
    /// The field Host: whom the browser thinks it speaks to.
    pub(super) host: Option<&'a str>,
    /// The field Origin: whose page asks; absent where the browser's user does.
    pub(super) origin: Option<&'a str>,
    /// The field Authorization.
    pub(super) authorization: Option<&'a str>,
}

/// Where what was asked goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    File(&'static File),
    Agent,
}

/// Why it goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("this server is not called so; open the address that tapestry ui printed")]
    Host,
    #[error("another page may not ask this server")]
    Origin,
    #[error("the token is missing or another one; open the address that tapestry ui printed")]
    Token,
    #[error("the page may not change this; use the command tapestry, or tapestry ui --set-links")]
    Change,
    #[error("there is no such page")]
    Path,
}

impl Refusal {
    /// The status of HTTP (RFC 9110 §15).
    pub(super) const fn status(self) -> u16 {
        match self {
            Self::Host => 421,
            Self::Origin | Self::Change => 403,
            Self::Token => 401,
            Self::Path => 404,
        }
    }

    /// In the words of the agent's own errors.
    pub(super) const fn kind(self) -> ErrorKind {
        match self {
            Self::Host | Self::Origin | Self::Token | Self::Change => ErrorKind::Forbidden,
            Self::Path => ErrorKind::NotFound,
        }
    }
}

/// Decides by the address that the server listens at, and by the token.
#[derive(Debug)]
pub(super) struct Guard {
    names: Vec<String>,
    bearer: String,
    may_set_links: bool,
}

impl Guard {
    pub(super) fn new(at: SocketAddr, token: String, may_set_links: bool) -> Self {
        let mut names = vec![at.to_string()];
        if at.ip().is_loopback() {
            names.push(format!("localhost:{}", at.port()));
        }
        Self {
            names,
            bearer: format!("Bearer {token}"),
            may_set_links,
        }
    }

    pub(super) fn judge(&self, asked: &Asked<'_>) -> Result<Pass, Refusal> {
        let is_name = |name: &str| self.names.iter().any(|own| own.eq_ignore_ascii_case(name));
        if !asked.host.is_some_and(is_name) {
            return Err(Refusal::Host);
        }
        let is_own = |origin: &str| origin.strip_prefix("http://").is_some_and(is_name);
        if !asked.origin.is_none_or(is_own) {
            return Err(Refusal::Origin);
        }
        let Some(path) = asked.path.strip_prefix("/v1/") else {
            let found = file(asked.path).filter(|_| asked.method == "GET");
            return found.map(Pass::File).ok_or(Refusal::Path);
        };
        if asked.authorization != Some(self.bearer.as_str()) {
            return Err(Refusal::Token);
        }
        let segments: Vec<_> = path.split('/').collect();
        let is_let = changes_nothing(asked.method, &segments)
            || self.may_set_links && sets_a_link(asked.method, &segments);
        match is_let {
            true => Ok(Pass::Agent),
            false => Err(Refusal::Change),
        }
    }
}

/// What the page asks of the agent. A cluster's backup, which has its keys, and what containers write are no business of it.
fn changes_nothing(method: &str, path: &[&str]) -> bool {
    match path {
        // Of the same name as the network, whatever that is.
        ["networks", _, "trace"] => method == "POST",
        ["networks" | "links" | "version" | "info" | "cluster"]
        | ["networks", _]
        | ["networks", _, "ports" | "fdb"]
        | ["networks", _, "dns", "log"] => method == "GET",
        _ => false,
    }
}

/// As `tapestry link` does.
fn sets_a_link(method: &str, path: &[&str]) -> bool {
    match path {
        ["endpoints", _, "link"] => method == "PATCH",
        ["endpoints", _, "up" | "down"] => method == "POST",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Asked<'_> = Asked {
        method: "GET",
        path: "/v1/networks",
        host: Some("127.0.0.1:8080"),
        origin: None,
        authorization: Some("Bearer 0123"),
    };

    fn judge(asked: Asked<'_>) -> Result<Pass, Refusal> {
        guard(false).judge(&asked)
    }

    fn asked<'a>(method: &'a str, path: &'a str) -> Asked<'a> {
        Asked {
            method,
            path,
            ..GOOD
        }
    }

    fn guard(may_set_links: bool) -> Guard {
        let at = "127.0.0.1:8080".parse().unwrap();
        Guard::new(at, "0123".to_owned(), may_set_links)
    }

    #[test]
    fn its_own_page_may_look() {
        let origin = Some("http://localhost:8080");
        for asked in [
            GOOD,
            Asked { origin, ..GOOD },
            Asked {
                host: Some("LOCALHOST:8080"),
                ..GOOD
            },
            Asked {
                path: "/v1/networks/a/dns/log",
                ..GOOD
            },
            Asked {
                path: "/v1/networks/a/trace",
                method: "POST",
                origin,
                ..GOOD
            },
        ] {
            assert_eq!(judge(asked), Ok(Pass::Agent), "{asked:?}");
        }
        let index = judge(Asked {
            path: "/",
            authorization: None,
            ..GOOD
        });
        assert!(matches!(index, Ok(Pass::File(file)) if file.kind.starts_with("text/html")));
    }

    #[test]
    fn nobody_else_may() {
        for (asked, refusal) in [
            (
                Asked {
                    host: Some("evil.example:8080"),
                    ..GOOD
                },
                Refusal::Host,
            ),
            (
                Asked {
                    host: Some("127.0.0.1:81"),
                    ..GOOD
                },
                Refusal::Host,
            ),
            (Asked { host: None, ..GOOD }, Refusal::Host),
            (
                Asked {
                    origin: Some("http://evil.example"),
                    ..GOOD
                },
                Refusal::Origin,
            ),
            (
                Asked {
                    origin: Some("null"),
                    ..GOOD
                },
                Refusal::Origin,
            ),
            (
                Asked {
                    authorization: None,
                    ..GOOD
                },
                Refusal::Token,
            ),
            (
                Asked {
                    authorization: Some("Bearer 012"),
                    ..GOOD
                },
                Refusal::Token,
            ),
            (
                Asked {
                    path: "/etc/passwd",
                    ..GOOD
                },
                Refusal::Path,
            ),
            (
                Asked {
                    path: "/",
                    method: "POST",
                    ..GOOD
                },
                Refusal::Path,
            ),
        ] {
            assert_eq!(judge(asked), Err(refusal), "{asked:?}");
        }
    }

    #[test]
    fn nothing_that_changes_anything_passes_nor_what_is_secret() {
        for (method, path) in [
            ("DELETE", "/v1/networks/a"),
            ("POST", "/v1/networks"),
            ("POST", "/v1/containers"),
            ("GET", "/v1/cluster/backup"),
            ("GET", "/v1/containers/a/logs"),
            ("GET", "/v1/networks/a/capture"),
            ("GET", "/v1/networks/a/trace/../../cluster/backup"),
        ] {
            let asked = asked(method, path);
            assert_eq!(judge(asked), Err(Refusal::Change), "{asked:?}");
        }
    }

    #[test]
    fn links_are_set_by_a_page_that_may_and_nothing_else_is() {
        let may = guard(true);
        for (method, path) in [
            ("PATCH", "/v1/endpoints/a/link"),
            ("POST", "/v1/endpoints/a/down"),
            ("POST", "/v1/endpoints/a/up"),
        ] {
            let asked = asked(method, path);
            assert_eq!(may.judge(&asked), Ok(Pass::Agent), "{asked:?}");
            assert_eq!(judge(asked), Err(Refusal::Change), "{asked:?}");
            let authorization = None;
            let stranger = Asked {
                authorization,
                ..asked
            };
            assert_eq!(may.judge(&stranger), Err(Refusal::Token), "{stranger:?}");
        }
        for (method, path) in [
            ("DELETE", "/v1/endpoints/a"),
            ("PATCH", "/v1/endpoints/a"),
            ("PATCH", "/v1/endpoints/a/rate"),
            ("POST", "/v1/networks"),
            ("GET", "/v1/cluster/backup"),
        ] {
            let asked = asked(method, path);
            assert_eq!(may.judge(&asked), Err(Refusal::Change), "{asked:?}");
        }
    }
}
