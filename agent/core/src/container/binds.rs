//! What of the host's files a container sees besides its own.

use std::path::PathBuf;

/// One of `binds`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub host: PathBuf,
    pub inside: PathBuf,
    pub is_read_only: bool,
}

/// A bind that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "bind {0:?} is not HOST:CONTAINER or HOST:CONTAINER:ro with absolute paths, as /srv/web:/var/www:ro"
)]
pub struct BadBind(String);

impl Bind {
    pub fn parse(text: &str) -> Result<Self, BadBind> {
        let bad = || BadBind(text.chars().take(120).collect());
        let parts: Vec<&str> = text.split(':').collect();
        let (host, inside, is_read_only) = match parts[..] {
            [host, inside] | [host, inside, "rw"] => (host, inside, false),
            [host, inside, "ro"] => (host, inside, true),
            _ => return Err(bad()),
        };
        let (host, inside) = (PathBuf::from(host), PathBuf::from(inside));
        let is_root = inside.parent().is_none();
        let climbs = inside.components().any(|part| part.as_os_str() == "..");
        match host.is_absolute() && inside.is_absolute() && !is_root && !climbs {
            true => Ok(Self {
                host,
                inside,
                is_read_only,
            }),
            false => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_read_as_docker_writes_them() {
        let read = Bind::parse("/a:/b/c:ro").unwrap();
        assert_eq!((read.inside, read.is_read_only), ("/b/c".into(), true));
        assert!(!Bind::parse("/a:/b").unwrap().is_read_only);
        for text in [
            "/a",
            "a:/b",
            "/a:b",
            "/a:/",
            "/a:/b/../..",
            "/a:/b:x",
            "/a:/b:ro:z",
        ] {
            assert!(Bind::parse(text).is_err(), "{text}");
        }
    }
}
