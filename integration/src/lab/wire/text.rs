//! A file's text with the variables of the environment put in, and where each character came from.
//!
//! containerlab does this before anything else reads the file: `$V` and `${V}` where V is set, `${V:-d}` and `${V:=d}` the
//! default where it is unset or empty, `$$` a dollar. What is unset and has no default stays as it is written.

use crate::lab::fault::{Fault, Mark, Read, shown};

/// The text that is read, and the way back to the one that was written.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) text: String,
    /// In their order. A line that was not put in begins one, so that no place is far from the beginning of its piece.
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where it begins, in characters of the text and in bytes.
    begin: usize,
    byte: usize,
    /// Where that is in the file.
    at: Mark,
    /// All of what was put in is at one place.
    is_put_in: bool,
}

impl Text {
    pub(super) fn new(written: &str, env: &dyn Fn(&str) -> Option<String>) -> Read<Self> {
        let mut building = Building {
            rest: written,
            at: Mark { line: 1, column: 1 },
            length: 0,
            made: Self {
                text: String::with_capacity(written.len()),
                pieces: Vec::new(),
            },
        };
        building.begin_piece(false);
        while let Some(dollar) = building.rest.find('$') {
            building.copy(dollar);
            building.variable(env)?;
        }
        let left = building.rest.len();
        building.copy(left);
        Ok(building.made)
    }

    /// Where a character of the text stands in the file.
    pub(super) fn mark(&self, index: usize) -> Mark {
        let after = self.pieces.partition_point(|piece| piece.begin <= index);
        let Some(piece) = self.pieces.get(after.saturating_sub(1)) else {
            return Mark { line: 1, column: 1 };
        };
        if piece.is_put_in {
            return piece.at;
        }
        let skipped = self.text[piece.byte..].chars().take(index - piece.begin);
        skipped.fold(piece.at, step)
    }
}

struct Building<'t> {
    rest: &'t str,
    at: Mark,
    /// Characters of the text made so far.
    length: usize,
    made: Text,
}

impl<'t> Building<'t> {
    fn copy(&mut self, bytes: usize) {
        let (part, rest) = self.rest.split_at(bytes);
        for c in part.chars() {
            self.made.text.push(c);
            self.at = step(self.at, c);
            self.length += 1;
            if c == '\n' {
                self.begin_piece(false);
            }
        }
        self.rest = rest;
    }

    fn begin_piece(&mut self, is_put_in: bool) {
        self.made.pieces.push(Piece {
            begin: self.length,
            byte: self.made.text.len(),
            at: self.at,
            is_put_in,
        });
    }

    /// At a dollar.
    fn variable(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Read<()> {
        let rest = self.rest;
        if rest.starts_with("$$") {
            self.put_in("$", 2);
            return Ok(());
        }
        let (name, default, length) = match rest.strip_prefix("${") {
            Some(inside) => {
                let end = inside
                    .find(['}', '\n'])
                    .filter(|end| inside[*end..].starts_with('}'));
                let Some(end) = end else {
                    return Err(Fault::new(
                        self.at,
                        "\"${\" without its \"}\"; write ${NAME} or ${NAME:=default}, and $$ for a dollar",
                    ));
                };
                let (name, default) = self.named(&inside[..end])?;
                (name, default, end + 3)
            }
            None => {
                let name = &rest[1..];
                let end = name.find(|c| !is_of_a_name(c)).unwrap_or(name.len());
                (&name[..end], None, end + 1)
            }
        };
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let set = is_name.then(|| env(name)).flatten();
        let value = match (set, default) {
            (Some(value), Some(default)) if value.is_empty() => Some(default.to_owned()),
            (Some(value), _) => Some(value),
            (None, default) => default.map(str::to_owned),
        };
        match value {
            Some(value) => self.put_in(&value, length),
            None => self.copy(length),
        }
        Ok(())
    }

    /// The name and the default of what stands in braces.
    fn named(&self, inside: &'t str) -> Read<(&'t str, Option<&'t str>)> {
        let end = inside.find(|c| !is_of_a_name(c)).unwrap_or(inside.len());
        let (name, rest) = inside.split_at(end);
        let default = [":=", ":-", "=", "-"]
            .iter()
            .find_map(|sign| rest.strip_prefix(sign));
        if (rest.is_empty() || default.is_some()) && !name.is_empty() {
            return Ok((name, default));
        }
        Err(Fault::new(
            self.at,
            format!(
                "{} is no variable; write ${{NAME}}, ${{NAME:=default}} or ${{NAME:-default}}, and $$ for a dollar",
                shown(&format!("${{{inside}}}"))
            ),
        ))
    }

    /// Something in place of so many bytes.
    fn put_in(&mut self, value: &str, bytes: usize) {
        self.begin_piece(true);
        self.made.text.push_str(value);
        self.length += value.chars().count();
        let (part, rest) = self.rest.split_at(bytes);
        self.at = part.chars().fold(self.at, step);
        self.rest = rest;
        self.begin_piece(false);
    }
}

fn step(at: Mark, c: char) -> Mark {
    match c {
        '\n' => Mark {
            line: at.line + 1,
            column: 1,
        },
        _ => Mark {
            column: at.column + 1,
            ..at
        },
    }
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(written: &str) -> Read<Text> {
        Text::new(written, &|name| match name {
            "SET" => Some("a value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_are_put_in_as_containerlab_does() {
        for (written, read) in [
            ("$SET ${SET}", "a value a value"),
            ("${SET:=d} ${SET:-d}", "a value a value"),
            ("${EMPTY:=d} ${NONE:-d e}", "d d e"),
            ("$NONE ${NONE}", "$NONE ${NONE}"),
            ("$$SET $1 $", "$SET $1 $"),
        ] {
            assert_eq!(put(written).unwrap().text, read, "{written}");
        }
    }

    #[test]
    fn places_are_those_of_the_file() {
        let text = put("ä: ${SET}x\nb: $$c").unwrap();
        assert_eq!(text.text, "ä: a valuex\nb: $c");
        let at = |index| {
            let mark = text.mark(index);
            (mark.line, mark.column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!([at(3), at(9)], [(1, 4), (1, 4)]);
        assert_eq!(at(10), (1, 10));
        assert_eq!([at(12), at(15), at(16)], [(2, 1), (2, 4), (2, 6)]);
    }

    #[test]
    fn what_is_no_variable_is_refused_where_it_stands() {
        let refused = put("a\n b ${SET").unwrap_err();
        assert_eq!(refused.at, Mark { line: 2, column: 4 });
        assert!(put("${SET/x/y}").is_err());
    }
}
