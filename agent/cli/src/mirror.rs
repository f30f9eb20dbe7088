//! `tapestry mirror`: copies of what passes one port, at another one.

use agent_api::{Client, MirrorCreate, MirrorView};

use crate::failure::Failure;
use crate::listing::{OfNetwork, Sheet};

/// Copy what passes a port of a network to another port, as to an intrusion detector
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Add(Add),
    /// List a network's mirrors
    Ls(OfNetwork),
    Rm(Rm),
}

/// Copy what passes a port, both ways, to another port of the network
///
/// The mirror stays until it is removed, also when agent or containers restart. A port that gets copies and cannot take them all loses
/// copies: what passes the mirrored port is not held up.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// The network's name or id
    network: String,
    /// The port whose frames are copied: a container's name, host, or a number of `port ls`
    #[arg(long, value_name = "PORT")]
    from: String,
    /// The port that gets the copies
    #[arg(long, value_name = "PORT")]
    to: String,
}

/// End a mirror
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// The network's name or id
    network: String,
    /// The port whose frames are copied
    #[arg(long, value_name = "PORT")]
    from: String,
}

pub(crate) async fn run(verb: Verb, client: &Client) -> Result<u8, Failure> {
    match verb {
        Verb::Ls(of) => of
            .listing
            .print(&client.mirrors(&of.network).await?, &SHEET),
        Verb::Add(Add { network, from, to }) => {
            client
                .mirror_port(&network, &MirrorCreate { from, to })
                .await?;
            Ok(0)
        }
        Verb::Rm(Rm { network, from }) => {
            client.unmirror_port(&network, &from).await?;
            Ok(0)
        }
    }
}

fn rows(mirror: &MirrorView) -> Vec<Vec<String>> {
    let port = |port: Option<u32>| port.map_or("-".to_owned(), |port| port.to_string());
    vec![vec![
        mirror.from.clone(),
        port(mirror.from_port),
        mirror.to.clone(),
        port(mirror.to_port),
        if mirror.up { "up" } else { "waiting" }.to_owned(),
    ]]
}

const SHEET: Sheet<MirrorView> = Sheet {
    columns: &[
        ("From", "FROM"),
        ("FromPort", "FROM PORT"),
        ("To", "TO"),
        ("ToPort", "TO PORT"),
        ("State", "STATE"),
    ],
    called: 0,
    rows,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests::table;

    #[test]
    fn a_mirror_whose_port_is_gone_waits() {
        let mirror = |from: &str, to_port| MirrorView {
            from: from.into(),
            to: "ids".into(),
            from_port: Some(3),
            to_port,
            up: to_port.is_some(),
        };
        let mirrors = [mirror("web", Some(5)), mirror("db", None)];
        insta::assert_snapshot!(table(&mirrors, &SHEET), @r"
        FROM      FROM PORT   TO        TO PORT   STATE
        web       3           ids       5         up
        db        3           ids       -         waiting
        ");
    }
}
