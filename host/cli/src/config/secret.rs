//! Secrets: named in the configuration by where they are, read once, never printed.

use std::path::{Path, PathBuf};

use lockgate_providers::Secret;
use serde::Deserialize;

/// Where a secret is kept: `{ env = "NAME" }` or `{ file = "PATH" }`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file, relative to the configuration's folder; one line end at its end is ignored.
    File(PathBuf),
}

impl SecretSource {
    /// Reads the secret. The error is a sentence that does not contain it.
    pub(crate) fn read(&self, folder: &Path) -> Result<Secret, String> {
        let value = match self {
            Self::Env(name) => std::env::var(name)
                .map_err(|_| format!("the environment variable `{name}` is not set (or is not UTF-8)"))?,
            Self::File(path) => {
                let path = folder.join(path);
                std::fs::read_to_string(&path)
                    .map_err(|error| format!("cannot read the secret file {}: {error}", path.display()))?
            }
        };
        let value = value.trim_end_matches(['\r', '\n']);
        if value.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        if value.chars().any(char::is_control) {
            return Err("the secret contains a control character".to_owned());
        }
        Ok(Secret::new(value))
    }
}
