//! `tapestry exec`: another command in a running container.

use std::path::PathBuf;

use agent_api::{Client, Exec};

use crate::arguments::{self, Variable};
use crate::failure::Failure;
use crate::session;

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

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    if args.tty {
        session::require_terminal(args.interactive)?;
    }
    let request = Exec {
        command: args.command,
        env: arguments::environment(args.env),
        workdir: args.workdir,
        tty: args.tty,
        interactive: args.interactive,
    };
    let attached = client.exec(&args.name, &request).await?;
    let streams = session::Streams {
        interactive: args.interactive,
        tty: args.tty,
    };
    let session = session::Session::attach(&attached.attach, streams).await?;
    session.relay().await
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
