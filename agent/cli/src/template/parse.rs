//! From words to what they mean.

use serde_json::Value;

use super::token::{Piece, Token, pieces};

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    /// Nothing is shown where it only names something.
    Show(Pipeline),
    If(Block),
    With(Block),
    Range(Block),
}

/// What stands between a word like `range` and its `end`.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) of: Pipeline,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// `$a, $b := first | second`.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) names: Vec<String>,
    /// Each a value, or a function with its arguments.
    pub(super) calls: Vec<Vec<Operand>>,
}

#[derive(Debug)]
pub(super) enum Operand {
    Field(Vec<String>),
    Variable { name: String, path: Vec<String> },
    Function(String),
    Literal(Value),
    Group { inner: Pipeline, path: Vec<String> },
}

pub(super) fn parse(template: &str) -> Result<Vec<Node>, String> {
    let mut pieces = pieces(template)?.into_iter();
    match nodes(&mut pieces, 0)? {
        (nodes, None) => Ok(nodes),
        (_, Some(closing)) => Err(format!("{{{{{}}}}} ends nothing", closing.word)),
    }
}

/// What a list of nodes ended with: `end`, or `else` and what stands after it.
struct Closing {
    word: &'static str,
    rest: Vec<Token>,
}

fn nodes(
    pieces: &mut impl Iterator<Item = Piece>,
    depth: usize,
) -> Result<(Vec<Node>, Option<Closing>), String> {
    if depth > DEPTH_MAX {
        return Err("it is nested too deep".to_owned());
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let mut tokens = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        let keyword = match tokens.first() {
            Some(Token::Word(word)) => word.clone(),
            _ => String::new(),
        };
        let make = match keyword.as_str() {
            "if" => Node::If,
            "with" => Node::With,
            "range" => Node::Range,
            "end" | "else" => {
                let word = if keyword == "end" { "end" } else { "else" };
                let rest = tokens.split_off(1);
                return Ok((nodes, Some(Closing { word, rest })));
            }
            "template" | "define" | "block" | "break" | "continue" => {
                return Err(format!("{keyword} is not taken"));
            }
            _ => {
                nodes.push(Node::Show(pipeline(tokens)?));
                continue;
            }
        };
        nodes.push(make(block(tokens.split_off(1), pieces, depth + 1)?));
    }
    Ok((nodes, None))
}

fn block(
    of: Vec<Token>,
    pieces: &mut impl Iterator<Item = Piece>,
    depth: usize,
) -> Result<Block, String> {
    let of = pipeline(of)?;
    let (body, closing) = nodes(pieces, depth)?;
    let closing = closing.ok_or(END_MISSING)?;
    let mut otherwise = Vec::new();
    if closing.word == "else" {
        match closing.rest.split_first() {
            None => {
                let (rest, closing) = nodes(pieces, depth)?;
                if closing.is_none_or(|closing| closing.word != "end") {
                    return Err(END_MISSING.to_owned());
                }
                otherwise = rest;
            }
            Some((Token::Word(word), condition)) if word == "if" => {
                otherwise.push(Node::If(nested(condition.to_vec(), pieces, depth)?));
            }
            Some(_) => return Err("else goes with if, or alone".to_owned()),
        }
    }
    Ok(Block {
        of,
        body,
        otherwise,
    })
}

/// The block of an `else if`, whose `end` is that of all.
fn nested(
    condition: Vec<Token>,
    pieces: &mut impl Iterator<Item = Piece>,
    depth: usize,
) -> Result<Block, String> {
    match depth < DEPTH_MAX {
        true => block(condition, pieces, depth + 1),
        false => Err("it is nested too deep".to_owned()),
    }
}

fn pipeline(tokens: Vec<Token>) -> Result<Pipeline, String> {
    let mut tokens = tokens.into_iter().peekable();
    let pipeline = read_pipeline(&mut tokens, 0)?;
    match tokens.next() {
        None => Ok(pipeline),
        Some(_) => Err("a ) closes nothing".to_owned()),
    }
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<Token>>;

fn read_pipeline(tokens: &mut Tokens, depth: usize) -> Result<Pipeline, String> {
    if depth > DEPTH_MAX {
        return Err("it is nested too deep".to_owned());
    }
    let mut calls = vec![Vec::new()];
    let mut names = Vec::new();
    while let Some(token) = tokens.peek() {
        if *token == Token::Close {
            break;
        }
        match tokens.next().unwrap_or(Token::Close) {
            Token::Bar => calls.push(Vec::new()),
            Token::Be => names = declared(std::mem::take(&mut calls[0]))?,
            // Between the names that are declared.
            Token::Comma if names.is_empty() && calls.len() == 1 => {}
            token => {
                let operand = operand(token, tokens, depth)?;
                if let Some(call) = calls.last_mut() {
                    call.push(operand);
                }
            }
        }
    }
    if calls.iter().any(Vec::is_empty) {
        return Err("an action is empty".to_owned());
    }
    Ok(Pipeline { names, calls })
}

fn operand(token: Token, tokens: &mut Tokens, depth: usize) -> Result<Operand, String> {
    match token {
        Token::Field { path, .. } => Ok(Operand::Field(path)),
        Token::Variable { name, path } => Ok(Operand::Variable { name, path }),
        Token::Word(word) => Ok(Operand::Function(word)),
        Token::Literal(value) => Ok(Operand::Literal(value)),
        Token::Open => {
            let inner = read_pipeline(tokens, depth + 1)?;
            if tokens.next() != Some(Token::Close) {
                return Err("a ) is missing".to_owned());
            }
            let is_glued = |token: &Token| matches!(token, Token::Field { glued: true, .. });
            let path = match tokens.next_if(is_glued) {
                Some(Token::Field { path, .. }) => path,
                _ => Vec::new(),
            };
            Ok(Operand::Group { inner, path })
        }
        Token::Bar | Token::Close | Token::Comma | Token::Be => {
            Err("a sign stands where a value belongs".to_owned())
        }
    }
}

fn declared(before: Vec<Operand>) -> Result<Vec<String>, String> {
    let names = before.into_iter().map(|operand| match operand {
        Operand::Variable { name, path } if path.is_empty() && !name.is_empty() => Ok(name),
        _ => Err("only a variable is declared, as in $name := .Name".to_owned()),
    });
    let names: Vec<String> = names.collect::<Result<_, String>>()?;
    match names.len() {
        1 | 2 => Ok(names),
        _ => Err("one variable is declared, or two by range".to_owned()),
    }
}

const END_MISSING: &str = "an {{end}} is missing";
/// Of blocks in blocks, and of brackets in brackets.
const DEPTH_MAX: usize = 32;
