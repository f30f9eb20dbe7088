//! The words of an action, between `{{` and `}}`.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `.A.B`; of `.`, nothing. `glued`: to what stands before it.
    Field {
        path: Vec<String>,
        glued: bool,
    },
    /// `$name.A.B`; `$` has no name.
    Variable {
        name: String,
        path: Vec<String>,
    },
    /// The name of a function, or a word like `range`.
    Word(String),
    Literal(Value),
    Bar,
    Open,
    Close,
    Comma,
    /// `:=`
    Be,
}

/// What stands in a template, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// Cuts a template into its text and its actions, and takes away the space that `{{-` and `-}}` take.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let (mut rest, mut trims) = (template, false);
    while let Some((text, action)) = rest.split_once("{{") {
        let text = if trims { text.trim_start() } else { text };
        let trimmed = action
            .strip_prefix('-')
            .filter(|rest| rest.starts_with(char::is_whitespace));
        let text = if trimmed.is_some() {
            text.trim_end()
        } else {
            text
        };
        pieces.push(Piece::Text(text.to_owned()));
        let mut reader = Reader {
            rest: trimmed.unwrap_or(action),
        };
        let tokens;
        (tokens, trims) = reader.action()?;
        pieces.extend(tokens.map(Piece::Action));
        rest = reader.rest;
    }
    let text = if trims { rest.trim_start() } else { rest };
    pieces.push(Piece::Text(text.to_owned()));
    Ok(pieces)
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    /// Up to and with `}}`; whether that takes the space after it. A comment has no tokens.
    fn action(&mut self) -> Result<(Option<Vec<Token>>, bool), String> {
        let mut tokens = Vec::new();
        let is_comment = self.rest.trim_start().starts_with("/*");
        if is_comment {
            let (_, rest) = self
                .rest
                .split_once("*/")
                .ok_or("a comment is not closed by */")?;
            self.rest = rest;
        }
        loop {
            let trimmed = self.rest.trim_start();
            let is_glued = trimmed.len() == self.rest.len();
            self.rest = trimmed;
            for (end, trims) in [("}}", false), ("-}}", true)] {
                if let Some(rest) = self.rest.strip_prefix(end)
                    && !(trims && is_glued)
                {
                    self.rest = rest;
                    return Ok(((!is_comment).then_some(tokens), trims));
                }
            }
            if self.rest.is_empty() || is_comment {
                return Err("a }} is missing".to_owned());
            }
            tokens.push(self.token(is_glued && !tokens.is_empty())?);
        }
    }

    fn token(&mut self, glued: bool) -> Result<Token, String> {
        for (text, token) in [
            ("|", Token::Bar),
            ("(", Token::Open),
            (")", Token::Close),
            (",", Token::Comma),
            (":=", Token::Be),
        ] {
            if self.take(text) {
                return Ok(token);
            }
        }
        match self.rest.chars().next() {
            Some('.') => Ok(Token::Field {
                path: self.path(),
                glued,
            }),
            Some('$') => {
                self.take("$");
                let name = self.word().to_owned();
                let path = match self.rest.starts_with('.') {
                    true => self.path(),
                    false => Vec::new(),
                };
                Ok(Token::Variable { name, path })
            }
            Some('"') => self.quoted(),
            Some('`') => self.raw(),
            Some(c) if c.is_ascii_digit() || c == '-' => self.number(),
            Some(c) if is_of_word(c) => Ok(word_or_literal(self.word())),
            other => Err(format!("{:?} has no meaning here", other.unwrap_or(' '))),
        }
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// `.A.B`, of which `.` alone is the empty one.
    fn path(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        while self.take(".") {
            match self.word() {
                "" => break,
                part => path.push(part.to_owned()),
            }
        }
        path
    }

    fn word(&mut self) -> &str {
        let end = self.rest.find(|c| !is_of_word(c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn number(&mut self) -> Result<Token, String> {
        let is_of_number = |c: char| c.is_ascii_digit() || c == '-';
        let end = self.rest.find(|c| !is_of_number(c));
        let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let number: i64 = digits
            .parse()
            .map_err(|_| format!("{digits} is no number"))?;
        self.rest = rest;
        Ok(Token::Literal(number.into()))
    }

    fn quoted(&mut self) -> Result<Token, String> {
        let mut escaped = false;
        let closing = self.rest.char_indices().skip(1).find(|(_, c)| {
            let closes = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        let (at, _) = closing.ok_or("a string is not closed by \"")?;
        let (text, rest) = self.rest.split_at(at + 1);
        // Go's escapes that people write are JSON's.
        let text: String =
            serde_json::from_str(text).map_err(|_| format!("{text} is no string"))?;
        self.rest = rest;
        Ok(Token::Literal(text.into()))
    }

    fn raw(&mut self) -> Result<Token, String> {
        let (text, rest) = self.rest[1..]
            .split_once('`')
            .ok_or("a string is not closed by `")?;
        self.rest = rest;
        Ok(Token::Literal(text.into()))
    }
}

fn word_or_literal(word: &str) -> Token {
    match word {
        "true" => Token::Literal(true.into()),
        "false" => Token::Literal(false.into()),
        "nil" => Token::Literal(Value::Null),
        _ => Token::Word(word.to_owned()),
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
