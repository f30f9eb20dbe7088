//! Calling the plugin that gives addresses, as the specification's "delegated plugins" are called: with our environment and our
//! configuration.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;

use super::translate::{Delegate, Environment};
use super::wire::{DECODE_FAILURE, Failure, GivenResult, INVALID_CONFIG, IO_FAILURE, REFUSED};

impl Delegate {
    pub(super) fn add(&self, env: &Environment, config: &[u8]) -> Result<GivenResult, Failure> {
        let answer = self.call("ADD", env, config)?;
        serde_json::from_slice(&answer).map_err(|error| {
            self.failed(
                DECODE_FAILURE,
                &format!("its answer is not understood: {error}"),
            )
        })
    }

    /// DEL, CHECK, GC and STATUS, which answer nothing.
    pub(super) fn pass(
        &self,
        command: &str,
        env: &Environment,
        config: &[u8],
    ) -> Result<(), Failure> {
        self.call(command, env, config).map(drop)
    }

    fn call(&self, command: &str, env: &Environment, config: &[u8]) -> Result<Vec<u8>, Failure> {
        let path = self.find(&env.path)?;
        let output = run(&path, command, config)
            .map_err(|error| self.failed(IO_FAILURE, &format!("{}: {error}", path.display())))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(match serde_json::from_slice::<Told>(&output.stdout) {
            Ok(Told { code, msg, details }) if details.is_empty() => self.failed(code, &msg),
            Ok(Told { code, msg, details }) => self.failed(code, &format!("{msg}; {details}")),
            Err(_) => {
                let told = String::from_utf8_lossy(&output.stderr);
                let told = told.lines().next_back().unwrap_or("it said nothing");
                self.failed(REFUSED, &format!("{}: {told}", output.status))
            }
        })
    }

    fn find(&self, path: &str) -> Result<PathBuf, Failure> {
        let places = path.split(':').filter(|place| !place.is_empty());
        let mut files = places.map(|place| Path::new(place).join(&self.plugin));
        files.find(|file| file.is_file()).ok_or_else(|| {
            let message = format!(
                "there is no such plugin in CNI_PATH={path}; install it, or leave ipam out"
            );
            self.failed(INVALID_CONFIG, &message)
        })
    }

    fn failed(&self, code: u32, message: &str) -> Failure {
        Failure::new(code, format!("ipam {}: {message}", self.plugin))
    }
}

fn run(path: &Path, command: &str, config: &[u8]) -> io::Result<Output> {
    let mut child = Command::new(path)
        .env("CNI_COMMAND", command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(config) {
            // One that has ended without reading says why itself.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    child.wait_with_output()
}

/// The specification's "Error".
#[derive(Deserialize)]
struct Told {
    code: u32,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: String,
}
