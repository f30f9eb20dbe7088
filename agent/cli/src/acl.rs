//! `tapestry acl`: which frames may pass between whom on a network.

use std::collections::BTreeMap;

use agent_api::{AclAction, AclAdd, AclRule, AclView, Client, LabelsUpdate};

use crate::failure::Failure;
use crate::link::find;
use crate::listing::{OfNetwork, Sheet};
use crate::output;

/// Say which frames may pass between whom on a network
///
/// Rules are asked in the order of their priorities, and the first that means a frame decides; there is no state, so that what answers
/// needs a rule too: --both, or one with established.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Add(Add),
    /// List a network's rules, in the order in which they are asked, and how many frames each decided
    Ls(OfNetwork),
    Rm(Rm),
    Default(Default),
    Label(Label),
}

/// Add a rule, and print its priority
///
/// A rule is: allow or deny; from and to, each any, name:NAME, label:KEY=VALUE[,..], mac:MAC, gateway, an address or a subnet; proto tcp,
/// udp, icmp, icmp6, sctp or a number; sport and port, a number or a range; icmp-type N; ethertype ip, ip6, arp or a number;
/// established (TCP with ACK or RST). What is left out means everything.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// When it is asked, lower ones first; after all others where absent
    #[arg(long, value_name = "N")]
    priority: Option<u32>,
    /// The other direction too, with ends and ports swapped
    #[arg(long)]
    both: bool,
    /// The network's name or id
    network: String,
    /// As in: deny from label:tier=web to name:db proto tcp port 5432
    #[arg(required = true, value_name = "RULE")]
    rule: Vec<String>,
}

/// Remove rules
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// The network's name or id
    network: String,
    /// The priorities of rules, as acl ls shows them
    #[arg(required = true, value_name = "PRIORITY")]
    priorities: Vec<u32>,
}

/// Say what becomes of frames that no rule means
#[derive(Debug, clap::Args)]
pub(crate) struct Default {
    /// The network's name or id
    network: String,
    /// allow or deny
    #[arg(value_parser = action)]
    action: AclAction,
}

/// Change the labels by which rules know a container
#[derive(Debug, clap::Args)]
pub(crate) struct Label {
    /// The container's name or id, or that of whatever else is attached
    container: String,
    /// The network, where there are several; and KEY=VALUE, or KEY- to take it away
    #[arg(required = true, value_name = "[NETWORK] LABEL")]
    words: Vec<String>,
}

fn action(word: &str) -> Result<AclAction, String> {
    match word {
        "allow" => Ok(AclAction::Allow),
        "deny" => Ok(AclAction::Deny),
        _ => Err("write allow or deny".to_owned()),
    }
}

pub(crate) async fn run(verb: Verb, client: &Client) -> Result<u8, Failure> {
    match verb {
        Verb::Add(add) => {
            let (network, add) = add.request()?;
            let priority = client.add_acl_rule(&network, &add).await?;
            output::print(&format!("{priority}\n"))?;
        }
        Verb::Ls(of) => {
            let view = client.acl(&of.network).await?;
            return of.listing.print(&lines(view), &SHEET);
        }
        Verb::Rm(rm) => {
            for priority in rm.priorities {
                client.remove_acl_rule(&rm.network, priority).await?;
            }
        }
        Verb::Default(args) => client.set_acl_default(&args.network, args.action).await?,
        Verb::Label(label) => {
            let (place, update) = labels(&label.words)?;
            let link = find(&label.container, place.as_deref(), client).await?;
            client.update_labels(&link.endpoint, &update).await?;
        }
    }
    Ok(0)
}

impl Add {
    fn request(self) -> Result<(String, AclAdd), Failure> {
        let rule = self.rule.join(" ");
        let mut rule: AclRule = rule
            .parse()
            .map_err(|bad: agent_api::BadAclRule| Failure::usage(bad.to_string()))?;
        rule.both |= self.both;
        rule.check()
            .map_err(|bad| Failure::usage(bad.to_string()))?;
        let add = AclAdd {
            priority: self.priority,
            rule,
        };
        Ok((self.network, add))
    }
}

fn labels(words: &[String]) -> Result<(Option<String>, LabelsUpdate), Failure> {
    let mut place = None;
    let mut update = BTreeMap::new();
    for (at, word) in words.iter().enumerate() {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => {
                update.insert(key.to_owned(), Some(value.to_owned()));
            }
            (None, Some(key)) if !key.is_empty() => {
                update.insert(key.to_owned(), None);
            }
            (None, _) if at == 0 => place = Some(word.clone()),
            _ => {
                return Err(Failure::usage(format!(
                    "{word:?} is no label; write KEY=VALUE, or KEY- to take it away"
                )));
            }
        }
    }
    match update.is_empty() {
        true => Err(Failure::usage("no label is named; write KEY=VALUE or KEY-")),
        false => Ok((place, LabelsUpdate(update))),
    }
}

/// A row of `acl ls`: a rule, or the default at the end.
#[derive(Debug, serde::Serialize)]
struct Line {
    priority: Option<u32>,
    rule: String,
    hits: u64,
}

fn lines(view: AclView) -> Vec<Line> {
    let rules = view.rules.into_iter().map(|rule| Line {
        priority: Some(rule.priority),
        rule: rule.text,
        hits: rule.hits,
    });
    let default = Line {
        priority: None,
        rule: view.default.to_string(),
        hits: view.default_hits,
    };
    rules.chain([default]).collect()
}

fn rows(line: &Line) -> Vec<Vec<String>> {
    let priority = line.priority.map(|priority| priority.to_string());
    vec![vec![
        priority.unwrap_or_else(|| "default".to_owned()),
        line.rule.clone(),
        line.hits.to_string(),
    ]]
}

const SHEET: Sheet<Line> = Sheet {
    columns: &[("Priority", "PRIORITY"), ("Rule", "RULE"), ("Hits", "HITS")],
    called: 0,
    rows,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests::table;
    use agent_api::AclRuleView;

    #[test]
    fn the_default_stands_below_the_rules() {
        let rule: AclRule = "deny from name:web to name:db".parse().unwrap();
        let view = AclView {
            rules: vec![AclRuleView {
                priority: 10,
                text: rule.to_string(),
                rule,
                hits: 3,
            }],
            default: AclAction::Allow,
            default_hits: 70,
        };
        insta::assert_snapshot!(table(&lines(view), &SHEET), @r"
        PRIORITY   RULE                            HITS
        10         deny from name:web to name:db   3
        default    allow                           70
        ");
    }

    #[test]
    fn labels_are_set_and_taken_away() {
        let read = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            labels(&words)
        };
        let (place, update) = read("lab tier=db env-").unwrap();
        assert_eq!(place.as_deref(), Some("lab"));
        assert_eq!(update.0["tier"].as_deref(), Some("db"));
        assert_eq!(update.0["env"], None);
        assert_eq!(read("env-").unwrap().0, None);
        assert!(read("lab").is_err() && read("lab =x").is_err());
    }
}
