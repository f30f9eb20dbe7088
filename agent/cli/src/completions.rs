//! `tapestry completions`: what a shell loads to complete our command lines, and what it is told while somebody types.
//!
//! The script is a few lines: at every Tab it runs the command with [`VARIABLE`] set and the words so far. So the names of
//! networks and containers are those that the agent has at that moment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_api::{Client, ClientError, DEFAULT_SOCKET};
use clap_complete::env::Shells;
use clap_complete::{ArgValueCandidates, CompleteEnv, CompletionCandidate, Shell};

use crate::failure::Failure;
use crate::output;

/// Print a completion script for a shell
///
/// It completes the names of networks and containers too. `make install` puts it where the shells look; without that, for
/// example: tapestry completions bash > /etc/bash_completion.d/tapestry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    let name = args.shell.to_string();
    let shells = Shells::builtins();
    let shell = shells
        .completer(&name)
        .ok_or_else(|| Failure::said(format!("{name} is not among the shells with completions")))?;
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)
        .map_err(Failure::Output)?;
    if args.shell == Shell::Zsh {
        script.extend_from_slice(ZSH_FIRST_CALL);
    }
    output::write(std::io::stdout(), &script)?;
    Ok(0)
}

/// Answers a shell that asks how a line may go on, and ends the process; returns where none asks.
pub(crate) fn answer(command: impl Fn() -> clap::Command) {
    let socket = socket(std::env::args_os(), std::env::var_os("TAPESTRY_SOCKET"));
    let command = || with_names(command(), "", &socket);
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// Where the line being typed would find the agent. The words of a container's command come behind a second `--`.
fn socket(arguments: impl IntoIterator<Item = OsString>, variable: Option<OsString>) -> PathBuf {
    let mut words = arguments
        .into_iter()
        .skip_while(|word| word != "--")
        .skip(1);
    let mut given = None;
    while let Some(word) = words.next().filter(|word| word != "--") {
        if word == "--socket" {
            given = words.next();
        } else if let Some(path) = word.to_str().and_then(|it| it.strip_prefix("--socket=")) {
            given = Some(path.into());
        }
    }
    let chosen = given.or(variable).filter(|path| !path.is_empty());
    chosen.map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from)
}

/// The same command, whose arguments know the names that the agent has for them.
fn with_names(command: clap::Command, parent: &str, socket: &Path) -> clap::Command {
    let verb = command.get_name().to_owned();
    command
        .mut_args(|argument| match Noun::of(parent, &verb, &argument) {
            Some(noun) => {
                let socket = socket.to_owned();
                argument.add(ArgValueCandidates::new(move || noun.names(&socket)))
            }
            None => argument,
        })
        .mut_subcommands(|below| with_names(below, &verb, socket))
}

/// What an argument names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noun {
    Network,
    Container,
    /// `run --network`: also another container's.
    NetworkMode,
    /// `inspect`.
    ContainerOrNetwork,
}

impl Noun {
    fn of(parent: &str, verb: &str, argument: &clap::Arg) -> Option<Self> {
        let is_positional = argument.is_positional();
        match (parent, verb, argument.get_id().as_str()) {
            (PROGRAM, "run", "network") => Some(Self::NetworkMode),
            (PROGRAM, "inspect", "names") | (PROGRAM, "capture", "target") => {
                Some(Self::ContainerOrNetwork)
            }
            (_, _, "network" | "other") => Some(Self::Network),
            (PROGRAM, "trace", "from" | "to") => Some(Self::Container),
            ("network", "inspect" | "rm" | "graph", "names") => Some(Self::Network),
            (_, _, "container") => Some(Self::Container),
            (PROGRAM, _, "name" | "names") if is_positional => Some(Self::Container),
            _ => None,
        }
    }

    fn names(self, socket: &Path) -> Vec<CompletionCandidate> {
        let client = Client::new(socket.to_owned());
        match self {
            Self::Network => networks(&client),
            Self::Container => containers(&client, ""),
            Self::NetworkMode => chained(networks(&client), containers(&client, "container:")),
            Self::ContainerOrNetwork => chained(containers(&client, ""), networks(&client)),
        }
    }
}

fn chained<T>(mut first: Vec<T>, second: Vec<T>) -> Vec<T> {
    first.extend(second);
    first
}

fn networks(client: &Client) -> Vec<CompletionCandidate> {
    let networks = ask(client.networks()).into_iter();
    networks
        .map(|network| CompletionCandidate::new(network.name))
        .collect()
}

fn containers(client: &Client, prefix: &str) -> Vec<CompletionCandidate> {
    let containers = ask(client.containers()).into_iter();
    containers
        .map(|container| CompletionCandidate::new(format!("{prefix}{}", container.name)))
        .collect()
}

/// Nothing where there is no agent, or none that answers while somebody waits with a finger on Tab.
fn ask<T>(answer: impl Future<Output = Result<Vec<T>, ClientError>>) -> Vec<T> {
    let in_time = async {
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        Ok::<_, Failure>(answer.ok().and_then(Result::ok).unwrap_or_default())
    };
    crate::wait(in_time).unwrap_or_default()
}

const PROGRAM: &str = "tapestry";
/// Of this program alone: what others do with `COMPLETE` is theirs.
const VARIABLE: &str = "TAPESTRY_COMPLETE";
const PATIENCE: Duration = Duration::from_millis(800);
/// zsh loads the script from its search path at the first Tab, and expects that Tab to be answered.
const ZSH_FIRST_CALL: &[u8] =
    b"[[ ${funcstack[1]} != _tapestry ]] || _clap_dynamic_completer_tapestry \"$@\"\n";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn names_come_from_the_agent_that_the_line_is_for() {
        let asked =
            |line: &str, variable: Option<&str>| socket(words(line), variable.map(OsString::from));
        assert_eq!(
            asked("tapestry -- tapestry ps", None),
            Path::new(DEFAULT_SOCKET)
        );
        assert_eq!(
            asked("tapestry -- tapestry ps", Some("/v")),
            Path::new("/v")
        );
        for line in [
            "tapestry -- tapestry --socket /x rm",
            "tapestry -- tapestry rm --socket=/x",
            "tapestry -- tapestry --socket /x run -- sh --socket /y",
        ] {
            assert_eq!(asked(line, Some("/v")), Path::new("/x"), "{line}");
        }
        assert_eq!(
            asked("tapestry -- tapestry --socket", None),
            Path::new(DEFAULT_SOCKET)
        );
    }

    /// A new command is on one of the two lists, or this fails.
    #[test]
    fn every_free_argument_completes_or_names_nothing_that_is_there() {
        fn look(command: &clap::Command, parent: &str, lists: &mut [Vec<String>; 2]) {
            let verb = command.get_name();
            let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
            for argument in command.get_positionals() {
                let named = Noun::of(parent, verb, argument).is_some();
                lists[usize::from(named)].push(format!("{parent} {verb} {}", argument.get_id()));
            }
            for below in shown {
                look(below, verb, lists);
            }
        }
        let mut lists = [Vec::new(), Vec::new()];
        look(&crate::Cli::command(), "", &mut lists);
        let [free, named] = lists.map(|list| list.join("\n"));
        insta::assert_snapshot!("arguments_without_names", free);
        insta::assert_snapshot!("arguments_with_names", named);
    }
}
