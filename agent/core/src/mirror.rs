//! Which ports may be mirrored.
//!
//! # Theory of operation
//!
//! A mirror has what passes one port of a network written to another one of it as well. It is between names, not between ports: a
//! container that comes again has another port, and is mirrored as before. What is written to a port that somebody mirrors to is not
//! mirrored again, so that no frame goes in circles: a port is one end of mirrors or the other.

use std::collections::BTreeSet;

use agent_api::{ApiError, ErrorKind};

use crate::capture::NamedPort;
use crate::record::MirrorRecord;

/// `POST` and `DELETE /v1/networks/{name}/mirrors`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mirror {
    #[error("network {network:?} has no port {word:?}; it has: {there}")]
    NoPort {
        network: String,
        word: String,
        there: String,
    },
    #[error("port {0:?} cannot be mirrored to itself; name two ports")]
    Itself(String),
    #[error("port {0:?} has no station that could take copies; mirror to a container or to host")]
    NoStation(String),
    #[error("port {from:?} is mirrored to {to:?} already; `tapestry mirror rm` ends that")]
    There { from: String, to: String },
    #[error(
        "port {0:?} takes copies of other ports and is mirrored itself then; frames would go in circles"
    )]
    Chain(String),
    #[error(
        "port {from:?} of network {network:?} is not mirrored; `tapestry mirror ls {network}` lists mirrors"
    )]
    NotThere { network: String, from: String },
    #[error("{0} ports of network {1:?} are mirrored already; end one of these mirrors")]
    Many(usize, String),
    #[error("mirroring port {from:?} to {to:?}: {why}")]
    Host {
        from: String,
        to: String,
        why: String,
    },
}

impl From<Mirror> for ApiError {
    fn from(error: Mirror) -> Self {
        let kind = match &error {
            Mirror::Itself(_) | Mirror::NoStation(_) => ErrorKind::Invalid,
            Mirror::NoPort { .. } | Mirror::NotThere { .. } => ErrorKind::NotFound,
            Mirror::There { .. } | Mirror::Chain(_) => ErrorKind::Conflict,
            Mirror::Many(..) => ErrorKind::Exhausted,
            Mirror::Host { .. } => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// A mirror that may be, between ports that are there. `mirrors` are those of the network.
pub fn plan_mirror(
    (id, name): (&str, &str),
    ports: &[NamedPort],
    mirrors: &BTreeSet<MirrorRecord>,
    (from, to): (&str, &str),
) -> Result<MirrorRecord, Mirror> {
    let [from, to] = [from, to].map(|word| {
        let called = ports.iter().find(|port| port.is_called(word));
        called.ok_or_else(|| Mirror::NoPort {
            network: name.to_owned(),
            word: word.to_owned(),
            there: listed(ports),
        })
    });
    let (from, to) = (from?, to?);
    if from.port == to.port {
        return Err(Mirror::Itself(from.owner.clone()));
    }
    if to.sandbox.is_none() && to.link.is_none() {
        return Err(Mirror::NoStation(to.owner.clone()));
    }
    for mirror in mirrors {
        if mirror.from == from.owner {
            return Err(Mirror::There {
                from: mirror.from.clone(),
                to: mirror.to.clone(),
            });
        }
        if mirror.to == from.owner {
            return Err(Mirror::Chain(mirror.to.clone()));
        }
        if mirror.from == to.owner {
            return Err(Mirror::Chain(mirror.from.clone()));
        }
    }
    if mirrors.len() >= MIRRORS_MAX {
        return Err(Mirror::Many(MIRRORS_MAX, name.to_owned()));
    }
    Ok(MirrorRecord {
        network: id.to_owned(),
        from: from.owner.clone(),
        to: to.owner.clone(),
    })
}

/// The mirror of a port, by any of the names that the port has.
pub fn find_mirror<'m>(
    network: &str,
    ports: &[NamedPort],
    mirrors: &'m BTreeSet<MirrorRecord>,
    word: &str,
) -> Result<&'m MirrorRecord, Mirror> {
    let port = ports.iter().find(|port| port.is_called(word));
    let owner = port.map_or(word, |port| port.owner.as_str());
    let found = mirrors.iter().find(|mirror| mirror.from == owner);
    found.ok_or_else(|| Mirror::NotThere {
        network: network.to_owned(),
        from: word.to_owned(),
    })
}

fn listed(ports: &[NamedPort]) -> String {
    let names = ports.iter().map(|port| port.owner.as_str());
    let mut names: Vec<_> = names.take(SHOWN_MAX).collect();
    if ports.len() > SHOWN_MAX {
        names.push("...");
    }
    names.join(", ")
}

const SHOWN_MAX: usize = 8;
/// In one network.
const MIRRORS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Owner;
    use switch_core::PortId;

