//! What people are told, in one line.

/// Control characters as Rust writes them, `\n` and `\u{3}`: the text may quote what others wrote.
pub(crate) fn line(text: impl Into<String>) -> String {
    let text = text.into();
    if !text.contains(char::is_control) {
        return text;
    }
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => line.extend(c.escape_debug()),
            false => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_stays_in_its_line() {
        assert_eq!(line("key \"ö\" is unknown"), "key \"ö\" is unknown");
        assert_eq!(line("key a\nb\u{3}\u{9b}"), "key a\\nb\\u{3}\\u{9b}");
    }
}
