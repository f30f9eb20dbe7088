//! What can be a name in a zone.

use hickory_proto::rr::Name;

/// The text is no DNS name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be a DNS name; use letters, digits, '-' and '_', at most 63 of them between dots and 253 in all"
)]
pub struct InvalidName(pub String);

/// Whether `text` can be a name of a zone: what Docker allows in container names, and DNS in labels.
pub fn check_name(text: &str) -> Result<(), InvalidName> {
    parse_name(text).map(drop)
}

/// Checks a name as [`check_name`] does, and makes it absolute.
pub(crate) fn parse_name(text: &str) -> Result<Name, InvalidName> {
    let invalid = || InvalidName(text.to_owned());
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if text.len() > 253 || !text.split('.').all(is_label) {
        return Err(invalid());
    }
    let mut name = Name::from_ascii(text).map_err(|_| invalid())?;
    name.set_fqdn(true);
    Ok(name)
}
