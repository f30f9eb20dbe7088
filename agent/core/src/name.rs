//! Names and ids of networks and containers.

use crate::hex;

/// Docker's grammar, `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, and short enough for a DNS label (RFC 1035 §2.3.4). For hostnames
/// too, which may have several labels (RFC 1123 §2.1): the kernel keeps 64 bytes of them.
pub fn check_name(name: &str) -> Result<(), BadName> {
    let mut bytes = name.bytes();
    let starts_well = bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric());
    let goes_on_well =
        bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if !starts_well || !goes_on_well {
        return Err(BadName::Characters(shown(name)));
    }
    if name.len() > NAME_LENGTH_MAX {
        return Err(BadName::Length(name.len(), shown(name)));
    }
    Ok(())
}

/// A name that no container, network or alias may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error(
        "{0:?} is not a usable name; take letters, digits, '_', '.' and '-', beginning with a letter or digit"
    )]
    Characters(String),
    #[error("the name {1:?} has {0} characters; take at most 63")]
    Length(usize, String),
}

/// Whether it is an id as [`id_of`] makes them, which somebody else may have made.
pub fn check_id(id: &str) -> Result<(), BadId> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match id.len() == 64 && id.bytes().all(is_digit) {
        true => Ok(()),
        false => Err(BadId(shown(id))),
    }
}

/// An id that no network or endpoint may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id; take 64 hexadecimal digits in lower case, or leave it out")]
pub struct BadId(String);

/// The id that 32 random bytes make: 64 hexadecimal digits, as Docker's.
pub fn id_of(random: [u8; 32]) -> String {
    hex::encode(&random)
}

/// The id as people see it.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A name for a container that got none; `id` decides which, so that it is as random as the id.
pub fn made_up(id: &str) -> String {
    let digit = |range: std::ops::Range<usize>| {
        id.get(range)
            .and_then(|hex| usize::from_str_radix(hex, 16).ok())
            .unwrap_or(0)
    };
    let (adjective, noun) = (
        ADJECTIVES[digit(0..4) % ADJECTIVES.len()],
        NOUNS[digit(4..8) % NOUNS.len()],
    );
    format!("{adjective}_{noun}_{}", id.get(8..12).unwrap_or("0"))
}

fn shown(name: &str) -> String {
    if name.chars().count() <= SHOWN_CHARACTERS_MAX {
        return name.to_owned();
    }
    name.chars()
        .take(SHOWN_CHARACTERS_MAX)
        .chain("...".chars())
        .collect()
}

const NAME_LENGTH_MAX: usize = 63;
const SHOWN_CHARACTERS_MAX: usize = 40;

const ADJECTIVES: [&str; 16] = [
    "braided", "brocaded", "carded", "coiled", "dyed", "felted", "hemmed", "knotted", "laced",
    "plaited", "quilted", "spun", "tufted", "twined", "woven", "wound",
];

const NOUNS: [&str; 16] = [
    "bobbin", "carpet", "distaff", "fringe", "heddle", "kilim", "loom", "ribbon", "selvedge",
    "shuttle", "skein", "spindle", "thread", "treadle", "warp", "weft",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_grammar() {
        for good in ["web", "a", "0", "my_net.1-x", &"a".repeat(63)] {
            assert_eq!(check_name(good), Ok(()), "{good:?}");
        }
        for bad in [
            "",
            "-web",
            ".web",
            "a/b",
            "a b",
            "a\nb",
            "naïve",
            &"a".repeat(64),
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_refused_name_is_shown_on_one_short_line() {
        let line = check_name(&"x\n".repeat(150)).unwrap_err().to_string();
        assert!(!line.contains('\n') && line.len() < 250, "{line}");
    }

    #[test]
    fn ids_are_64_digits_and_make_names() {
        let (one, other) = (id_of([0x0f; 32]), id_of([0xf1; 32]));
        assert_eq!(one, "0f".repeat(32));
        assert_eq!(check_id(&one), Ok(()));
        for bad in ["", "0f", &"0F".repeat(32), &"xy".repeat(32)] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
        assert_eq!(short(&one), "0f0f0f0f0f0f");
        assert_ne!(made_up(&one), made_up(&other));
        assert!(check_name(&made_up(&one)).is_ok());
    }
}
