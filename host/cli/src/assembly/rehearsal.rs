//! Scenarios that lie beside a component: they are run before it serves, and one that fails keeps it from doing so.
//!
//! Beside `NAME.wasm` they are called `NAME.scenario.toml` or `NAME.WORDS.scenario.toml`. They run in a process of their
//! own, `lockgate policy test`, since what they do to a component is none of a server's business. Crates are not built.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockgate_workbench::scenario::SUFFIX;
use sha2::{Digest, Sha256};
use tracing::info;

use super::workshop;
use crate::config::{Config, PluginConfig, RouterConfig};

/// The longest that a component's scenarios may take.
const TIME_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Bytes of the result that are told.
const TOLD_BYTES_MAX: usize = 4096;

/// The scenario files beside a component, by name.
pub(crate) fn beside(component: &Path) -> Vec<PathBuf> {
    let folder = match component.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let Some(stem) = component.file_stem().and_then(|stem| stem.to_str()) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let is_of = |name: &str| {
        let rest = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(SUFFIX));
        rest.is_some_and(|words| words.is_empty() || words.starts_with('.'))
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_of))
        .collect();
    files.sort();
    files
}

/// What has been rehearsed, by the content of components and scenarios.
#[derive(Default)]
pub(super) struct Rehearsals {
    held: HashSet<[u8; 32]>,
}

/// The components of a configuration as they were when their scenarios held.
pub(super) struct Rehearsed(Vec<(PathBuf, Option<[u8; 32]>)>);

impl Rehearsals {
    /// Runs the scenarios beside the configuration's components, those left out that have held before.
    ///
    /// # Errors
    /// The first plugin whose scenarios do not hold or cannot be run, with what came of them.
    pub(super) fn of(&mut self, config: &Config) -> Result<Rehearsed> {
        let routers = config.routers.iter().flat_map(RouterConfig::plugins);
        let mut seen: Vec<(PathBuf, Option<[u8; 32]>)> = Vec::new();
        for PluginConfig { id, path, place, .. } in routers.chain(&config.preprocessors).chain(&config.guards)
        {
            let scenarios = beside(path);
            if scenarios.is_empty() || seen.iter().any(|(known, _)| known == path) {
                continue;
            }
            seen.push((path.clone(), digest(std::iter::once(path))));
            let all = digest(std::iter::once(path).chain(&scenarios));
            if all.is_some_and(|all| self.held.contains(&all)) {
                continue;
            }
            rehearse(&scenarios).with_context(|| format!("{place}: plugin `{id}`"))?;
            info!(plugin = %id, files = scenarios.len(), "the scenarios beside it hold");
            self.held.extend(all);
        }
        Ok(Rehearsed(seen))
    }
}

impl Rehearsed {
    /// Whether the components are still what was rehearsed. To be asked after they were loaded.
    ///
    /// # Errors
    /// One that has changed meanwhile.
    pub(super) fn check(&self) -> Result<()> {
        for (path, before) in &self.0 {
            if digest(std::iter::once(path)) != *before {
                bail!("{} changed while it was being loaded; it is tried again", path.display());
            }
        }
        Ok(())
    }
}

/// Of all these files; none where one cannot be read, which is told by whoever loads it.
fn digest<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Option<[u8; 32]> {
    let mut all = Sha256::new();
    for path in files {
        let bytes = std::fs::read(path).ok()?;
        all.update((bytes.len() as u64).to_le_bytes());
        all.update(bytes);
    }
    Some(all.finalize().into())
}

fn rehearse(scenarios: &[PathBuf]) -> Result<()> {
    let mut told = tempfile::tempfile().context("no file for the scenarios' results")?;
    let mut child = Command::new(workshop::program())
        .args(["policy", "test", "--no-build"])
        .args(scenarios)
        .stdin(Stdio::null())
        .stdout(told.try_clone()?)
        .stderr(told.try_clone()?)
        .spawn()
        .context("cannot start the program that runs scenarios")?;
    let began = Instant::now();
    let status: ExitStatus = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if began.elapsed() > TIME_MAX => {
                child.kill()?;
                child.wait()?;
                bail!("the scenarios beside it take longer than {} s", TIME_MAX.as_secs());
            }
            None => std::thread::sleep(LOOK_EVERY),
        }
    };
    if status.success() {
        return Ok(());
    }
    let what = if status.code() == Some(1) { "do not hold" } else { "cannot be run" };
    bail!("the scenarios beside it {what}:\n{}", end_of(&mut told)?)
}

fn end_of(file: &mut File) -> Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TOLD_BYTES_MAX as u64)))?;
    let mut bytes = Vec::new();
    file.take(TOLD_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}
