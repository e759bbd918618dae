//! A policy's folder that is no crate: `policy.toml` says which command builds it, what comes out, and from what.
//!
//! ```toml
//! build = ["sh", "build.sh"]      # run in this folder when a source is newer than the component
//! component = "build/mine.wasm"
//! sources = ["policy.py", "wit"]  # files, and folders of them
//! ```
//!
//! Owns that file and when its command runs. Does not own what the command does: languages have toolchains of their
//! own. Beside `cargo`, for which a crate needs no such file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::SystemTime;

use lockgate_problems::Problems;
use serde::Deserialize;
use thiserror::Error;

/// The file's name.
pub const FILE: &str = "policy.toml";

/// Bytes of the file that are read.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a failed command's output that are told, from its end.
const TOLD_BYTES_MAX: usize = 4096;
/// Files that a project is made from.
const SOURCES_MAX: usize = 10_000;
/// Folders below a source.
const DEPTH_MAX: usize = 32;

/// Why a project gives no component.
#[derive(Debug, Error)]
pub enum ProjectError {
    /// The file makes no sense; with its place.
    #[error("{0}")]
    File(Problems),
    /// A source that is not there.
    #[error("the source {} cannot be read: {source}", path.display())]
    Source {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its command does not start.
    #[error("cannot run `{command}` in {}: {source}", folder.display())]
    Start {
        /// The command.
        command: String,
        /// The project.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its command fails.
    #[error("`{command}` in {} failed ({status}):\n{told}", folder.display())]
    Failed {
        /// The command.
        command: String,
        /// The project.
        folder: PathBuf,
        /// How.
        status: ExitStatus,
        /// The end of what it said.
        told: String,
    },
    /// Its command made nothing.
    #[error("`{command}` in {} left no component at {}", folder.display(), expected.display())]
    NoComponent {
        /// The command.
        command: String,
        /// The project.
        folder: PathBuf,
        /// Where it should be.
        expected: PathBuf,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    build: Vec<String>,
    component: PathBuf,
    sources: Vec<PathBuf>,
}

/// A folder with a [`FILE`].
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
    file: File,
}

impl Project {
    /// The folder's project; none where it has no [`FILE`].
    ///
    /// # Errors
    /// [`ProjectError::File`].
    pub fn read(folder: &Path) -> Result<Option<Self>, ProjectError> {
        let path = folder.join(FILE);
        let text = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
                Err(io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes")))
            }
            _ => fs::read_to_string(&path),
        };
        let text = text.map_err(|error| ProjectError::File(Problems::unreadable(&path, &error)))?;
        let file: File = toml::from_str(&text)
            .map_err(|error| ProjectError::File(Problems::from_toml(&path, &text, &error)))?;
        let empty = [("build", file.build.is_empty()), ("sources", file.sources.is_empty())];
        if let Some((name, _)) = empty.iter().find(|(_, is_empty)| *is_empty) {
            let mut problems = Problems::none(&path);
            problems.add(&text, 0..0, format!("`{name}` is empty"));
            return Err(ProjectError::File(problems));
        }
        Ok(Some(Self { folder: folder.to_owned(), file }))
    }

    /// Every file that it is made from, [`FILE`] included.
    ///
    /// # Errors
    /// [`ProjectError::Source`].
    pub fn sources(&self) -> Result<Vec<PathBuf>, ProjectError> {
        let mut found = vec![self.folder.join(FILE)];
        for source in &self.file.sources {
            let path = self.folder.join(source);
            collect(&path, 0, &mut found).map_err(|source| ProjectError::Source { path, source })?;
        }
        Ok(found)
    }

    /// The component, built when it is older than a source.
    ///
    /// # Errors
    /// [`ProjectError`]: a source is missing, or the command fails.
    pub fn build(&self) -> Result<PathBuf, ProjectError> {
        let component = self.folder.join(&self.file.component);
        let sources = self.sources()?;
        if modified(&component).is_some_and(|built| {
            sources.iter().all(|source| modified(source).is_some_and(|changed| changed <= built))
        }) {
            return Ok(component);
        }
        let (folder, shown) = (self.folder.clone(), self.file.build.join(" "));
        let mut command = Command::new(&self.file.build[0]);
        command.args(&self.file.build[1..]).current_dir(&folder).stdin(Stdio::null());
        // Of a build in C, for the steps that no compiler does.
        if let Ok(program) = std::env::current_exe() {
            command.env("LOCKGATE", program);
        }
        let output = command.output().map_err(|source| ProjectError::Start {
            command: shown.clone(),
            folder: folder.clone(),
            source,
        })?;
        if !output.status.success() {
            let mut told = output.stdout;
            told.extend(output.stderr);
            let told = String::from_utf8_lossy(&told[told.len().saturating_sub(TOLD_BYTES_MAX)..]);
            let told = told.trim_end().to_owned();
            return Err(ProjectError::Failed { command: shown, folder, status: output.status, told });
        }
        if !component.is_file() {
            return Err(ProjectError::NoComponent { command: shown, folder, expected: component });
        }
        Ok(component)
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// The file, or every file of the folder.
fn collect(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    if depth > DEPTH_MAX || found.len() > SOURCES_MAX {
        return Err(io::Error::other("it has too many files"));
    }
    let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    entries.iter().try_for_each(|entry| collect(&entry.path(), depth + 1, found))
}

#[cfg(test)]
mod tests;
