//! What turns one table into another, without what both have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::TABLE;
use super::published::{map_elements, map_names};
use super::sets::{counting, network_elements};
use super::words::quoted;
use crate::firewall::drops::{Count, FilterDrop};
use crate::firewall::rules::{NetworkRules, Published, Rules};

/// The script that turns the table for `before` into the one for `after`, with what it has counted. Nothing where only the whole
/// table says it: what is about the host changes rules, and of networks that overlap two may have one element.
pub fn render_change(before: &Rules, after: &Rules) -> Option<String> {
    let is_same_host = before.tunnels == after.tunnels
        && before.services == after.services
        && before.own_forwarding == after.own_forwarding
        && before.mark_bit == after.mark_bit;
    if !is_same_host {
        return None;
    }
    let networks = [before, after].map(by_link);
    let gone = only_in(&networks[0], &networks[1]);
    let come = only_in(&networks[1], &networks[0]);
    let overlaps = [(&gone, before), (&come, after)]
        .into_iter()
        .any(|(changed, rules)| changed.iter().any(|one| overlaps_another(one, rules)));
    if overlaps {
        return None;
    }
    let mut text = String::new();
    push_networks(&mut text, &gone, &come);
    push_published(&mut text, &before.published, &after.published);
    Some(text)
}

fn by_link(rules: &Rules) -> BTreeMap<&str, &NetworkRules> {
    let networks = rules.networks.iter();
    networks
        .map(|network| (network.host_link.as_str(), network))
        .collect()
}

/// The networks that the others do not have, or have otherwise.
fn only_in<'r>(
    networks: &BTreeMap<&str, &'r NetworkRules>,
    others: &BTreeMap<&str, &NetworkRules>,
) -> Vec<&'r NetworkRules> {
    let only = networks
        .iter()
        .filter(|(link, network)| others.get(*link) != Some(network));
    only.map(|(_, network)| *network).collect()
}

fn overlaps_another(network: &NetworkRules, rules: &Rules) -> bool {
    let mut others = rules
        .networks
        .iter()
        .filter(|other| other.host_link != network.host_link)
        .flat_map(|other| &other.subnets);
    others.any(|other| {
        let mut own = network.subnets.iter();
        own.any(|own| own.contains(other) || other.contains(own))
    })
}

fn push_networks(text: &mut String, gone: &[&NetworkRules], come: &[&NetworkRules]) {
    let [had, has] = [gone, come].map(network_elements);
    let [gone, come] = [(gone, come), (come, gone)].map(|(networks, others)| {
        let is_new = |network: &&&NetworkRules| {
            let mut others = others.iter();
            !others.any(|other| other.host_link == network.host_link)
        };
        let links = networks.iter().filter(is_new);
        links.map(|network| &*network.host_link).collect::<Vec<_>>()
    });
    push_elements(text, "delete", had.difference(&has).cloned());
    push_elements(
        text,
        "delete",
        counters(&gone).map(|(set, link)| (set, quoted(link))),
    );
    push_elements(text, "add", has.difference(&had).cloned());
    push_elements(
        text,
        "add",
        counters(&come).map(|(set, link)| (set, counting(link, Count::default()))),
    );
}

/// A counter of each kind for each of the links.
fn counters<'l>(links: &[&'l str]) -> impl Iterator<Item = (&'static str, &'l str)> {
    FilterDrop::ALL
        .into_iter()
        .flat_map(move |reason| links.iter().map(move |link| (reason.set(), *link)))
}

