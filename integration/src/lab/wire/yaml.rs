//! YAML as a tree that knows where each part of it stands.
//!
//! The parser is `saphyr-parser`'s, which gives events with their places. The tree is built here, because a lab's file is
//! untrusted: a key that stands twice is a fault, and aliases may not blow a small file up.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::text::Text;
use crate::lab::fault::{Fault, Mark, Read, shown, unknown};

/// A part of the file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Mark,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Scalar {
        text: String,
        /// Without quotes, so that `~` and an empty place are nothing.
        is_plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A mapping's key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) at: Mark,
    pub(super) text: String,
}

/// A mapping of which every key is known.
pub(super) struct Fields<'n>(&'n [(Key, Node)]);

/// The one document of a file.
pub(super) fn parse(text: &Text) -> Read<Node> {
    let mut building = Building {
        text,
        events: Parser::new_from_str(&text.text),
        anchors: BTreeMap::new(),
        nodes: 0,
    };
    loop {
        match building.next()? {
            (Event::StreamStart | Event::DocumentStart(_), _) => {}
            (Event::StreamEnd, _) => {
                let at = Mark { line: 1, column: 1 };
                return Err(Fault::new(
                    at,
                    "the file is empty; it needs name and topology",
                ));
            }
            (event, span) => {
                let node = building.node(event, span, 0)?;
                building.end()?;
                return Ok(node);
            }
        }
    }
}

struct Building<'t> {
    text: &'t Text,
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl<'t> Building<'t> {
    fn next(&mut self) -> Read<(Event<'t>, Span)> {
        match self.events.next() {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => {
                let at = self.text.mark(error.marker().index());
                Err(Fault::new(at, format!("no YAML: {}", error.info())))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Read<Node> {
        let at = self.text.mark(span.start.index());
        self.count(at, 1)?;
        if depth > DEPTH_MAX {
            return Err(Fault::new(
                at,
                format!("nested deeper than {DEPTH_MAX}; no lab is"),
            ));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_plain = style == ScalarStyle::Plain;
                let text = text.into_owned();
                (Value::Scalar { text, is_plain }, anchor)
            }
            Event::SequenceStart(anchor, _) => (Value::List(self.list(depth)?), anchor),
            Event::MappingStart(anchor, _) => (Value::Map(self.map(depth)?), anchor),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Fault::new(at, "an alias of something that contains it"));
                };
                self.count(at, node.size())?;
                return Ok(Node { at, ..node });
            }
            _ => return Err(Fault::new(at, "no YAML: something is missing here")),
        };
        let node = Node { at, value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Read<Vec<Node>> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(list),
                (event, span) => list.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Read<Vec<(Key, Node)>> {
        let mut map: Vec<(Key, Node)> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => break,
                (event, span) => self.node(event, span, depth + 1)?,
            };
            let Value::Scalar { text, .. } = key.value else {
                return Err(Fault::new(key.at, "a key must be a word"));
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if text == MERGE {
                merged.extend(of_merge(value)?);
                continue;
            }
            if let Some((first, _)) = map.iter().find(|(other, _)| other.text == text) {
                return Err(Fault::new(
                    key.at,
                    format!(
                        "{} stands twice, first in line {}; keep one of them",
                        shown(&text),
                        first.at.line
                    ),
                ));
            }
            map.push((Key { at: key.at, text }, value));
        }
        for (key, value) in merged {
            if !map.iter().any(|(other, _)| other.text == key.text) {
                map.push((key, value));
            }
        }
        Ok(map)
    }

    /// Nothing but the end may come.
    fn end(&mut self) -> Read<()> {
        loop {
            match self.next()? {
                (Event::DocumentEnd, _) => {}
                (Event::StreamEnd, _) => return Ok(()),
                (_, span) => {
                    let at = self.text.mark(span.start.index());
                    return Err(Fault::new(at, "a second document; a lab's file has one"));
                }
            }
        }
    }

    fn count(&mut self, at: Mark, nodes: usize) -> Read<()> {
        self.nodes += nodes;
        match self.nodes > NODES_MAX {
            true => Err(Fault::new(
                at,
                format!("more than {NODES_MAX} parts, aliases counted; split the lab"),
            )),
            false => Ok(()),
        }
    }
}

