//! `tapestry help`.

use clap::Command;

use crate::failure::Failure;
use crate::output;

/// Print the help of a command
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The command, as in: network create; an overview where absent
    #[arg(value_name = "COMMAND")]
    path: Vec<String>,
}

pub(crate) fn run(args: &Args, mut root: Command) -> Result<u8, Failure> {
    root.build();
    let mut here = &mut root;
    for (place, word) in args.path.iter().enumerate() {
        here = here.find_subcommand_mut(word).ok_or_else(|| {
            let (asked, known) = (args.path[..=place].join(" "), args.path[..place].join(" "));
            let list = format!("tapestry help {known}");
            Failure::usage(format!(
                "there is no command '{asked}'; see '{}'",
                list.trim_end()
            ))
        })?;
    }
    output::print(&here.render_long_help().to_string())?;
    Ok(0)
}
