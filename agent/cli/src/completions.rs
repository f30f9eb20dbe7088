//! `tapestry completions`: what a shell needs to complete our command lines.

use clap_complete::Shell;

use crate::failure::Failure;
use crate::output;

/// Print a completion script for a shell
///
/// For example: tapestry completions bash > /etc/bash_completion.d/tapestry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args, mut command: clap::Command) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "tapestry", &mut script);
    output::write(std::io::stdout(), &script)?;
    Ok(0)
}
