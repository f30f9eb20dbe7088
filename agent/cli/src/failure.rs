//! Why a command failed, told in one line, and the exit status that goes with it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use agent_api::ClientError;
use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::docker_words;

/// What ends a command early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Agent(#[from] ClientError),
    /// The agent did not make or start a container: the command never ran.
    #[error("{0}")]
    RefusedRun(ClientError),
    /// The command is not found, and was an image's name.
    #[error(
        "{0}; images are Docker's business: this runs a command of this host, or of a directory with --rootfs, as in: \
         tapestry run -it sh"
    )]
    NoImages(ClientError),
    #[error("cannot write to standard output: {0}; make room or choose another target")]
    Output(io::Error),
    #[error("cannot write {}: {source}; check the directory and its permissions", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot start: {0}; close other programs or raise their limits")]
    Runtime(io::Error),
    /// Anything else, already worded.
    #[error("{message}")]
    Said { message: String, code: u8 },
}

impl Failure {
    pub(crate) fn said(message: impl Into<String>) -> Self {
        Self::Said {
            message: message.into(),
            code: FAILED,
        }
    }

    /// A wrong use that only shows after the command line is read.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Said {
            message: message.into(),
            code: USAGE,
        }
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::RefusedRun(error) | Self::NoImages(error) => refused_run(error),
            Self::Said { code, .. } => *code,
            _ => FAILED,
        }
    }

    /// Tells it on standard error, unless the reader of standard output has gone: `tapestry ps | head -1` is no failure.
    pub(crate) fn report(&self) -> ExitCode {
        if let Self::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return ExitCode::SUCCESS;
        }
        complain(&self.to_string());
        ExitCode::from(self.code())
    }
}

/// 126 and 127 are the shell's words for a command that was found wanting; everything else the agent refused.
fn refused_run(error: &ClientError) -> u8 {
    use agent_api::ErrorKind as Kind;
    match error.kind() {
        Some(Kind::CommandNotFound) => COMMAND_NOT_FOUND,
        Some(Kind::CommandNotExecutable) => COMMAND_NOT_EXECUTABLE,
        _ => REFUSED_RUN,
    }
}

/// One line on standard error.
pub(crate) fn complain(message: &str) {
    let line: Vec<&str> = message.split_whitespace().collect();
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "tapestry: {}", line.join(" "));
}

/// Does `each` to every name; goes on after a failure, tells each, and fails if one did.
pub(crate) async fn for_each_name<F>(names: &[String], mut each: F) -> Result<u8, Failure>
where
    F: AsyncFnMut(&str) -> Result<(), Failure>,
{
    let mut code = 0;
    for name in names {
        match each(name).await {
            Ok(()) => {}
            Err(failure @ Failure::Output(_)) => return Err(failure),
            Err(failure) => {
                complain(&failure.to_string());
                code = failure.code();
            }
        }
    }
    Ok(code)
}

/// Help and version go out as they are; a wrong command line is told in one line.
pub(crate) fn report_usage(error: &clap::Error, command: &Command) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(USAGE)
        }
        _ => {
            let verbs = verbs(std::env::args_os().skip(1), command);
            complain(&told(error, &verbs));
            ExitCode::from(USAGE)
        }
    }
}

/// What is wrong with a command line, in one line: of Docker's words what to use instead, else what clap says.
fn told(error: &clap::Error, verbs: &str) -> String {
    let written = match (
        error.get(ContextKind::InvalidArg),
        error.get(ContextKind::InvalidSubcommand),
    ) {
        (Some(ContextValue::String(option)), _) if error.kind() == ErrorKind::UnknownArgument => {
            Some((option, docker_words::instead_of_option(verbs, option)))
        }
        (_, Some(ContextValue::String(command))) => {
            Some((command, docker_words::instead_of_command(verbs, command)))
        }
        _ => None,
    };
    match written {
        Some((word, Some(instead))) => format!("{word} is Docker's and not taken: {instead}"),
        _ => usage_line(&without_far_tip(error), verbs),
    }
}

/// Clap's paragraphs, without a tip that has little to do with what was written: `--publish` for `--cpus`.
fn without_far_tip(error: &clap::Error) -> String {
    let rendered = error.to_string();
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let (Some(written), Some(tip)) = (
        text(ContextKind::InvalidArg),
        text(ContextKind::SuggestedArg),
    ) else {
        return rendered;
    };
    let written = written.split('=').next().unwrap_or(written);
    let edits = strsim::osa_distance(written, tip);
    if edits * 3 <= written.len() || tip.starts_with(written) {
        return rendered;
    }
    let kept = rendered.lines().filter(|line| !line.contains(TIP));
    kept.collect::<Vec<_>>().join("\n")
}

