//! What a file of Rust says about modules: those it declares, the names it defines, the paths it follows.
//!
//! No parser, a lexer and some patterns: names, `::` and braces are enough for what is asked here.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::str::Chars;

/// A path in a file; `super` and `self` are still in it.
pub(crate) type Path = Vec<String>;

/// What one file says outside its tests.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Modules in files of their own.
    pub(crate) children: Vec<String>,
    /// Items that are defined here.
    pub(crate) items: BTreeSet<String>,
    /// Names that a `use` brings in, and what they stand for.
    pub(crate) names: BTreeMap<String, Path>,
    /// What `use path::*` brings in.
    pub(crate) globs: Vec<Path>,
    /// Every path from `crate`, `super` or `self`, and every path of a `use`.
    pub(crate) paths: BTreeSet<Path>,
}

impl Source {
    pub(crate) fn parse(text: &str) -> Self {
        let mut source = Self::default();
        source.read(&without_tests(&tokens(text)), 0);
        source
    }

    /// `depth`: how many inline modules these tokens are inside.
    fn read(&mut self, tokens: &[String], depth: usize) {
        let mut at = 0;
        while at < tokens.len() {
            let word = |offset: usize| tokens.get(at + offset).map_or("", String::as_str);
            match word(0) {
                "use" => {
                    let end = at + position(&tokens[at..], ";");
                    self.read_use(&tokens[at + 1..end], &[], depth);
                    at = end;
                }
                "mod" if word(2) == ";" => self.children.push(word(1).to_owned()),
                "mod" if word(2) == "{" => {
                    self.items.insert(word(1).to_owned());
                    let end = at + 2 + group_len(&tokens[at + 2..]);
                    self.read(&tokens[at + 3..end - 1], depth + 1);
                    at = end - 1;
                }
                "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union" => {
                    self.items.insert(word(1).to_owned());
                }
                "crate" | "super" | "self" if word(1) == "::" => {
                    let path = path(&tokens[at..]);
                    at += path.len() * 2 - 2;
                    self.add_path(path, depth);
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// One tree of a `use`, with what stands before it.
    fn read_use(&mut self, tree: &[String], before: &[String], depth: usize) {
        let own = path(tree);
        let whole = [before, &own].concat();
        let rest = tree.get((own.len() * 2).saturating_sub(1)..).unwrap_or(&[]);
        let rest = match rest.first().map(String::as_str) {
            Some("::") => &rest[1..],
            _ => rest,
        };
        match rest.first().map(String::as_str) {
            Some("{") => {
                for branch in branches(&rest[1..group_len(rest) - 1]) {
                    self.read_use(branch, &whole, depth);
                }
            }
            Some("*") => {
                self.add_path(whole.clone(), depth);
                self.globs.push(lifted(whole, depth));
            }
            renamed => {
                let mut whole = whole;
                if before.len() < whole.len() && whole.last().is_some_and(|last| last == "self") {
                    whole.pop();
                }
                let name = match renamed {
                    Some("as") => rest.get(1),
                    _ => whole.last(),
                };
                if let Some(name) = name.cloned() {
                    if depth == 0 {
                        self.names.insert(name, whole.clone());
                    }
                    self.add_path(whole, depth);
                }
            }
        }
    }

    fn add_path(&mut self, path: Path, depth: usize) {
        self.paths.insert(lifted(path, depth));
    }
}

/// A path as it reads outside of `depth` inline modules.
fn lifted(path: Path, depth: usize) -> Path {
    let inside = path
        .iter()
        .take(depth)
        .take_while(|name| *name == "super")
        .count();
    match path[inside..].first().map(String::as_str) {
        Some("super" | "crate" | "self") => path[inside..].to_vec(),
        _ if inside > 0 => [&["self".to_owned()], &path[inside..]].concat(),
        _ => path,
    }
}

/// The names at the start that `::` connects.
fn path(tokens: &[String]) -> Path {
    let mut names = Vec::new();
    for pair in tokens.chunks(2) {
        if !is_name(&pair[0]) || pair[0] == "as" {
            break;
        }
        names.push(pair[0].clone());
        if pair.get(1).is_none_or(|next| next != "::") {
            break;
        }
    }
    names
}

/// The parts between the commas at the outermost level.
fn branches(tokens: &[String]) -> Vec<&[String]> {
    let mut depth = 0;
    tokens
        .split(|token| {
            match token.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            token == "," && depth == 0
        })
        .filter(|branch| !branch.is_empty())
        .collect()
}

/// Leaves out every item under `#[cfg(test)]`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().take(7).eq(ATTRIBUTE.iter()) {
            at += 7;
            let end = tokens[at..]
                .iter()
                .position(|token| token == ";" || token == "{");
            let end = at + end.unwrap_or(tokens.len() - at);
            // A `use` has braces of its own before its semicolon.
            at = match tokens.get(end).map(String::as_str) {
                Some("{") if tokens[at..end].iter().any(|token| token == "use") => {
                    end + position(&tokens[end..], ";") + 1
                }
                Some("{") => end + group_len(&tokens[end..]),
                _ => end + 1,
            };
            continue;
        }
        kept.push(tokens[at].clone());
        at += 1;
    }
    kept
}

/// Tokens of the group in braces that begins here, with both braces.
fn group_len(tokens: &[String]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

fn position(tokens: &[String], wanted: &str) -> usize {
    let found = tokens.iter().position(|token| token == wanted);
    found.unwrap_or(tokens.len())
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single signs; comments and literals are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        match first {
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().find(|sign| *sign == '\n');
            }
            '/' if chars.peek() == Some(&'*') => skip_comment(&mut chars),
            '"' => skip_text(&mut chars),
            '\'' => skip_quoted(&mut chars),
            ':' if chars.next_if_eq(&':').is_some() => tokens.push("::".to_owned()),
            _ if first.is_alphanumeric() || first == '_' => {
                let mut name = String::from(first);
                while let Some(next) = chars.next_if(|next| next.is_alphanumeric() || *next == '_')
                {
                    name.push(next);
                }
                match (name.as_str(), chars.peek()) {
                    ("r" | "br" | "cr", Some('"' | '#')) => skip_raw(&mut chars),
                    _ => tokens.push(name),
                }
            }
            _ if first.is_whitespace() => {}
            _ => tokens.push(first.to_string()),
        }
    }
    tokens
}

