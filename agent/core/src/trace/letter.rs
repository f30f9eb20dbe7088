//! What agents write to each other, so that the frames of a network are followed on all its hosts.
//!
//! Nothing is kept open: who follows asks each host again and again, and who is asked shows for a while after the last question. So a
//! letter that is lost, and a host that starts anew, mend themselves.

use std::time::Duration;

use agent_api::TraceSight;
use serde::{Deserialize, Serialize};

/// A letter, as JSON. What one host makes of the others' words is its own matter: `of` means something to the asker alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "letter", rename_all = "snake_case")]
pub enum TraceLetter {
    /// Show me the frames of a network that pass your switch, from now on.
    Follow {
        of: u64,
        /// By its id.
        network: String,
        /// As a person wrote it.
        filter: String,
        drops: bool,
    },
    /// It is shown.
    Following { of: u64 },
    /// It is not.
    Refused { of: u64, why: String },
    /// One frame, or several.
    Sight {
        of: u64,
        /// From 0 on, so that it is known what was lost on the way.
        number: u64,
        sight: TraceSight,
    },
}

impl TraceLetter {
    /// `None` where it would be longer than `len_max` bytes, also without the rule of a sight.
    pub fn to_bytes(&self, len_max: usize) -> Option<Vec<u8>> {
        let bytes = serde_json::to_vec(self).ok()?;
        if bytes.len() <= len_max {
            return Some(bytes);
        }
        self.without_detail()?.to_bytes(len_max)
    }

    fn without_detail(&self) -> Option<Self> {
        let mut shorter = self.clone();
        match &mut shorter {
            Self::Sight { sight, .. } => sight.detail.take()?,
            _ => return None,
        };
        Some(shorter)
    }

    /// `None` where it is none, or one of a later version, or would not be shown in one line.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let letter: Self = serde_json::from_slice(bytes).ok()?;
        let is_plain = |text: &&str| !text.contains(char::is_control);
        letter.texts().iter().all(is_plain).then_some(letter)
    }

    /// What people are shown of it.
    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Follow {
                network, filter, ..
            } => vec![network, filter],
            Self::Following { .. } => Vec::new(),
            Self::Refused { why, .. } => vec![why],
            Self::Sight { sight, .. } => {
                let ports = [&sight.from].into_iter().chain(&sight.verdict.ports);
                let ports = ports.flat_map(|port| [&port.kind, &port.owner]);
                let others = [
                    &sight.host,
                    &sight.link,
                    &sight.packet,
                    &sight.verdict.reason,
                    &sight.detail,
                ];
                let others = others.into_iter().flatten();
                ports.chain(others).map(String::as_str).collect()
            }
        }
    }

    /// Whose it is.
    pub const fn of(&self) -> u64 {
        match self {
            Self::Follow { of, .. }
            | Self::Following { of }
            | Self::Refused { of, .. }
            | Self::Sight { of, .. } => *of,
        }
    }
}

/// One other host, as the one who follows sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correspondent {
    /// When it was asked in vain first.
    silent_since: Option<Duration>,
    is_told: bool,
    /// Of the sight that comes next.
    next: u64,
}

impl Correspondent {
    pub const fn new() -> Self {
        Self {
            silent_since: None,
            is_told: false,
            next: 0,
        }
    }

    /// It is asked again at `now`. True once for each time that it does not answer any more.
    pub fn ask(&mut self, now: Duration) -> bool {
        let since = *self.silent_since.get_or_insert(now);
        let is_news = !self.is_told && now.saturating_sub(since) >= PATIENCE;
        self.is_told |= is_news;
        is_news
    }

    /// It shows what it has.
    pub const fn answered(&mut self) {
        self.silent_since = None;
        self.is_told = false;
    }

    /// It says why it shows nothing. True where that is news.
    pub const fn refused(&mut self) -> bool {
        self.silent_since = None;
        let is_news = !self.is_told;
        self.is_told = true;
        is_news
    }

    /// A sight came; how many were lost since the one before. One that was overtaken is `None`: it counts as lost already.
    pub fn came(&mut self, number: u64) -> Option<u64> {
        // It shows anew: it started again, or had not been asked for a while.
        if number == 0 {
            self.next = 0;
        }
        let lost = number.checked_sub(self.next)?;
        self.next = number + 1;
        Some(lost)
    }
}

impl Default for Correspondent {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a host is asked before it is told that it does not answer.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use agent_api::{TracePort, TraceResult, TraceVerdict};

    use super::*;

