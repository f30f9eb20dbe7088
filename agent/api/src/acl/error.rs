//! Why words are no rule.

/// Why words are no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAclRule {
    #[error("a rule begins with allow or deny, not with {0:?}")]
    Action(String),
    #[error(
        "{0:?} is nobody that a rule could mean; write any, name:NAME, label:KEY=VALUE, mac:MAC, gateway, an address or a subnet"
    )]
    Party(String),
    #[error(
        "{0:?} is no word of a rule; write from, to, proto, sport, port, icmp-type, ethertype, established or both"
    )]
    Word(String),
    #[error("{0} comes twice")]
    Twice(&'static str),
    #[error("{0} needs a value behind it")]
    Value(&'static str),
    #[error("{value:?} is no {word}; write {expected}")]
    Number {
        word: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error("{what} needs {proto} before it")]
    Protocol {
        what: &'static str,
        proto: &'static str,
    },
    #[error("both and established contradict each other: the answer to a first segment is not one")]
    Established,
    #[error("the addresses of both ends are of two families")]
    Families,
    #[error("ethertype 0x{0:04x} has no IP protocol; write ip or ip6, or leave it out")]
    Ethertype(u16),
}
