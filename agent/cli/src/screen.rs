//! What standard output is: a terminal of some width that shows colours, or something that programs read.

use std::io::stdout;
use std::sync::OnceLock;

use rustix::termios::{isatty, tcgetwinsize};

/// How text may look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Columns; absent where lines may have any length.
    pub(crate) width: Option<usize>,
    pub(crate) colours: bool,
}

/// A colour by what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Head,
    Good,
    Warning,
    Bad,
    Faint,
    Chosen,
}

/// To be called once, by the command itself: what tests print looks the same everywhere.
pub(crate) fn look_at_stdout() {
    let _ = LOOK.set(found());
}

/// Plain, unless the command has looked.
pub(crate) fn look() -> Look {
    LOOK.get().copied().unwrap_or_default()
}

/// `text` in that colour, where there are colours.
pub(crate) fn painted(text: &str, ink: Ink) -> String {
    ink.paint(text, look().colours)
}

impl Ink {
    pub(crate) fn paint(self, text: &str, colours: bool) -> String {
        // ECMA-48, 8.3.117.
        let code = match self {
            Self::Head => 1,
            Self::Good => 32,
            Self::Warning => 33,
            Self::Bad => 31,
            Self::Faint => 2,
            Self::Chosen => 7,
        };
        match colours && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// The first `width` characters of a line, the last of them an ellipsis where there are more.
pub(crate) fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// Takes from the widest columns of a table, of those that are wider than their `least`, until a line has `width` columns of the screen at
/// most, or none can give way. `gap` is between two columns.
pub(crate) fn narrow(widths: &mut [usize], least: &[usize], gap: usize, width: usize) {
    let gaps = gap * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let wide = widths.iter_mut().zip(least);
        let wide = wide.filter(|(is, least)| **is > **least);
        let Some((widest, _)) = wide.max_by_key(|(is, _)| **is) else {
            return;
        };
        *widest -= 1;
    }
}

fn found() -> Look {
    let stdout = stdout();
    if !isatty(&stdout) {
        return Look::default();
    }
    let size = tcgetwinsize(&stdout).ok();
    let width = size.map(|size| usize::from(size.ws_col));
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    Look {
        width: width.filter(|width| *width > 0),
        // https://no-color.org
        colours: variable("NO_COLOR").is_none()
            && variable("TERM").is_none_or(|term| term != "dumb"),
    }
}

static LOOK: OnceLock<Look> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_its_width() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(cut("ab", 0), "…");
    }

    #[test]
    fn there_is_no_colour_where_there_are_none() {
        assert_eq!(Ink::Bad.paint("x", false), "x");
        assert_eq!(Ink::Bad.paint("x", true), "\x1b[31mx\x1b[0m");
        assert_eq!(painted("x", Ink::Good), "x", "nobody looked");
    }
}
