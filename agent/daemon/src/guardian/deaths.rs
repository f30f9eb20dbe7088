//! How often the agent died, and how it died last; as the guardian tells the next one.

use std::fmt;

/// As text `2 signal: 9 (SIGKILL)`, which is empty where none died. A guardian may be older than its agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deaths {
    pub(crate) number: u32,
    pub(crate) last: Option<String>,
}

impl Deaths {
    pub(super) fn add(&mut self, how: String) {
        self.number = self.number.saturating_add(1);
        self.last = Some(how);
    }

    /// What cannot be read as number and words is what an older guardian says of one death or more.
    pub(super) fn parse(text: &str) -> Self {
        let read = || {
            let (number, how) = text.split_once(' ')?;
            Some((number.parse().ok()?, how))
        };
        match read() {
            _ if text.is_empty() => Self::default(),
            Some((number, how)) => Self {
                number,
                last: Some(how.to_owned()),
            },
            None => Self {
                number: 1,
                last: Some(text.to_owned()),
            },
        }
    }

    /// For people, where there is something to tell.
    pub(crate) fn told(&self) -> Option<String> {
        let how = self.last.as_ref()?;
        let often = match self.number {
            1 => "once".to_owned(),
            number => format!("{number} times"),
        };
        Some(format!(
            "the agent died {often} ({how}); it was started again"
        ))
    }
}

impl fmt::Display for Deaths {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.last {
            Some(how) => write!(text, "{} {how}", self.number),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read() {
        let mut deaths = Deaths::default();
        assert_eq!(Deaths::parse(&deaths.to_string()), deaths);
        assert_eq!(deaths.told(), None);
        for often in ["once", "2 times"] {
            deaths.add("signal: 9 (SIGKILL)".to_owned());
            assert_eq!(Deaths::parse(&deaths.to_string()), deaths);
            let told = deaths.told().unwrap();
            assert!(told.contains(&format!("{often} (signal: 9")), "{told}");
        }
    }

    #[test]
    fn an_older_guardians_words_are_kept() {
        let older = Deaths::parse("the agent died 3 times (signal: 9); it was started again");
        assert_eq!(older.number, 1);
        assert!(older.last.unwrap().contains("3 times"));
    }
}
