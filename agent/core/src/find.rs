//! Finding things by what people call them: name, id, or a unique beginning of the id.

use agent_api::{ApiError, ErrorKind};

/// Something was asked for by a name, id or prefix that fits nothing, or more than one thing.
#[derive(Debug, thiserror::Error)]
pub enum Find {
    #[error("no network {0:?}; `tapestry network ls` lists them")]
    NoNetwork(String),
    #[error("network {network:?} of the cluster is not on this host: {why}")]
    NotHere { network: String, why: String },
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
            Find::NotHere { .. } => ErrorKind::Conflict,
            Find::Ambiguous(_) => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

/// The id of the candidate with that name or id, else of the only one whose id begins so, in as many digits as [`DIGITS_MIN`].
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
        if called.len() >= DIGITS_MIN && id.starts_with(called) {
            ambiguous |= begins.is_some();
            begins = Some(id);
        }
    }
    if ambiguous {
        return Err(Find::Ambiguous(called.to_owned()));
    }
    Ok(begins.map(str::to_owned))
}

/// Ids are hexadecimal, and so are names like `db` and `c1`: whoever removes one that is not there shall not remove another thing.
pub(crate) const DIGITS_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const THINGS: [(&str, &str); 4] = [
        ("abcd11", "web"),
        ("abcd22", "store"),
        ("dbcd33", "c1"),
        ("eeee44", "abcd1"),
    ];

    fn found(called: &str) -> Result<Option<String>, Find> {
        find(THINGS.into_iter(), called)
    }

    #[test]
    fn a_name_goes_before_a_beginning_of_an_id() {
        assert_eq!(found("abcd1").unwrap().as_deref(), Some("eeee44"));
    }

    #[test]
    fn a_unique_beginning_is_enough() {
        assert_eq!(found("abcd2").unwrap().as_deref(), Some("abcd22"));
        assert!(matches!(found("abcd"), Err(Find::Ambiguous(_))));
        assert_eq!(found("").unwrap(), None);
    }

    #[test]
    fn a_short_name_that_is_not_there_is_nobody_elses_id() {
        assert_eq!(found("db").unwrap(), None);
        assert_eq!(found("dbc").unwrap(), None);
        assert_eq!(found("dbcd").unwrap().as_deref(), Some("dbcd33"));
    }
}
