//! `--watch`: waits until a scenario file, a component or a crate's source changes.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lockgate_workbench::find;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Waits until one of `files` changes, or a path means other files than before.
pub(super) fn wait(paths: &[PathBuf], files: &[PathBuf]) {
    let seen = look(paths, files);
    loop {
        std::thread::sleep(LOOK_EVERY);
        if look(paths, files) != seen {
            return;
        }
    }
}

/// Tells one state of files from the next: who there is, times of change, and sizes.
type Look = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

fn look(paths: &[PathBuf], files: &[PathBuf]) -> Look {
    let mut all = find::files(paths).unwrap_or_default().files;
    all.extend(files.iter().cloned());
    all.sort();
    all.dedup();
    all.into_iter()
        .map(|path| {
            let stamp = stamp(&path);
            (path, stamp)
        })
        .collect()
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
