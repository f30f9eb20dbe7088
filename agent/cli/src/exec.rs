//! `tapestry exec`: another command in a running container.

use std::path::PathBuf;

use agent_api::{Client, Exec};
use agent_container::attach::SessionOptions;

use crate::arguments::{self, Variable};
use crate::failure::Failure;
use crate::{session, wait};

/// Run another command in a running container
///
/// Options after COMMAND's first word belong to the command. The exit status is the command's own; 126 if it cannot be
/// executed, 127 if it does not exist.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep standard input open and pass it on
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// An environment variable; without a value, the one it has here; may be repeated
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = arguments::variable)]
    env: Vec<Variable>,
    /// The directory that the command starts in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// The container's name or id
    #[arg(value_name = "NAME")]
    name: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(crate) fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let options = SessionOptions {
        tty: args.tty,
        interactive: args.interactive,
    };
    session::require_terminal(options)?;
    let request = Exec {
        command: args.command,
        env: arguments::environment(args.env),
        workdir: args.workdir,
        tty: args.tty,
        interactive: args.interactive,
    };
    relay(&args.name, &request, client)
}

/// Runs it to its end. Returns its exit status.
pub(crate) fn relay(name: &str, request: &Exec, client: &Client) -> Result<u8, Failure> {
    let options = SessionOptions {
        tty: request.tty,
        interactive: request.interactive,
    };
    let attached = wait(client.exec(name, request))?;
    let mut session = session::attach(&attached.attach, options)?;
    session.start();
    session::relay(session)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn command_keeps_its_own_options() {
        for line in [
            &["exec", "-i", "web", "--", "ls", "-l", "--", "x"][..],
            &["exec", "-i", "web", "ls", "-l", "--", "x"],
        ] {
            let args = Line::try_parse_from(line).unwrap().args;
            assert_eq!(args.name, "web");
            assert!(args.interactive);
            assert_eq!(args.command, ["ls", "-l", "--", "x"]);
        }
    }
}
