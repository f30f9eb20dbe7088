//! `resolv.conf` (resolv.conf(5)): the host's, and the container's made from it.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Servers, search domains and options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    pub servers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

impl ResolvConf {
    /// From the file's text; what is malformed is left out.
    pub fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let keyword = words.next();
            let words = words.map(str::to_owned);
            match keyword {
                Some("nameserver") => parsed
                    .servers
                    .extend(words.filter_map(|word| word.parse::<IpAddr>().ok())),
                // The last of them counts.
                Some("search" | "domain") => {
                    parsed.search = words.filter(|domain| is_search_domain(domain)).collect();
                }
                Some("options") => parsed
                    .options
                    .extend(words.filter(|option| is_option(option))),
                _ => {}
            }
        }
        parsed
    }

    /// What a person asked for goes before what this is; a search domain of `.` asks for none.
    pub fn overridden(mut self, search: &[String], options: &[String]) -> Self {
        if !search.is_empty() {
            self.search = search.to_vec();
        }
        self.search.retain(|domain| domain != ".");
        if !options.is_empty() {
            self.options = options.to_vec();
        }
        self
    }

    /// With names tried as they are before any search domain is appended, unless told otherwise: the network's own
    /// names have no dots, as with Docker's server.
    pub fn with_plain_names_first(mut self) -> Self {
        if !self
            .options
            .iter()
            .any(|option| option.starts_with("ndots"))
        {
            self.options.push("ndots:0".to_owned());
        }
        self
    }

    /// As the file has it.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for server in &self.servers {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "nameserver {server}");
        }
        for (keyword, words) in [("search", &self.search), ("options", &self.options)] {
            if !words.is_empty() {
                let _ = writeln!(text, "{keyword} {}", words.join(" "));
            }
        }
        text
    }
}

/// What can stand behind `search` and means one domain.
pub fn is_search_domain(domain: &str) -> bool {
    domain == "." || dns_core::check_name(domain.strip_suffix('.').unwrap_or(domain)).is_ok()
}

/// `word` or `word:number`.
pub fn is_option(option: &str) -> bool {
    let (word, number) = option.split_once(':').unwrap_or((option, "0"));
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&word.len())
        && word.bytes().all(is_word)
        && (1..=9).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> ResolvConf {
        ResolvConf::parse(
            "# comment\ndomain old\nsearch corp.example lan\nnameserver 192.0.2.1\noptions timeout:1 rotate\n",
        )
    }

    #[test]
    fn the_hosts_search_and_options_are_kept() {
        let own = ResolvConf {
            servers: vec!["172.18.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            ..host()
        };
        assert_eq!(
            own.with_plain_names_first().to_text(),
            "nameserver 172.18.0.1\nnameserver fd00::1\nsearch corp.example lan\noptions timeout:1 rotate ndots:0\n"
        );
    }

    #[test]
    fn what_was_asked_for_goes_first() {
        let asked = host().overridden(&["a.example".to_owned()], &["ndots:2".to_owned()]);
        assert_eq!(asked.search, ["a.example"]);
        assert_eq!(asked.with_plain_names_first().options, ["ndots:2"]);
        assert!(host().overridden(&[".".to_owned()], &[]).search.is_empty());
    }

    #[test]
    fn words_with_a_grammar_of_their_own_are_checked() {
        for good in ["corp.example", "lan.", "."] {
            assert!(is_search_domain(good), "{good}");
        }
        for bad in ["", "a b", "a\nnameserver 1.1.1.1"] {
            assert!(!is_search_domain(bad) && !is_option(bad), "{bad}");
        }
        assert!(is_option("ndots:2") && is_option("use-vc") && !is_option("ndots:x"));
    }
}
