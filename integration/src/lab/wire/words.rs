//! A line cut into words, as shells do and containerlab does with `exec` and `cmd`.

/// Quotes and backslashes as in a shell; variables and wildcards stay as they are, since no shell is there.
///
/// Fails with what is missing.
pub(in crate::lab) fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            _ if c.is_whitespace() => words.extend(word.take()),
            '\\' => match chars.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err("a character after the last backslash"),
            },
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("the second '"),
                    }
                }
            }
            '"' => quoted(&mut chars, word.get_or_insert_default())?,
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// After a double quote, up to the next one.
fn quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    loop {
        match chars.next() {
            Some('"') => return Ok(()),
            Some('\\') => match chars.next() {
                Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => return Err("the second \""),
            },
            Some(c) => word.push(c),
            None => return Err("the second \""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_as_a_shell_does() {
        for (line, cut) in [
            ("ip addr  add", &["ip", "addr", "add"][..]),
            (
                r#"sh -c "echo 'a b' > \"c\"""#,
                &["sh", "-c", "echo 'a b' > \"c\""],
            ),
            (r"a\ b 'c\d' e'f'g", &["a b", r"c\d", "efg"]),
            ("echo '' \"\"", &["echo", "", ""]),
            (r#"vtysh -c "a\nb""#, &["vtysh", "-c", r"a\nb"]),
            ("  ", &[]),
        ] {
            assert_eq!(words(line).unwrap(), cut, "{line}");
        }
        for open in ["a 'b", "a \"b", "a\\"] {
            assert!(words(open).is_err(), "{open}");
        }
    }
}