/// A map is there as long as it has elements, and so is the rule that looks things up in it.
fn push_published(text: &mut String, before: &[Published], after: &[Published]) {
    let [had, has] = [before, after].map(|published| published.iter().collect::<BTreeSet<_>>());
    let [gone, come] = [(&had, &has), (&has, &had)]
        .map(|(runs, others)| map_elements(runs.difference(others).copied()));
    let [old_maps, maps] = [before, after].map(map_names);
    for name in maps.difference(&old_maps) {
        let _ = writeln!(text, "add map {TABLE} {name} {{ {}; }}", name.types());
    }
    for (word, changed) in [("delete", gone), ("add", come)] {
        for (name, elements) in changed {
            let name = name.to_string();
            push_elements(
                text,
                word,
                elements.into_iter().map(|element| (name.as_str(), element)),
            );
        }
    }
    if maps == old_maps {
        return;
    }
    let _ = writeln!(text, "flush chain {TABLE} published");
    for name in &maps {
        let _ = writeln!(text, "add rule {TABLE} published {}", name.rule());
    }
    for name in old_maps.difference(&maps) {
        let _ = writeln!(text, "delete map {TABLE} {name}");
    }
}

/// The commands for elements, of which those of one set come one after the other.
fn push_elements<'s>(
    text: &mut String,
    word: &str,
    elements: impl Iterator<Item = (&'s str, String)>,
) {
    let mut of_set: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (set, element) in elements {
        of_set.entry(set).or_default().push(element);
    }
    for (set, elements) in of_set {
        let elements = elements.join(", ");
        let _ = writeln!(text, "{word} element {TABLE} {set} {{ {elements} }}");
    }
}

#[cfg(test)]
mod tests {
    use agent_api::TransportProtocol;
    use proptest::prelude::*;

    use super::*;
    use crate::firewall::{Families, render};

