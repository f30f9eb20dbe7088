//! Running `nft`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// The program.
#[derive(Clone, Debug)]
pub(super) struct Nft(PathBuf);

/// Why the packet filter is not as wanted.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    #[error("the program nft is not installed; install the package nftables")]
    NftMissing,
    #[error("cannot run {}: {source}", program.display())]
    Run {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("nft refused the rules: {said}")]
    Refused { said: String },
    #[error("nft lists the ruleset in an unknown form: {0}")]
    Listing(#[from] serde_json::Error),
}

impl Nft {
    pub(super) fn find() -> Result<Self, FirewallError> {
        let found = program("nft").ok_or(FirewallError::NftMissing)?;
        Ok(Self(found))
    }

    /// What `nft -j` says to these arguments.
    pub(super) fn list(&self, arguments: &[&str]) -> Result<Value, FirewallError> {
        let output = self
            .command()
            .arg("-j")
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        let output = succeeded(output.map_err(|source| self.failed(source))?)?;
        Ok(joined(&output.stdout)?)
    }

    /// Runs a script as one transaction. `begun` gets the process that does it before that can have read a line.
    pub(super) fn run(&self, script: &str, begun: impl FnOnce(u32)) -> Result<(), FirewallError> {
        let mut child = self
            .command()
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| self.failed(source))?;
        begun(child.id());
        let written = match child.stdin.take() {
            Some(mut stdin) => stdin.write_all(script.as_bytes()),
            None => Ok(()),
        };
        let output = child
            .wait_with_output()
            .map_err(|source| self.failed(source))?;
        succeeded(output)?;
        written.map_err(|source| self.failed(source))
    }

    /// Without the user's locale and without a shell.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.env("LC_ALL", "C");
        command
    }

    fn failed(&self, source: io::Error) -> FirewallError {
        if source.kind() == io::ErrorKind::NotFound {
            return FirewallError::NftMissing;
        }
        FirewallError::Run {
            program: self.0.clone(),
            source,
        }
    }
}

/// The objects of one kind in `nft -j` output.
pub(super) fn objects<'a>(
    listing: &'a Value,
    kind: &'static str,
) -> impl Iterator<Item = &'a Value> {
    let all = listing["nftables"].as_array();
    all.into_iter()
        .flatten()
        .filter_map(move |object| object.get(kind))
}

/// Each command of one run answers with a document of its own.
fn joined(output: &[u8]) -> Result<Value, serde_json::Error> {
    let mut objects = Vec::new();
    for document in serde_json::Deserializer::from_slice(output).into_iter::<Value>() {
        if let Some(Value::Array(more)) = document?.get_mut("nftables").map(Value::take) {
            objects.extend(more);
        }
    }
    Ok(json!({ "nftables": objects }))
}

/// A program on the search path, or where administration programs are on hosts whose services search elsewhere.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

fn succeeded(output: Output) -> Result<Output, FirewallError> {
    match output.status.success() {
        true => Ok(output),
        false => Err(FirewallError::Refused {
            said: complaint(&output),
        }),
    }
}

/// Why a program failed, in its own words.
pub(super) fn complaint(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    // Lines with a hash are warnings about tables of others.
    let is_reason = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let mut lines = said.lines().map(str::trim).filter(is_reason);
    match lines.next() {
        Some(line) => line.to_owned(),
        None => output.status.to_string(),
    }
}
