//! Finding things by what people call them: name, id, or a unique beginning of the id.

use agent_api::{ApiError, ErrorKind};

/// Something was asked for by a name, id or prefix that fits nothing, or more than one thing.
#[derive(Debug, thiserror::Error)]
pub enum Find {
    #[error("no network {0:?}; `tapestry network ls` lists them")]
    NoNetwork(String),
    #[error("no container {0:?}; `tapestry ps -a` lists them")]
    NoContainer(String),
    #[error("no endpoint {0:?}; GET /v1/endpoints lists them")]
    NoEndpoint(String),
    #[error("{0:?} fits more than one id; write more digits")]
    Ambiguous(String),
}

impl From<Find> for ApiError {
    fn from(error: Find) -> Self {
        let kind = match error {
            Find::NoNetwork(_) | Find::NoContainer(_) | Find::NoEndpoint(_) => ErrorKind::NotFound,
            Find::Ambiguous(_) => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

/// The id of the candidate with that name or id, else of the only one whose id begins so.
pub fn find<'a>(
    candidates: impl Iterator<Item = (&'a str, &'a str)>,
    called: &str,
) -> Result<Option<String>, Find> {
    let mut begins = None;
    let mut ambiguous = false;
    for (id, name) in candidates {
        if name == called || id == called {
            return Ok(Some(id.to_owned()));
        }
        if !called.is_empty() && id.starts_with(called) {
            ambiguous |= begins.is_some();
            begins = Some(id);
        }
    }
    if ambiguous {
        return Err(Find::Ambiguous(called.to_owned()));
    }
    Ok(begins.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THINGS: [(&str, &str); 3] = [("abc1", "web"), ("abd2", "db"), ("eee3", "abc")];

    fn found(called: &str) -> Result<Option<String>, Find> {
        find(THINGS.into_iter(), called)
    }

    #[test]
    fn a_name_goes_before_a_beginning_of_an_id() {
        assert_eq!(found("abc").unwrap().as_deref(), Some("eee3"));
    }

    #[test]
    fn a_unique_beginning_is_enough() {
        assert_eq!(found("abd").unwrap().as_deref(), Some("abd2"));
        assert!(matches!(found("ab"), Err(Find::Ambiguous(_))));
        assert_eq!(found("").unwrap(), None);
    }
}
