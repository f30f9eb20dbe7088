//! Programs that are on PyPI only.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::run_for;

/// The command that a package is called by. It is installed once, below the directory that everything is built in, as `scripts/setup`
/// does it.
pub(crate) fn from_pypi(package: &str, version: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let venv = test.ancestors().nth(3).unwrap().join(package);
    if !venv.join("whole").exists() {
        let script = format!(
            "python3 -m venv \"$0\" && \"$0/bin/pip\" install -q --disable-pip-version-check {package}=={version} && touch \"$0/whole\""
        );
        let mut install = Command::new("sh");
        install.args(["-ec", &script]).arg(&venv);
        run_for(&mut install, PATIENCE).ok();
    }
    venv.join("bin").join(package)
}

const PATIENCE: Duration = Duration::from_secs(600);