    /// What the scripts are about, as `nft` would have it: the elements of each set, and the rules that publish.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Table {
        sets: BTreeMap<String, BTreeSet<String>>,
        published: Vec<String>,
    }

    impl Table {
        fn whole(rules: &Rules) -> Self {
            let mut table = Self::default();
            let (mut set, mut chain) = (String::new(), "");
            let text = render(rules);
            for line in text.lines().map(str::trim) {
                let mut words = line.split(' ');
                match (words.next(), words.next()) {
                    (Some("set" | "map"), Some(name)) => {
                        set = name.to_owned();
                        table.sets.insert(set.clone(), BTreeSet::new());
                    }
                    (Some("elements"), _) => {
                        let (_, list) = line.split_once("= ").unwrap();
                        table.sets.get_mut(&set).unwrap().extend(elements(list));
                    }
                    (Some("chain"), Some(name)) => chain = name,
                    (Some("dnat"), _) if chain == "published" => {
                        table.published.push(line.to_owned());
                    }
                    _ => {}
                }
            }
            table
        }

        /// As strict as `nft`: what is deleted is there, and what is added is not.
        fn apply(&mut self, script: &str) {
            for line in script.lines() {
                let line = line.replace(" inet tapestry ", " ");
                let words: Vec<_> = line.splitn(4, ' ').collect();
                match words[..] {
                    ["add", "element", set, list] => {
                        for element in elements(list) {
                            assert!(self.sets.get_mut(set).unwrap().insert(element), "{line}");
                        }
                    }
                    ["delete", "element", set, list] => {
                        let set = self.sets.get_mut(set).unwrap();
                        for element in elements(list) {
                            let counting = format!("{element} counter packets 0 bytes 0");
                            assert!(set.remove(&element) || set.remove(&counting), "{line}");
                        }
                    }
                    ["add", "map", name, _] => {
                        assert_eq!(self.sets.insert(name.into(), BTreeSet::new()), None);
                    }
                    ["delete", "map", name] => {
                        let used = self.published.iter().any(|rule| rule.ends_with(name));
                        assert!(!used, "{name} is looked up");
                        assert_eq!(self.sets.remove(name), Some(BTreeSet::new()));
                    }
                    ["flush", "chain", "published"] => self.published.clear(),
                    ["add", "rule", "published", rule] => self.published.push(rule.into()),
                    _ => panic!("unknown: {line}"),
                }
            }
        }
    }

    fn elements(list: &str) -> impl Iterator<Item = String> {
        let list = list.trim_start_matches("{ ").trim_end_matches(" }");
        list.split(", ").map(str::to_owned)
    }

    fn network(number: u8, options: u8) -> NetworkRules {
        let mut subnets = vec![format!("10.{number}.0.0/16")];
        if options & 1 != 0 {
            subnets.push(format!("fd00:{number}::/64"));
        }
        NetworkRules {
            host_link: format!("tsy{number:02}"),
            gateways: subnets
                .iter()
                .filter_map(|subnet| subnet.parse::<ipnet::IpNet>().unwrap().hosts().next())
                .collect(),
            subnets: subnets
                .iter()
                .map(|subnet| subnet.parse().unwrap())
                .collect(),
            masquerade: options & 2 != 0,
            anti_spoof: options & 4 != 0,
            lan: false,
            routed_by: None,
        }
    }

    fn published(port: u16, options: u8) -> Published {
        Published {
            protocol: match options & 1 {
                0 => TransportProtocol::Tcp,
                _ => TransportProtocol::Udp,
            },
            host_ip: match options >> 1 & 3 {
                0 => None,
                1 => Some("192.0.2.1".parse().unwrap()),
                2 => Some("0.0.0.0".parse().unwrap()),
                _ => Some("::1".parse().unwrap()),
            },
            host_port: 8000 + 10 * port,
            container: match options >> 3 & 1 {
                0 => format!("10.1.0.2:{}", 8000 + 10 * port),
                _ => format!("[fd00:1::2]:{port}"),
            }
            .parse()
            .unwrap(),
            ports: 1 + u16::from(options >> 4 & 3),
        }
    }

    prop_compose! {
        fn rules()(
            networks in prop::collection::btree_map(0_u8..6, 0_u8..8, 0..6),
            ports in prop::collection::btree_map(0_u16..6, 0_u8..64, 0..6),
        ) -> Rules {
            Rules {
                networks: networks.into_iter().map(|(number, options)| network(number, options)).collect(),
                published: ports.into_iter().map(|(port, options)| published(port, options)).collect(),
                ..Rules::default()
            }
        }
    }

    proptest! {
        #[test]
        fn any_changes_lead_to_the_whole_table(states in prop::collection::vec(rules(), 2..8)) {
            let mut table = Table::whole(&states[0]);
            for pair in states.windows(2) {
                table.apply(&render_change(&pair[0], &pair[1]).unwrap());
                prop_assert_eq!(&table, &Table::whole(&pair[1]));
            }
        }
    }

    fn many(count: u8) -> Rules {
        Rules {
            networks: (0..count).map(|number| network(number, 7)).collect(),
            ..Rules::default()
        }
    }

    #[test]
    fn one_more_network_costs_the_same_among_many() {
        let [few, lots] = [5, 205].map(|there| {
            let mut after = many(there);
            after.networks.push(network(250, 7));
            render_change(&many(there), &after).unwrap()
        });
        assert_eq!(few, lots);
    }

    #[test]
    fn what_did_not_change_says_nothing() {
        let mut other = many(3);
        other.networks.reverse();
        assert_eq!(render_change(&many(3), &other).as_deref(), Some(""));
    }

    #[test]
    fn counters_outlive_a_change_of_their_network() {
        let mut after = many(1);
        after.networks[0].anti_spoof = false;
        let script = render_change(&many(1), &after).unwrap();
        assert_eq!(
            script,
            "delete element inet tapestry guarded { \"tsy00\" }\n"
        );
    }

    #[test]
    fn only_the_whole_table_says_what_overlaps_or_is_about_the_host() {
        let mut within = many(3);
        within.networks[1].subnets = vec!["10.2.7.0/24".parse().unwrap()];
        assert_eq!(render_change(&many(3), &within), None);
        assert_eq!(render_change(&within, &many(3)), None);
        let untouched = Rules {
            networks: [network(9, 0), within.networks[0].clone()].into(),
            ..Rules::default()
        };
        assert!(render_change(&untouched, &many(1)).is_some());

        let tunnels = Rules {
            tunnels: ["192.0.2.1:4789".parse().unwrap()].into(),
            ..many(3)
        };
        let forwards = Rules {
            own_forwarding: Families {
                ipv4: true,
                ipv6: false,
            },
            ..many(3)
        };
        for other in [tunnels, forwards] {
            assert_eq!(render_change(&many(3), &other), None);
        }
    }
}