/// Makes one line of clap's paragraphs: what is wrong, the tips, and the help to read.
fn usage_line(rendered: &str, verbs: &str) -> String {
    let said = rendered
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty() && !line.starts_with("tip: to pass "));
    let said: Vec<&str> = said.collect();
    let said = said.join(" ");
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    let said = said.replace(" tip: ", "; ");
    format!("{said}; see '{verbs} --help'")
}

/// The verbs on the command line, as in `tapestry network create`.
fn verbs(line: impl IntoIterator<Item = OsString>, root: &Command) -> String {
    let (mut path, mut here) = (root.get_name().to_owned(), root);
    for word in line {
        if !here.has_subcommands() {
            break;
        }
        if let Some(verb) = here.find_subcommand(&word) {
            path = format!("{path} {}", verb.get_name());
            here = verb;
        }
    }
    path
}

const TIP: &str = "tip: a similar argument exists";
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const REFUSED_RUN: u8 = 125;
const COMMAND_NOT_EXECUTABLE: u8 = 126;
const COMMAND_NOT_FOUND: u8 = 127;
/// As if by SIGKILL.
pub(crate) const SHIM_DIED: u8 = 137;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[test]
    fn usage_line_names_the_mistake_the_tip_and_the_help() {
        let rendered = "error: unexpected argument '--nam' found\n\n  tip: a similar argument exists: '--name'\n  \
                        tip: to pass '--nam' as a value, use '-- --nam'\n\n\
                        Usage: tapestry run --name <NAME> <COMMAND>...\n\nFor more information, try '--help'.\n";
        assert_eq!(
            usage_line(rendered, "tapestry run"),
            "unexpected argument '--nam' found; a similar argument exists: '--name'; see 'tapestry run --help'"
        );
    }

    #[test]
    fn only_what_is_nearly_the_same_is_suggested() {
        let told = |line: &str| {
            let error = crate::Cli::try_parse_from(line.split(' ')).unwrap_err();
            told(&error, "tapestry run")
        };
        assert_eq!(
            told("tapestry run --colour 2 sh"),
            "unexpected argument '--colour' found; see 'tapestry run --help'"
        );
        for (written, meant) in [
            ("--publsh", "--publish"),
            ("--nam", "--name"),
            ("--networks", "--network"),
            ("--inter", "--interactive"),
        ] {
            let told = told(&format!("tapestry run {written} x sh"));
            assert!(told.contains(meant), "{told}");
        }
    }

    #[test]
    fn dockers_words_are_told_with_what_to_use() {
        let said = |line: &str| {
            let error = crate::Cli::try_parse_from(line.split(' ')).unwrap_err();
            let root = crate::Cli::command();
            let verbs = verbs(line.split(' ').skip(1).map(OsString::from), &root);
            told(&error, &verbs)
        };
        for (line, instead) in [
            ("tapestry run -v /a:/b sh", "--rootfs DIR"),
            ("tapestry run --cpu-shares=2 sh", "--cpus"),
            ("tapestry run -u 1000 sh", "setpriv"),
            ("tapestry network create --ipam-driver x lab", "--ip-range"),
            ("tapestry network connect --link a:b lab web", "by name"),
            ("tapestry pull alpine", "images are Docker's business"),
            ("tapestry kill web", "tapestry stop -t 0"),
        ] {
            let said = said(line);
            assert!(
                said.contains(instead) && said.contains("is Docker's"),
                "{said}"
            );
        }
        assert!(said("tapestry ps --cpus 2").contains("unexpected argument"));
        assert!(said("tapestry frobnicate").contains("unrecognized subcommand"));
    }

    #[test]
    fn verbs_stop_before_the_words_of_a_command() {
        let root = crate::Cli::command();
        let path = |line: &str| verbs(line.split(' ').map(OsString::from), &root);
        assert_eq!(
            path("--socket /a network create --mtu x"),
            "tapestry network create"
        );
        assert_eq!(path("run --rm network ls"), "tapestry run");
        assert_eq!(path("--bogus"), "tapestry");
    }
}
