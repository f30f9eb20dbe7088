//! One finding.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::screen::{self, Ink};

/// What was looked at, what was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) level: Level,
    pub(crate) what: String,
    pub(crate) found: String,
    /// Absent where nothing needs to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
    /// The same for programs, where there are numbers and names in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) facts: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    /// Works, but not as well or not all of it.
    Warn,
    /// The agent cannot do its work.
    Fail,
}

impl Check {
    pub(crate) fn ok(what: &str, found: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            what: what.to_owned(),
            found: found.into(),
            remedy: None,
            facts: None,
        }
    }

    /// Good, and could be better.
    pub(crate) fn hint(what: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            ..Self::warn(what, found, remedy)
        }
    }

    pub(crate) fn warn(what: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            level: Level::Warn,
            remedy: Some(remedy.into()),
            ..Self::ok(what, found)
        }
    }

    pub(crate) fn fail(what: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            level: Level::Fail,
            ..Self::warn(what, found, remedy)
        }
    }

    pub(crate) fn with(self, facts: Value) -> Self {
        Self {
            facts: Some(facts),
            ..self
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (level, ink) = match self.level {
            Level::Ok => ("ok  ", Ink::Good),
            Level::Warn => ("warn", Ink::Warning),
            Level::Fail => ("fail", Ink::Bad),
        };
        let level = screen::painted(level, ink);
        write!(f, "{level}  {}: {}", self.what, self.found)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_one_line() {
        let ok = Check::ok("kernel", "6.12");
        assert_eq!(ok.to_string(), "ok    kernel: 6.12");
        let warn = Check::warn("io_uring", "off", "switch it on");
        assert_eq!(warn.to_string(), "warn  io_uring: off; switch it on");
    }
}
