//! Which ports a capture is of.

use agent_api::{ApiError, ErrorKind};
use switch_core::PortId;

use crate::record::Owner;

/// A port, and who is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    pub port: PortId,
    /// As `port ls` has it: an endpoint's name, `host`, `gateway`, another host's address.
    pub owner: String,
    /// The link at its other end, where that has one and it is known.
    pub link: Option<String>,
    /// Whose sandbox is behind it, where one is.
    pub sandbox: Option<Owner>,
}

impl NamedPort {
    /// As captures show it: `web:eth0`, `host:tsy0123456789`, `gateway`.
    pub fn shown(&self) -> String {
        match &self.link {
            Some(link) if !link.is_empty() => format!("{}:{link}", self.owner),
            _ => self.owner.clone(),
        }
    }

    /// Whether `word` names it within its network: its number, its owner, or both of owner and link.
    pub fn is_called(&self, word: &str) -> bool {
        word.parse() == Ok(self.port.0) || word == self.owner || word == self.shown()
    }
}

/// What is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A network's ports, by its id: those that are called so, or all.
    Network { id: String, port: Option<String> },
    /// A container's, on whichever network: those with this link, or all.
    Container { owner: Owner, link: Option<String> },
    /// The endpoints of that name that are none of our containers', likewise.
    Endpoint { name: String, link: Option<String> },
}

impl Scope {
    /// Whether a port of the network with that id is in it.
    pub fn has(&self, network: &str, port: &NamedPort) -> bool {
        let is_link = |wanted: &Option<String>| wanted.is_none() || *wanted == port.link;
        match self {
            Self::Network { id, port: word } => {
                id == network && word.as_deref().is_none_or(|word| port.is_called(word))
            }
            Self::Container { owner, link } => {
                port.sandbox.as_ref() == Some(owner) && is_link(link)
            }
            Self::Endpoint { name, link } => {
                let is_foreign = matches!(port.sandbox, Some(Owner::Sandbox(_) | Owner::Engine(_)));
                is_foreign && *name == port.owner && is_link(link)
            }
        }
    }

    /// The same without a choice among its ports.
    #[must_use]
    pub fn whole(&self) -> Self {
        let mut whole = self.clone();
        match &mut whole {
            Self::Network { port: word, .. } => *word = None,
            Self::Container { link, .. } | Self::Endpoint { link, .. } => *link = None,
        }
        whole
    }

    /// What was chosen among its ports.
    pub fn choice(&self) -> Option<&str> {
        match self {
            Self::Network { port: word, .. } => word.as_deref(),
            Self::Container { link, .. } | Self::Endpoint { link, .. } => link.as_deref(),
        }
    }
}

/// `GET /v1/networks/{name}/capture` and its like.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartCapture {
    #[error("{of} has no port {word:?}; it has: {there}")]
    NoPort {
        of: String,
        word: String,
        there: String,
    },
    #[error("{0} has no port to capture; its frames pass none of this host's switch")]
    NoPorts(String),
    #[error("a frame can be kept to 14..=262144 bytes; {0} are not")]
    SnapLen(u32),
    #[error("the filter's program is refused: {0}; compile it anew")]
    Program(String),
    #[error("{0} captures are going on already; end one of them")]
    Many(usize),
    #[error("the host does not let the agent capture: {0}")]
    Host(String),
}

impl From<StartCapture> for ApiError {
    fn from(error: StartCapture) -> Self {
        let kind = match &error {
            StartCapture::NoPort { .. } | StartCapture::SnapLen(_) | StartCapture::Program(_) => {
                ErrorKind::Invalid
            }
            StartCapture::NoPorts(_) => ErrorKind::Conflict,
            StartCapture::Many(_) => ErrorKind::Exhausted,
            StartCapture::Host(_) => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// Checks that a choice fits something, of all ports of the whole; `of` says what that is.
pub fn check_choice(
    scope: &Scope,
    of: &str,
    whole: &[(&str, NamedPort)],
) -> Result<(), StartCapture> {
    let Some(word) = scope.choice() else {
        return Ok(());
    };
    if whole.iter().any(|(network, port)| scope.has(network, port)) {
        return Ok(());
    }
    if whole.is_empty() {
        return Err(StartCapture::NoPorts(of.to_owned()));
    }
    let mut there: Vec<_> = whole.iter().map(|(_, port)| port.shown()).collect();
    there.sort();
    let more = there.len().saturating_sub(SHOWN_MAX);
    there.truncate(SHOWN_MAX);
    let mut there = there.join(", ");
    if more > 0 {
        there += &format!(" and {more} more");
    }
    Err(StartCapture::NoPort {
        of: of.to_owned(),
        word: word.to_owned(),
        there,
    })
}

const SHOWN_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u32, owner: &str, link: Option<&str>, sandbox: Option<Owner>) -> NamedPort {
        NamedPort {
            port: PortId(number),
            owner: owner.into(),
            link: link.map(str::to_owned),
            sandbox,
        }
    }

    fn web() -> NamedPort {
        port(3, "web", Some("eth0"), Some(Owner::Container("c1".into())))
    }

    fn network(word: Option<&str>) -> Scope {
        Scope::Network {
            id: "n1".into(),
            port: word.map(str::to_owned),
        }
    }

    #[test]
    fn a_port_is_called_by_number_owner_or_both() {
        for word in ["3", "web", "web:eth0"] {
            assert!(network(Some(word)).has("n1", &web()), "{word}");
        }
        for word in ["eth0", "web:eth1", "4", ""] {
            assert!(!network(Some(word)).has("n1", &web()), "{word}");
        }
        assert!(network(None).has("n1", &web()));
        assert!(!network(None).has("n2", &web()));
        assert_eq!(port(1, "gateway", None, None).shown(), "gateway");
    }

    #[test]
    fn a_container_is_captured_on_every_network() {
        let all = Scope::Container {
            owner: Owner::Container("c1".into()),
            link: None,
        };
        assert!(all.has("n1", &web()) && all.has("n2", &web()));
        let one = Scope::Container {
            owner: Owner::Container("c1".into()),
            link: Some("eth1".into()),
        };
        assert!(!one.has("n1", &web()));
        assert_eq!(one.whole(), all);
        let foreign = Scope::Endpoint {
            name: "web".into(),
            link: None,
        };
        assert!(!foreign.has("n1", &web()));
        let engine = Some(Owner::Engine("e".into()));
        assert!(foreign.has("n1", &port(4, "web", Some("eth0"), engine)));
    }

    #[test]
    fn a_choice_that_fits_nothing_is_told_what_there_is() {
        let whole = [("n1", web()), ("n1", port(1, "gateway", None, None))];
        assert_eq!(
            check_choice(&network(Some("web")), "network \"lab\"", &whole),
            Ok(())
        );
        let told = check_choice(&network(Some("db")), "network \"lab\"", &whole).unwrap_err();
        assert_eq!(
            told.to_string(),
            "network \"lab\" has no port \"db\"; it has: gateway, web:eth0"
        );
        let many: Vec<_> = (0..100).map(|n| ("n1", port(n, "x", None, None))).collect();
        let told = check_choice(&network(Some("db")), "network \"lab\"", &many).unwrap_err();
        assert!(told.to_string().ends_with("x and 92 more"), "{told}");
    }
}
