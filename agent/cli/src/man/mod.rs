//! `tapestry man`: the manual, a page for every command.

mod examples;
mod page;

use std::path::{Path, PathBuf};

use self::page::Page;
use crate::failure::Failure;
use crate::output;

/// Print the manual pages, or write them into a directory
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write a file for every command here, as in /usr/local/share/man/man1
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, command: clap::Command) -> Result<u8, Failure> {
    let pages = pages(command);
    match &args.dir {
        Some(dir) => write(dir, &pages)?,
        None => {
            let texts: Vec<_> = pages.iter().map(Page::text).collect();
            output::write(std::io::stdout(), &texts.concat())?;
        }
    }
    Ok(0)
}

fn write(dir: &Path, pages: &[Page]) -> Result<(), Failure> {
    let failed = |source| Failure::Write {
        path: dir.to_owned(),
        source,
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    for page in pages {
        std::fs::write(dir.join(page.file_name()), page.text()).map_err(failed)?;
    }
    Ok(())
}

/// All pages, in the order of the help.
fn pages(mut command: clap::Command) -> Vec<Page> {
    fn gather(command: &clap::Command, above: Option<&Page>) -> Vec<Page> {
        let page = Page::new(command.clone(), above);
        let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
        let below: Vec<_> = verbs.flat_map(|verb| gather(verb, Some(&page))).collect();
        std::iter::once(page).chain(below).collect()
    }
    command.build();
    gather(&command, None)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use clap::CommandFactory as _;

    use super::examples::EXAMPLES;
    use super::*;
    use crate::Cli;

    #[test]
    fn every_command_has_an_example_and_every_example_is_of_a_command() {
        let shown: Vec<&str> = EXAMPLES.iter().map(|(words, _)| *words).collect();
        let pages = pages(Cli::command());
        for page in pages.iter().filter(|page| page.is_of_an_act()) {
            assert!(shown.contains(&page.words()), "{}", page.words());
        }
        for words in shown {
            assert!(pages.iter().any(|page| page.words() == words), "{words}");
        }
    }

    #[test]
    fn every_example_is_a_command_line() {
        use clap::Parser as _;

        for line in EXAMPLES.iter().flat_map(|(_, lines)| *lines) {
            let of_tapestry = line.split(['>', '|']).next();
            // What a shell makes of it.
            let script = format!("printf '%s\\n' {}", of_tapestry.unwrap());
            let words = Command::new("sh").args(["-c", &script]).output().unwrap();
            let words = String::from_utf8(words.stdout).unwrap();
            let parsed = Cli::try_parse_from(words.lines());
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn a_page_has_what_pages_have() {
        let pages = pages(Cli::command());
        let of = |words: &str| {
            let page = pages.iter().find(|page| page.words() == words).unwrap();
            String::from_utf8(page.text()).unwrap()
        };
        let run = of("run");
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "\"EXIT STATUS\"",
            "ENVIRONMENT",
            "EXAMPLES",
            "\"SEE ALSO\"",
        ] {
            assert!(
                run.contains(&format!(".SH {section}\n")),
                "{section}: {run}"
            );
        }
        assert!(run.contains("127"), "{run}");
        assert!(of("agent").contains(".SH FILES\n"));
    }
}
