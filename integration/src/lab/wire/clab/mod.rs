//! containerlab's `*.clab.yml`, as its "topology definition file" page has it: the keys, not their meaning.

mod link;

use std::collections::BTreeMap;

use super::text::Text;
use super::yaml::{self, Fields, Node};
use crate::lab::fault::{Fault, Mark, Read, unknown};

use self::link::links;
pub(in crate::lab) use self::link::{Beyond, End, HOST, Link, no_link};

/// A text and where it stands.
pub(in crate::lab) type Said = (Mark, String);

/// The whole file.
#[derive(Debug)]
pub(in crate::lab) struct Clab {
    pub(in crate::lab) name: Said,
    pub(in crate::lab) prefix: Option<Said>,
    pub(in crate::lab) mgmt: Mgmt,
    pub(in crate::lab) defaults: Properties,
    pub(in crate::lab) kinds: BTreeMap<String, Properties>,
    pub(in crate::lab) groups: BTreeMap<String, Properties>,
    pub(in crate::lab) nodes: Vec<(Said, Properties)>,
    pub(in crate::lab) links: Vec<Link>,
}

/// `mgmt:`.
#[derive(Debug, Default)]
pub(in crate::lab) struct Mgmt {
    pub(in crate::lab) network: Option<Said>,
    pub(in crate::lab) ipv4_subnet: Option<Said>,
    pub(in crate::lab) ipv6_subnet: Option<Said>,
    pub(in crate::lab) ipv4_gw: Option<Said>,
    pub(in crate::lab) ipv6_gw: Option<Said>,
    pub(in crate::lab) mtu: Option<Said>,
}

/// What a node, a group, a kind and the defaults may say.
#[derive(Clone, Debug, Default)]
pub(in crate::lab) struct Properties {
    /// By key: those that are one text.
    pub(in crate::lab) texts: BTreeMap<&'static str, Said>,
    /// Those that are lists of texts.
    pub(in crate::lab) lists: BTreeMap<&'static str, Vec<Said>>,
    /// Those that are texts by names.
    pub(in crate::lab) maps: BTreeMap<&'static str, BTreeMap<String, Said>>,
}

/// Reads the text of a file; `env` has the variables that it may name.
pub(in crate::lab) fn read(written: &str, env: &dyn Fn(&str) -> Option<String>) -> Read<Clab> {
    refuse_templates(written)?;
    let text = Text::new(written, env)?;
    let file = yaml::parse(&text)?;
    let fields = file.fields("the lab", &TOP)?;
    let Some(name) = fields.text("name")? else {
        return Err(Fault::new(file.at, "the lab has no name; write name: NAME"));
    };
    let Some(topology) = fields.find("topology") else {
        return Err(Fault::new(
            file.at,
            "the lab has no topology; write topology: with nodes: below it",
        ));
    };
    let topology = topology.fields("topology", &TOPOLOGY)?;
    let of = |key: &str| topology.find(key);
    Ok(Clab {
        name,
        prefix: prefix(&file)?,
        mgmt: fields.find("mgmt").map_or(Ok(Mgmt::default()), mgmt)?,
        defaults: of("defaults").map_or(Ok(Properties::default()), |node| {
            properties(node, "defaults")
        })?,
        kinds: by_name(of("kinds"), "kind")?,
        groups: by_name(of("groups"), "group")?,
        nodes: nodes(of("nodes"))?,
        links: of("links").map_or(Ok(Vec::new()), links)?,
    })
}

/// `{{ .. }}` is Go's: containerlab renders files that have `.gotmpl` beside them, and takes no template itself.
fn refuse_templates(written: &str) -> Read<()> {
    for (number, line) in written.lines().enumerate() {
        let is_comment = line.trim_start().starts_with('#');
        if let Some(found) = line.find("{{").filter(|_| !is_comment) {
            let column = line[..found].chars().count() + 1;
            let at = Mark {
                line: number + 1,
                column,
            };
            return Err(Fault::new(
                at,
                "\"{{\" begins a Go template, which is not taken; render the file first, as with gomplate",
            ));
        }
    }
    Ok(())
}

/// Said and empty, it is no prefix at all.
fn prefix(file: &Node) -> Read<Option<Said>> {
    let mut entries = file.entries("the lab")?.iter();
    let found = entries.find(|(key, _)| key.text == "prefix");
    found
        .map(|(_, node)| match node.is_nothing() {
            true => Ok((node.at, String::new())),
            false => Ok((node.at, node.text("prefix")?.to_owned())),
        })
        .transpose()
}

fn mgmt(node: &Node) -> Read<Mgmt> {
    let fields = node.fields("mgmt", &MGMT)?;
    Ok(Mgmt {
        network: fields.text("network")?,
        ipv4_subnet: either(&fields, "ipv4-subnet", "ipv4_subnet")?,
        ipv6_subnet: either(&fields, "ipv6-subnet", "ipv6_subnet")?,
        ipv4_gw: fields.text("ipv4-gw")?,
        ipv6_gw: fields.text("ipv6-gw")?,
        mtu: fields.text("mtu")?,
    })
}

/// Older files have the second spelling.
fn either(fields: &Fields<'_>, key: &str, older: &str) -> Read<Option<Said>> {
    match fields.text(key)? {
        Some(said) => Ok(Some(said)),
        None => fields.text(older),
    }
}

