//! Finding things by what people call them: name, id, or a unique beginning of the id.

use crate::error::Find;

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
