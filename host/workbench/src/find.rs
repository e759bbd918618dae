//! Which files a command line means: scenario files, and folders of them.

use std::io;
use std::path::{Path, PathBuf};

use crate::scenario::SUFFIX;

/// Folders below a named one that are looked into.
const DEPTH_MAX: usize = 32;
/// Files that one command takes.
const FILES_MAX: usize = 100_000;

/// What paths mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Scenario files, each once.
    pub files: Vec<PathBuf>,
    /// Folders that were named and hold none, which whoever names them may not know.
    pub empty: Vec<PathBuf>,
}

/// The files that these paths mean: a file as it is, of a folder every `*.scenario.toml` in it and below, by name.
/// Folders of build results, and those whose names begin with a dot, are passed over.
///
/// # Errors
/// The first path that cannot be read.
pub fn files(paths: &[PathBuf]) -> Result<Found, (PathBuf, io::Error)> {
    let mut found = Vec::new();
    let mut empty = Vec::new();
    for path in paths {
        let failed = |error| (path.clone(), error);
        if std::fs::metadata(path).map_err(failed)?.is_dir() {
            let before = found.len();
            walk(path, 0, &mut found).map_err(failed)?;
            if found.len() == before {
                empty.push(path.clone());
            }
        } else {
            found.push(path.clone());
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    Ok(Found { files: found, empty })
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = std::fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        // Not through links: one may lead back up.
        if entry.file_type()?.is_dir() {
            let is_passed_over = name.starts_with('.') || name == "target" || name == "node_modules";
            if !is_passed_over && depth < DEPTH_MAX {
                walk(&path, depth + 1, found)?;
            }
        } else if name.ends_with(SUFFIX) && path.is_file() {
            found.push(path);
        }
        if found.len() > FILES_MAX {
            return Err(io::Error::other(format!("more than {FILES_MAX} scenario files")));
        }
    }
    Ok(())
}
