//! The folder of models: `$LOCKGATE_HOME/models`, one `NAME.gguf` a model.
//!
//! A file appears under its name only when it is whole and verified: it is written as
//! `NAME.gguf.part` and renamed. Beside it lies `NAME.json` with what is known of its origin.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A problem with the folder of models.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    #[error("there is no home folder on this account: set LOCKGATE_HOME to a folder for Lockgate's data")]
    NoHome,
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("there is no model `{name}` in {}{hint}", folder.display())]
    Unknown { name: String, folder: PathBuf, hint: String },
    #[error("`{0}` cannot be a model's name: use letters, digits, `-`, `_` and `.`")]
    BadName(String),
}

/// The folder of models.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
}

/// A model in the folder.
#[derive(Debug)]
pub(crate) struct StoredModel {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) origin: Option<Origin>,
}

/// What is known of where a model came from.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Origin {
    /// The source that it came from.
    pub(crate) source: String,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub(crate) sha256: String,
    /// Its licence, where the catalogue knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) licence: Option<String>,
}

/// Where Lockgate's own files lie: `LOCKGATE_HOME`, else in the user's data folder.
pub(crate) fn data_folder() -> Result<PathBuf, StoreError> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("LOCKGATE_HOME")
        .or_else(|| set("XDG_DATA_HOME").map(|data| data.join("lockgate")))
        .or_else(|| {
            let below =
                if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/share" };
            set("HOME").map(|home| home.join(below).join("lockgate"))
        })
        .ok_or(StoreError::NoHome)
}

impl Store {
    /// The folder that the environment names: `LOCKGATE_HOME`, else the user's data folder.
    pub(crate) fn from_environment() -> Result<Self, StoreError> {
        Ok(Self { folder: data_folder()?.join("models") })
    }

    #[cfg(test)]
    pub(crate) fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The folder itself, made if it is not there.
    pub(crate) fn folder(&self) -> Result<&Path, StoreError> {
        std::fs::create_dir_all(&self.folder).map_err(|source| self.io(&self.folder, source))?;
        Ok(&self.folder)
    }

    /// Where a model of that name lies or would lie.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        let plain = !name.is_empty()
            && !name.starts_with('.')
            && name.len() <= 200
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !plain {
            return Err(StoreError::BadName(name.to_owned()));
        }
        Ok(self.folder.join(format!("{name}.gguf")))
    }

    /// The model of that name, if it is there.
    pub(crate) fn find(&self, name: &str) -> Result<Option<StoredModel>, StoreError> {
        let path = self.path(name)?;
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(StoredModel {
                name: name.to_owned(),
                bytes: metadata.len(),
                origin: self.origin(name),
                path,
            })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.io(&path, error)),
        }
    }

    /// The model of that name.
    pub(crate) fn get(&self, name: &str) -> Result<StoredModel, StoreError> {
        if let Some(model) = self.find(name)? {
            return Ok(model);
        }
        let hint = if super::Entry::find(name).is_some() {
            format!("; `lockgate pull {name}` fetches it")
        } else {
            "; `lockgate list` shows those that are".to_owned()
        };
        Err(StoreError::Unknown { name: name.to_owned(), folder: self.folder.clone(), hint })
    }

    /// Every model, by name.
    pub(crate) fn list(&self) -> Result<Vec<StoredModel>, StoreError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.io(&self.folder, error)),
        };
        let mut models = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.io(&self.folder, error))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".gguf")) else { continue };
            if self.path(name).is_ok()
                && let Some(model) = self.find(name)?
            {
                models.push(model);
            }
        }
        models.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(models)
    }

    /// Removes a model and what is known of it.
    pub(crate) fn remove(&self, name: &str) -> Result<StoredModel, StoreError> {
        let model = self.get(name)?;
        std::fs::remove_file(&model.path).map_err(|error| self.io(&model.path, error))?;
        match std::fs::remove_file(self.origin_path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.io(&self.origin_path(name), error))
            }
            _ => Ok(model),
        }
    }

    /// Records where a model came from. Written before the model takes its name.
    pub(crate) fn record(&self, name: &str, origin: &Origin) -> Result<(), StoreError> {
        let path = self.origin_path(name);
        let text = serde_json::to_string_pretty(origin).expect("strings become JSON") + "\n";
        std::fs::write(&path, text).map_err(|error| self.io(&path, error))
    }

    fn origin(&self, name: &str) -> Option<Origin> {
        serde_json::from_slice(&std::fs::read(self.origin_path(name)).ok()?).ok()
    }

    fn origin_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    fn io(&self, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_listed_found_and_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::at(folder.path());
        assert!(store.list().expect("an empty list").is_empty());
        std::fs::write(folder.path().join("b.gguf"), "x").expect("written");
        std::fs::write(folder.path().join("a.gguf"), "xy").expect("written");
        std::fs::write(folder.path().join("c.gguf.part"), "half").expect("written");
        let origin = Origin { source: "here".to_owned(), sha256: "00".to_owned(), licence: None };
        store.record("a", &origin).expect("recorded");

        let names: Vec<_> = store.list().expect("a list").into_iter().map(|model| model.name).collect();
        assert_eq!(names, ["a", "b"], "half a download is no model");
        assert_eq!(store.get("a").expect("there").origin.expect("recorded").source, "here");
        store.remove("a").expect("removed");
        assert!(!folder.path().join("a.json").exists());
        assert!(matches!(store.get("a"), Err(StoreError::Unknown { .. })));
    }

    #[test]
    fn a_name_never_leaves_the_folder() {
        let store = Store::at(Path::new("models"));
        for name in ["", "..", "../x", "a/b", ".hidden", "a b", "a\0b"] {
            assert!(matches!(store.path(name), Err(StoreError::BadName(_))), "{name:?}");
        }
    }
}
