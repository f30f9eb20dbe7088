//! `lab exec`: a command in a node, or in each.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use agent_api::Client;
use agent_container::attach::SessionOptions;
use integration::lab::{self, Present, Runtime};

use super::{File, show};
use crate::failure::{Failure, complain};
use crate::{exec, output, session, wait};

/// Run a command in a node of a lab, or in each
///
/// The exit status is the command's own; with --all, that of the last node where it failed.
#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    /// The lab's file, or the directory that it is in
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    file: std::path::PathBuf,
    /// In every node, one after the other
    #[arg(long)]
    all: bool,
    /// Keep standard input open and pass it on
    #[arg(short, long, conflicts_with = "all")]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long, conflicts_with = "all")]
    tty: bool,
    /// The node's name, unless --all is given, and the command with its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "NODE -- COMMAND"
    )]
    words: Vec<String>,
}

pub(super) fn exec(args: Exec, client: &Client) -> Result<u8, Failure> {
    let lab = File { file: args.file }.open()?;
    let present = wait(lab::listed(client, &lab.name))?;
    let options = SessionOptions {
        tty: args.tty,
        interactive: args.interactive,
    };
    session::require_terminal(options)?;
    let (containers, command) = match args.all {
        true => (show::names(&present), args.words),
        false => {
            let mut words = args.words.into_iter();
            let node = words.next().unwrap_or_default();
            let command = words.skip_while(|word| word == "--").collect();
            (vec![container(&lab, &present, &node)?], command)
        }
    };
    if command.is_empty() {
        return Err(Failure::usage(
            "no command was given; write it after the node: tapestry lab exec FILE NODE -- COMMAND",
        ));
    }
    let request = agent_api::Exec {
        command,
        tty: args.tty,
        interactive: args.interactive,
        ..agent_api::Exec::default()
    };
    let mut code = 0;
    for container in containers {
        if args.all {
            output::print(&format!("# {container}\n"))?;
        }
        let ran = match runtime(&present, &container) {
            Some(runtime) => in_image(runtime, &container, &request),
            None => exec::relay(&container, &request, client),
        };
        match ran {
            Ok(0) => {}
            Ok(status) => code = status,
            Err(failure) if args.all => {
                complain(&failure.to_string());
                code = failure.code();
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(code)
}

/// Who runs the node's image.
fn runtime(present: &Present, name: &str) -> Option<Runtime> {
    let mut guests = present.guests().into_iter();
    let (_, runtime) = guests.find(|(container, _)| container.name == name)?;
    Some(runtime)
}

/// The engine's own command, with this one's streams.
fn in_image(runtime: Runtime, container: &str, request: &agent_api::Exec) -> Result<u8, Failure> {
    let words = lab::exec(
        container,
        &request.command,
        request.interactive,
        request.tty,
    );
    let status = Command::new(runtime.word()).args(words).status();
    let status = status.map_err(|error| Failure::said(format!("{runtime} exec: {error}")))?;
    Ok(code(status))
}

/// The command's own, or 128 + n where signal n ended it, as shells tell it.
fn code(status: ExitStatus) -> u8 {
    let by_signal = || Some(128 + status.signal()?);
    let code = status.code().or_else(by_signal);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

fn container(lab: &lab::Lab, present: &Present, name: &str) -> Result<String, Failure> {
    let known = lab.node(name);
    let is_up = |node: &&lab::Node| {
        present
            .containers
            .iter()
            .any(|container| container.name == node.container)
    };
    match known {
        Some(node) if is_up(&node) => Ok(node.container.clone()),
        Some(_) => Err(Failure::said(format!(
            "node {name} is not up; bring it up with: tapestry lab up {}",
            lab.file.display()
        ))),
        None => {
            let names: Vec<&str> = lab
                .nodes
                .iter()
                .take(12)
                .map(|node| node.name.as_str())
                .collect();
            Err(Failure::said(format!(
                "lab {} has no node {name:?}; it has {}",
                lab.name,
                names.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_a_signal_ended_has_the_status_that_shells_tell() {
        // wait(2): the code is in the second byte, a signal in the first.
        let ended = |raw| code(ExitStatus::from_raw(raw));
        assert_eq!(
            [ended(0), ended(3 << 8), ended(9), ended(15)],
            [0, 3, 137, 143]
        );
    }
}