    fn ports() -> Vec<NamedPort> {
        let names = ["gateway", "host", "web", "db", "ids"];
        let ports = (1..).zip(names).map(|(number, owner)| NamedPort {
            port: PortId(number),
            owner: owner.into(),
            link: (number > 1).then(|| "eth0".into()),
            sandbox: (number > 2).then(|| Owner::Container(owner.into())),
        });
        ports.collect()
    }

    fn mirror(from: &str, to: &str) -> MirrorRecord {
        MirrorRecord {
            network: "n".into(),
            from: from.into(),
            to: to.into(),
        }
    }

    fn planned(there: &[(&str, &str)], ends: (&str, &str)) -> Result<MirrorRecord, Mirror> {
        let there = there.iter().map(|(from, to)| mirror(from, to)).collect();
        plan_mirror(("n", "lab"), &ports(), &there, ends)
    }

    #[test]
    fn ports_are_named_by_number_or_owner_and_kept_by_owner() {
        assert_eq!(planned(&[], ("web", "ids")), Ok(mirror("web", "ids")));
        assert_eq!(planned(&[], ("3", "ids:eth0")), Ok(mirror("web", "ids")));
        assert_eq!(
            planned(&[], ("gateway", "host")),
            Ok(mirror("gateway", "host"))
        );
        let many = [("web", "ids")];
        assert_eq!(planned(&many, ("db", "ids")), Ok(mirror("db", "ids")));
    }

    #[test]
    fn what_cannot_be_mirrored_is_refused() {
        assert_eq!(
            planned(&[], ("web", "3")),
            Err(Mirror::Itself("web".into()))
        );
        let told = planned(&[], ("web", "x")).unwrap_err().to_string();
        assert!(
            told.ends_with("it has: gateway, host, web, db, ids"),
            "{told}"
        );
        let nowhere = planned(&[], ("web", "gateway"));
        assert_eq!(nowhere, Err(Mirror::NoStation("gateway".into())));
        let there = planned(&[("web", "ids")], ("web", "db"));
        assert!(matches!(there, Err(Mirror::There { .. })));
    }

    #[test]
    fn no_copy_is_copied_again() {
        let there = [("web", "ids")];
        assert_eq!(
            planned(&there, ("ids", "db")),
            Err(Mirror::Chain("ids".into()))
        );
        assert_eq!(
            planned(&there, ("db", "web")),
            Err(Mirror::Chain("web".into()))
        );
    }

    #[test]
    fn a_mirror_is_found_though_its_port_is_gone() {
        let there = BTreeSet::from([mirror("web", "ids")]);
        assert_eq!(
            find_mirror("lab", &ports(), &there, "3"),
            Ok(&mirror("web", "ids"))
        );
        assert_eq!(
            find_mirror("lab", &[], &there, "web"),
            Ok(&mirror("web", "ids"))
        );
        let told = find_mirror("lab", &ports(), &there, "db").unwrap_err();
        assert!(matches!(told, Mirror::NotThere { .. }));
    }
}
