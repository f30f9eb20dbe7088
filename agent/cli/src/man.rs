//! `tapestry man`: the manual, a page for every command.

use std::path::{Path, PathBuf};

use clap_mangen::Man;

use crate::failure::Failure;
use crate::output;

/// Print the manual pages, or write them into a directory
///
/// For example: tapestry man | man -l -
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write a file for every command here, as in /usr/local/share/man/man1
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, command: clap::Command) -> Result<u8, Failure> {
    match &args.dir {
        Some(dir) => write(dir, command)?,
        None => output::write(std::io::stdout(), &pages(command)?)?,
    }
    Ok(0)
}

fn write(dir: &Path, command: clap::Command) -> Result<(), Failure> {
    let failed = |source| Failure::Write {
        path: dir.to_owned(),
        source,
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(command, dir).map_err(failed)
}

/// All pages, one after the other, in the order of the help.
fn pages(mut command: clap::Command) -> Result<Vec<u8>, Failure> {
    command.build();
    let mut text = Vec::new();
    render(&command, &mut text)?;
    Ok(text)
}

fn render(command: &clap::Command, text: &mut Vec<u8>) -> Result<(), Failure> {
    Man::new(command.clone())
        .render(text)
        .map_err(Failure::Output)?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        render(verb, text)?;
    }
    Ok(())
}