    fn sight(owner: &str) -> TraceSight {
        let port = TracePort {
            port: 4_000_000_000,
            kind: "tunnel".into(),
            owner: owner.into(),
        };
        let long = "2001:db8:1111:2222:3333:4444:5555:6666";
        TraceSight {
            host: None,
            at_ms: 1_700_000_000_250,
            from: port.clone(),
            link: Some(
                "02:42:ac:11:00:02 > 02:42:ac:11:00:03, VLAN 4094, IPv6, 65536 bytes".into(),
            ),
            packet: Some(format!("{long} > {long}, TCP 65535 > 65535")),
            verdict: TraceVerdict {
                result: TraceResult::Dropped,
                reason: Some("link_local_control".into()),
                ports: vec![port],
            },
            detail: None,
            frames: u64::MAX,
            missed: u64::MAX,
        }
    }

    #[test]
    fn a_letter_is_read_as_it_was_written_and_fits_a_datagram() {
        let letters = [
            TraceLetter::Follow {
                of: u64::MAX,
                network: "a".repeat(64),
                filter: "udp and not port 53".into(),
                drops: true,
            },
            TraceLetter::Following { of: 1 },
            TraceLetter::Refused {
                of: 1,
                why: "no".into(),
            },
            TraceLetter::Sight {
                of: u64::MAX,
                number: u64::MAX,
                sight: sight(&"n".repeat(63)),
            },
        ];
        for letter in letters {
            let bytes = letter.to_bytes(overlay_core::LETTER_LEN_MAX).unwrap();
            assert_eq!(TraceLetter::parse(&bytes), Some(letter.clone()));
            assert_eq!(letter.to_bytes(bytes.len() - 1), None);
        }
        assert_eq!(TraceLetter::parse(b"{\"letter\":\"later\",\"of\":1}"), None);
    }

    #[test]
    fn a_rule_that_makes_a_letter_too_long_is_left_out() {
        let letter = |detail: Option<&str>| TraceLetter::Sight {
            of: 1,
            number: 0,
            sight: TraceSight {
                detail: detail.map(str::to_owned),
                ..sight("web")
            },
        };
        let (long, without) = (letter(Some("rule 10 denies it")), letter(None));
        let len = long.to_bytes(usize::MAX).unwrap().len();
        let read = |len| TraceLetter::parse(&long.to_bytes(len).unwrap());
        assert_eq!(read(len), Some(long.clone()));
        assert_eq!(read(len - 1), Some(without));
    }

    #[test]
    fn a_letter_that_would_not_be_shown_in_one_line_is_none() {
        let with = |change: fn(&mut TraceSight)| {
            let mut sight = sight("web");
            change(&mut sight);
            let (of, number) = (1, 0);
            TraceLetter::Sight { of, number, sight }
        };
        let why = "no\u{1b}[2J".to_owned();
        let letters = [
            TraceLetter::Refused { of: 1, why },
            with(|sight| sight.link = Some("a\nb".into())),
            with(|sight| sight.packet = Some("\u{7f}".into())),
            with(|sight| sight.from.owner = "a\rb".into()),
            with(|sight| sight.verdict.ports[0].kind = "\0".into()),
            with(|sight| sight.verdict.reason = Some("\t".into())),
            with(|sight| sight.detail = Some("\n".into())),
        ];
        for letter in letters {
            let bytes = letter.to_bytes(usize::MAX).unwrap();
            assert_eq!(TraceLetter::parse(&bytes), None, "{letter:?}");
        }
    }

    #[test]
    fn a_host_that_does_not_answer_is_told_once() {
        let at = Duration::from_secs;
        let mut host = Correspondent::new();
        assert_eq!([0, 1, 2].map(|s| host.ask(at(s))), [false; 3]);
        assert_eq!([3, 4].map(|s| host.ask(at(s))), [true, false]);
        host.answered();
        assert_eq!([5, 6].map(|s| host.ask(at(s))), [false; 2]);
        host.answered();
        assert_eq!([7, 9, 10].map(|s| host.ask(at(s))), [false, false, true]);
        host.answered();
        assert_eq!([host.refused(), host.refused()], [true, false]);
        assert!(!host.ask(at(20)) && !host.ask(at(30)), "it is told already");
    }

    #[test]
    fn what_was_lost_on_the_way_is_known() {
        let mut host = Correspondent::new();
        let came: Vec<_> = [0, 1, 4, 3, 5].map(|number| host.came(number)).into();
        assert_eq!(came, [Some(0), Some(0), Some(2), None, Some(0)]);
        // It began anew.
        assert_eq!([host.came(0), host.came(2)], [Some(0), Some(1)]);
    }
}
