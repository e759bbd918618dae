//! What `kernels/gpu_check.sh` needs on a machine with a card and without Rust: the tests of the kernels and of whole models,
//! built to run on a card, the binary, and the script itself, in one archive.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{binary, cargo, run, step};

/// Tests that run on a card where `LOCKGATE_CARD` names one: of each kernel, and, in `it`, of whole models.
const TESTS: [&str; 8] = ["adapters", "attention", "limits", "products", "random", "rows", "sampling", "it"];
/// The whole archive, so that it can be sent anywhere.
const BYTES_MAX: u64 = 60 << 20;

/// Builds it: `target/gpu-bundle` and `target/lockgate-gpu.tar.gz`.
pub(crate) fn build(root: &Path) -> Result<()> {
    let folder = root.join("target/gpu-bundle");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let binary = binary(root)?;
    take(&binary, &folder.join("lockgate"))?;
    step("build the tests for a card");
    for (name, path) in tests(root)? {
        take(&path, &folder.join(name))?;
    }
    for file in ["kernels/gpu_check.sh", "kernels/cuda/built/manifest.txt"] {
        let from = root.join(file);
        let name = from.file_name().context("a file has a name")?;
        std::fs::copy(&from, folder.join(name)).with_context(|| format!("cannot copy {file}"))?;
    }
    let archive = root.join("target/lockgate-gpu.tar.gz");
    run(Command::new("tar").args(["--create", "--gzip", "--file"]).arg(&archive).args([
        "--directory".as_ref(),
        root.join("target").as_os_str(),
        "gpu-bundle".as_ref(),
    ]))?;
    let bytes = std::fs::metadata(&archive).with_context(|| format!("no {}", archive.display()))?.len();
    ensure!(bytes <= BYTES_MAX, "{} has {bytes} bytes, more than {BYTES_MAX}", archive.display());
    step(&format!(
        "{}: {bytes} bytes; unpack it beside a card and run gpu-bundle/gpu_check.sh",
        archive.display()
    ));
    Ok(())
}

/// The test programs, by name. Of the whole workspace, as `cargo xtask test` builds them: so they are what was tested, the
/// binary's features bring the driver of a card with them, and nothing is built twice.
fn tests(root: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut command = cargo(root);
    command.args([
        "test",
        "--release",
        "--workspace",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    for name in TESTS {
        command.args(["--test", name]);
    }
    let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo: {}", output.status);
    let text = String::from_utf8(output.stdout).context("cargo's messages are text")?;
    let messages = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let mut found = Vec::new();
    for name in TESTS {
        let is_it =
            |message: &&Value| message["target"]["name"] == name && message["target"]["kind"][0] == "test";
        match messages.iter().find(is_it).and_then(|message| message["executable"].as_str()) {
            Some(path) => found.push((name, PathBuf::from(path))),
            None => bail!("cargo built no test `{name}`"),
        }
    }
    Ok(found)
}

/// Copies a program without its debugging information, which is most of it.
fn take(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("strip").args(["--strip-debug", "-o"]).arg(to).arg(from))
}