fn by_name(node: Option<&Node>, what: &str) -> Read<BTreeMap<String, Properties>> {
    let Some(node) = node else {
        return Ok(BTreeMap::new());
    };
    let entries = node.entries(&format!("{what}s"))?.iter();
    entries
        .map(|(key, value)| {
            let of = format!("{what} {}", key.text);
            Ok((key.text.clone(), properties(value, &of)?))
        })
        .collect()
}

fn nodes(node: Option<&Node>) -> Read<Vec<(Said, Properties)>> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let entries = node.entries("nodes")?.iter();
    entries
        .map(|(key, value)| {
            let of = format!("node {}", key.text);
            Ok(((key.at, key.text.clone()), properties(value, &of)?))
        })
        .collect()
}

fn properties(node: &Node, what: &str) -> Read<Properties> {
    let mut said = Properties::default();
    for (key, value) in node.entries(what)? {
        let name = key.text.as_str();
        let same = |known: &&'static str| (*known == name).then_some(*known);
        if value.is_nothing() || IGNORED.contains(&name) {
            if !known_keys().any(|known| known == name) {
                return Err(Fault::new(key.at, misspelt(name, what)));
            }
        } else if let Some(name) = TEXTS.iter().find_map(same) {
            let text = value.text(name)?.to_owned();
            said.texts.insert(name, (value.at, text));
        } else if let Some(name) = LISTS.iter().find_map(same) {
            said.lists.insert(name, texts(value, name)?);
        } else if let Some(name) = MAPS.iter().find_map(same) {
            said.maps.insert(name, map(value, name)?);
        } else if name == "dns" {
            let fields = value.fields("dns", &DNS)?;
            for (key, name) in DNS.iter().zip(DNS_LISTS) {
                if let Some(list) = fields.find(key) {
                    said.lists.insert(name, texts(list, key)?);
                }
            }
        } else if LATER.contains(&name) {
            return Err(Fault::new(
                key.at,
                format!("{name} in {what} is containerlab's, and not taken here yet; leave it out"),
            ));
        } else {
            return Err(Fault::new(key.at, misspelt(name, what)));
        }
    }
    Ok(said)
}

fn misspelt(name: &str, what: &str) -> String {
    let known: Vec<&str> = known_keys().collect();
    unknown("key", name, &known, &format!("in {what}"))
}

fn known_keys() -> impl Iterator<Item = &'static str> {
    let taken = TEXTS.iter().chain(&LISTS).chain(&MAPS).chain(&["dns"]);
    taken.chain(&IGNORED).chain(&LATER).copied()
}

fn texts(node: &Node, what: &str) -> Read<Vec<Said>> {
    let list = node.list(what)?.iter();
    let item = format!("an item of {what}");
    list.map(|node| Ok((node.at, node.text(&item)?.to_owned())))
        .collect()
}

fn map(node: &Node, what: &str) -> Read<BTreeMap<String, Said>> {
    let entries = node.entries(what)?.iter();
    entries
        .map(|(key, value)| {
            let text = match value.is_nothing() {
                true => String::new(),
                false => value.text(&format!("{} in {what}", key.text))?.to_owned(),
            };
            Ok((key.text.clone(), (value.at, text)))
        })
        .collect()
}

const TOP: [&str; 6] = ["name", "prefix", "mgmt", "topology", "settings", "debug"];
const TOPOLOGY: [&str; 5] = ["defaults", "kinds", "groups", "nodes", "links"];
const MGMT: [&str; 10] = [
    "network",
    "ipv4-subnet",
    "ipv6-subnet",
    "ipv4_subnet",
    "ipv6_subnet",
    "ipv4-gw",
    "ipv6-gw",
    "mtu",
    "bridge",
    "external-access",
];
const TEXTS: [&str; 15] = [
    "kind",
    "image",
    "group",
    "entrypoint",
    "cmd",
    "user",
    "mgmt-ipv4",
    "mgmt-ipv6",
    "network-mode",
    "hostname",
    "cpu",
    "memory",
    "restart-policy",
    "runtime",
    "privileged",
];
const LISTS: [&str; 5] = ["binds", "exec", "ports", "aliases", "cap-add"];
const MAPS: [&str; 3] = ["env", "sysctls", "labels"];
const DNS: [&str; 3] = ["servers", "search", "options"];
/// What their lists are called among the others.
pub(in crate::lab) const DNS_LISTS: [&str; 3] = ["dns-servers", "dns-search", "dns-options"];
/// Of other kinds of nodes, or of no consequence here.
const IGNORED: [&str; 12] = [
    "type",
    "license",
    "startup-config",
    "enforce-startup-config",
    "suppress-startup-config",
    "certificate",
    "position",
    "image-pull-policy",
    "auto-remove",
    "publish",
    "extras",
    "config",
];
/// Known, and not done.
const LATER: [&str; 13] = [
    "stages",
    "healthcheck",
    "startup-delay",
    "env-files",
    "volumes",
    "cpu-set",
    "shm-size",
    "devices",
    "wait-for",
    "components",
    "credentials",
    "netns",
    "link-apply",
];
