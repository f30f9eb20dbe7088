//! Stored inputs: a text file per target, a line per input, for people to read and to compare.
//!
//! Printable ASCII stands for itself, `\xNN` for any other byte, `\\` for a backslash. A line that begins with `#` says of the next
//! input what it is called and why it is there: `# NAME: why`. The others were found by the fuzzer, which keeps what takes a
//! branch that no other input takes.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// One input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    /// The line above it.
    pub says: Option<String>,
    pub bytes: Vec<u8>,
}

impl Input {
    pub fn name(&self) -> Option<&str> {
        let (name, _) = self.says.as_deref()?.split_once(':')?;
        Some(name)
    }
}

/// Of a target, in the order of the file.
pub fn read(target: &str) -> io::Result<Vec<Input>> {
    let text = fs::read_to_string(path(target))?;
    let mut inputs = Vec::new();
    let mut says = None;
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some(comment) => says = Some(comment.to_owned()),
            None => inputs.push(Input {
                says: says.take(),
                bytes: decode(line).ok_or_else(|| malformed(target, line))?,
            }),
        }
    }
    Ok(inputs)
}

pub fn write(target: &str, inputs: &[Input]) -> io::Result<()> {
    let mut text = String::new();
    for input in inputs {
        if let Some(says) = &input.says {
            text.push_str(&format!("# {says}\n"));
        }
        text.push_str(&encode(&input.bytes));
        text.push('\n');
    }
    fs::write(path(target), text)
}

/// A line for these bytes.
pub fn encode(bytes: &[u8]) -> String {
    let mut line = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\\' => line.push_str("\\\\"),
            // The line would be a comment.
            b'#' if at == 0 => line.push_str("\\x23"),
            b' '..=b'~' => line.push(char::from(*byte)),
            _ => line.push_str(&format!("\\x{byte:02x}")),
        }
    }
    line
}

fn decode(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = line.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                after
            }
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                after
            }
            (b'\\', _) => return None,
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    Some(bytes)
}

fn malformed(target: &str, line: &str) -> io::Error {
    io::Error::other(format!("corpus/{target}: no input: {line}"))
}

fn path(target: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    folder.join(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_line_and_back() {
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        let line = encode(&bytes);
        assert!(line.is_ascii() && !line.contains('\n'));
        assert_eq!(decode(&line), Some(bytes));
        assert_eq!(
            decode(&encode(b"# no comment")),
            Some(b"# no comment".to_vec())
        );
        assert!(!encode(b"# no comment").starts_with('#'));
    }
}