fn skip_comment(chars: &mut Peekable<Chars<'_>>) {
    let mut depth = 0;
    let mut last = '/';
    for sign in chars {
        match (last, sign) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                last = sign;
                continue;
            }
        }
        // Neither sign belongs to the next pair.
        last = ' ';
        if depth == 0 {
            return;
        }
    }
}

/// To the end of a string whose first quote is gone.
fn skip_text(chars: &mut Peekable<Chars<'_>>) {
    while let Some(sign) = chars.next() {
        match sign {
            '\\' => {
                chars.next();
            }
            '"' => return,
            _ => {}
        }
    }
}

/// A character, or the quote of a lifetime.
fn skip_quoted(chars: &mut Peekable<Chars<'_>>) {
    if chars.next_if_eq(&'\\').is_some() {
        chars.next();
        chars.by_ref().find(|sign| *sign == '\'');
        return;
    }
    let mut ahead = chars.clone();
    ahead.next();
    if ahead.next() == Some('\'') {
        chars.nth(1);
    }
}

/// A raw string whose `r` is gone; `r#name` too.
fn skip_raw(chars: &mut Peekable<Chars<'_>>) {
    let mut hashes = 0;
    while chars.next_if_eq(&'#').is_some() {
        hashes += 1;
    }
    if chars.next_if_eq(&'"').is_none() {
        return;
    }
    while let Some(sign) = chars.next() {
        if sign == '"' {
            let mut ahead = chars.clone();
            if (0..hashes).all(|_| ahead.next() == Some('#')) {
                *chars = ahead;
                return;
            }
        }
    }
}
