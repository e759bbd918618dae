//! Builds the shipped plugins that are not written in Rust, each by its own `build.sh`, where its tools are installed.
//!
//! A `build.sh` that lacks a tool says so and exits with 3: then the plugin is skipped, and so are its scenarios. In CI
//! nothing is skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step;

/// Folders of plugins under `plugins`, by language.
const LANGUAGES: [(&str, &str); 3] =
    [("python", "office-hours"), ("javascript", "by-language"), ("c", "best-fit")];

/// How a `build.sh` says that a tool is missing.
const MISSING: i32 = 3;

/// Builds them with `binary`, this workspace's `lockgate`. Returns the folders of languages that were skipped.
pub(crate) fn build(root: &Path, binary: &Path) -> Result<Vec<PathBuf>> {
    let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    let mut skipped = Vec::new();
    for (language, name) in LANGUAGES {
        step(&format!("build the plugin {name} ({language})"));
        let folder = root.join("plugins").join(language);
        let status = Command::new("sh")
            .arg("build.sh")
            .current_dir(folder.join(name))
            .env("LOCKGATE", binary)
            .status()
            .with_context(|| format!("cannot start sh for {name}"))?;
        match status.code() {
            Some(0) => {}
            Some(MISSING) if !is_ci => {
                step(&format!("skipped {name} and its scenarios: the tools named above are not installed"));
                skipped.push(folder);
            }
            _ => bail!("{}: {status}", folder.join(name).join("build.sh").display()),
        }
    }
    Ok(skipped)
}

/// Every folder under `plugins` but the skipped ones.
pub(crate) fn folders(root: &Path, skipped: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let plugins = root.join("plugins");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&plugins).with_context(|| format!("cannot read {}", plugins.display()))? {
        let path = entry?.path();
        if path.is_dir() && !skipped.contains(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
