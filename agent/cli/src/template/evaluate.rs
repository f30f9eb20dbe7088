//! What a template makes of a value.

use std::collections::BTreeMap;

use serde_json::Value;

use super::functions::{call, is_true, shown};
use super::parse::{Block, Node, Operand, Pipeline};

pub(super) fn render(
    nodes: &[Node],
    value: &Value,
    labels: &BTreeMap<String, String>,
) -> Result<String, String> {
    let mut page = Page {
        labels,
        variables: vec![(String::new(), value.clone())],
        text: String::new(),
    };
    page.nodes(nodes, value)?;
    Ok(page.text)
}

struct Page<'a> {
    labels: &'a BTreeMap<String, String>,
    /// The later ones hide the earlier ones. The first has no name: it is `$`.
    variables: Vec<(String, Value)>,
    text: String,
}

impl Page<'_> {
    /// What is declared in there is gone afterwards.
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        let outside = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(outside);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), String> {
        match node {
            Node::Text(text) => self.text.push_str(text),
            Node::Show(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.names.is_empty() {
                    self.text.push_str(&shown(&value));
                }
                self.declare(&pipeline.names, [value]);
            }
            Node::If(block) => self.choose(block, dot, false)?,
            Node::With(block) => self.choose(block, dot, true)?,
            Node::Range(block) => self.range(block, dot)?,
        }
        Ok(())
    }

    fn choose(&mut self, block: &Block, dot: &Value, enters: bool) -> Result<(), String> {
        let outside = self.variables.len();
        let value = self.pipeline(&block.of, dot)?;
        self.declare(&block.of.names, [value.clone()]);
        match is_true(&value) {
            true => self.nodes(&block.body, if enters { &value } else { dot })?,
            false => self.nodes(&block.otherwise, dot)?,
        }
        self.variables.truncate(outside);
        Ok(())
    }

    fn range(&mut self, block: &Block, dot: &Value) -> Result<(), String> {
        let over = self.pipeline(&block.of, dot)?;
        let each: Vec<(Value, Value)> = match over {
            Value::Null => Vec::new(),
            Value::Array(list) => (0..).map(|at: u64| at.into()).zip(list).collect(),
            Value::Object(map) => map
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
            _ => return Err("range goes over a list or a map".to_owned()),
        };
        if each.is_empty() {
            return self.nodes(&block.otherwise, dot);
        }
        for (key, value) in each {
            let outside = self.variables.len();
            match block.of.names.len() {
                2 => self.declare(&block.of.names, [key, value.clone()]),
                _ => self.declare(&block.of.names, [value.clone()]),
            }
            self.nodes(&block.body, &value)?;
            self.variables.truncate(outside);
        }
        Ok(())
    }

    fn declare(&mut self, names: &[String], values: impl IntoIterator<Item = Value>) {
        self.variables.extend(names.iter().cloned().zip(values));
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut piped = None;
        for operands in &pipeline.calls {
            piped = Some(self.call(operands, piped, dot)?);
        }
        Ok(piped.unwrap_or(Value::Null))
    }

    /// A value, or a function of what stands after it and of what is piped in.
    fn call(
        &self,
        operands: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, String> {
        let Some((first, rest)) = operands.split_first() else {
            return Ok(Value::Null);
        };
        let arguments = rest.iter().map(|operand| self.operand(operand, dot));
        let mut arguments: Vec<Value> = arguments.collect::<Result<_, String>>()?;
        arguments.extend(piped);
        match (first, arguments.as_slice()) {
            (Operand::Function(name), _) => call(name, &arguments),
            (Operand::Field(path), [Value::String(label)]) if *path == ["Label"] => {
                Ok(self.labels.get(label).cloned().unwrap_or_default().into())
            }
            (_, []) => self.operand(first, dot),
            _ => Err("only functions take arguments, and .Label one".to_owned()),
        }
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Function(name) => call(name, &[]),
            Operand::Field(path) => at(dot, path, ""),
            Operand::Group { inner, path } => at(&self.pipeline(inner, dot)?, path, "(..)"),
            Operand::Variable { name, path } => {
                let mut variables = self.variables.iter().rev();
                let found = variables.find(|(known, _)| known == name);
                let (_, value) = found.ok_or_else(|| format!("there is no variable ${name}"))?;
                at(value, path, &format!("${name}"))
            }
        }
    }
}

/// What a path leads to; `from` is what it begins with, for people.
fn at(value: &Value, path: &[String], from: &str) -> Result<Value, String> {
    let mut here = value;
    for (place, part) in path.iter().enumerate() {
        let so_far = |parts: &[String]| {
            let shown: String = parts.iter().map(|part| format!(".{part}")).collect();
            format!("{from}{shown}")
        };
        here = match here {
            Value::Object(map) => map.get(part).ok_or_else(|| {
                let there: Vec<_> = map.keys().map(|key| format!(".{key}")).collect();
                let there = match there.as_slice() {
                    [] => "nothing is there".to_owned(),
                    there => format!("there are {}", there.join(", ")),
                };
                format!("there is no {}; {there}", so_far(&path[..=place]))
            })?,
            Value::Null => {
                return Err(format!(
                    "{} is empty and has no .{part}",
                    or_dot(so_far(&path[..place]))
                ));
            }
            _ => {
                return Err(format!(
                    "{} has no parts and no .{part}",
                    or_dot(so_far(&path[..place]))
                ));
            }
        };
    }
    Ok(here.clone())
}

fn or_dot(path: String) -> String {
    if path.is_empty() {
        ".".to_owned()
    } else {
        path
    }
}