/// What `<<:` brings along: a mapping's entries, or several mappings', the first before the others.
fn of_merge(value: Node) -> Read<Vec<(Key, Node)>> {
    let at = value.at;
    let maps = match value.value {
        Value::List(maps) => maps,
        _ => vec![value],
    };
    let mut entries = Vec::new();
    for map in maps {
        match map.value {
            Value::Map(map) => entries.extend(map),
            _ => return Err(Fault::new(at, "<< takes a mapping, or a list of them")),
        }
    }
    Ok(entries)
}

impl Node {
    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(list) => list.iter().map(Self::size).sum(),
            Value::Map(map) => map.iter().map(|(_, value)| 1 + value.size()).sum(),
        }
    }

    /// An empty place, `~` or `null`.
    pub(super) fn is_nothing(&self) -> bool {
        match &self.value {
            Value::Scalar { text, is_plain } => {
                *is_plain && matches!(&**text, "" | "~" | "null" | "Null" | "NULL")
            }
            Value::List(_) | Value::Map(_) => false,
        }
    }

    pub(super) fn is_scalar(&self) -> bool {
        matches!(self.value, Value::Scalar { .. })
    }

    /// A word, a number, a text; whatever stands there.
    pub(super) fn text(&self, what: &str) -> Read<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_nothing() => Ok(text),
            _ => Err(self.wrong(what, "a text")),
        }
    }

    pub(super) fn list(&self, what: &str) -> Read<&[Self]> {
        match &self.value {
            Value::List(list) => Ok(list),
            _ if self.is_nothing() => Ok(&[]),
            _ => Err(self.wrong(what, "a list, as [a, b] or lines with \"- \" before them")),
        }
    }

    /// Whatever keys it has.
    pub(super) fn entries(&self, what: &str) -> Read<&[(Key, Self)]> {
        match &self.value {
            Value::Map(map) => Ok(map),
            _ if self.is_nothing() => Ok(&[]),
            _ => Err(self.wrong(what, "a mapping, as lines of \"key: value\"")),
        }
    }

    /// Refuses keys that are not `known`.
    pub(super) fn fields(&self, what: &str, known: &[&str]) -> Read<Fields<'_>> {
        let entries = self.entries(what)?;
        match entries
            .iter()
            .find(|(key, _)| !known.contains(&key.text.as_str()))
        {
            Some((key, _)) => Err(Fault::new(
                key.at,
                unknown("key", &key.text, known, &format!("in {what}")),
            )),
            None => Ok(Fields(entries)),
        }
    }

    fn wrong(&self, what: &str, expected: &str) -> Fault {
        let found = match &self.value {
            Value::Scalar { .. } if self.is_nothing() => "nothing".to_owned(),
            Value::Scalar { text, .. } => shown(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        };
        Fault::new(
            self.at,
            format!("{what} must be {expected}, and is {found}"),
        )
    }
}

impl<'n> Fields<'n> {
    /// What stands at a key, unless nothing does.
    pub(super) fn find(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|(_, value)| value)
    }

    pub(super) fn entry(&self, key: &str) -> Option<(&'n Key, &'n Node)> {
        let entries = self.0;
        entries
            .iter()
            .find(|(known, value)| known.text == key && !value.is_nothing())
            .map(|(key, value)| (key, value))
    }

    /// The same as a text.
    pub(super) fn text(&self, key: &str) -> Read<Option<(Mark, String)>> {
        let found = self.find(key);
        found
            .map(|node| Ok((node.at, node.text(key)?.to_owned())))
            .transpose()
    }
}

const MERGE: &str = "<<";
const DEPTH_MAX: usize = 64;
const NODES_MAX: usize = 200_000;
