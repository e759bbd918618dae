//! Runs the Python tests (official client libraries, peers) in a virtual environment of their own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run;

/// Installs `tests/requirements.txt` into `target/venv` when it has changed, then runs pytest.
pub(crate) fn test(root: &Path, binary: &Path, home: &Path) -> Result<()> {
    let environment = root.join("target/venv");
    let requirements = root.join("tests/requirements.txt");
    let installed = environment.join("installed.txt");
    let wanted = std::fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    if std::fs::read_to_string(&installed).ok().as_deref() != Some(wanted.as_str()) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))
            .context("Python 3 with its venv module is needed for the client tests")?;
        run(Command::new(environment.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "-r"])
            .arg(&requirements))?;
        std::fs::write(&installed, &wanted)
            .with_context(|| format!("cannot write {}", installed.display()))?;
    }
    run(Command::new(environment.join("bin/pytest"))
        .current_dir(root)
        .args(["-q", "tests"])
        .env("LOCKGATE_BIN", binary)
        .env("LOCKGATE_HOME", home)
        .env("LOCKGATE_TEST_MODEL", home.join("models/smollm2.gguf")))
}
