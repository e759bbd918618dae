//! What a person means by a model: a file, or a name in the store or the catalogue.

use std::path::{Path, PathBuf};

use super::catalogue::Entry;
use super::pull::{PullError, pull_entry};
use super::store::Store;

/// The file that `model` means. A name of the catalogue is fetched when it is not there.
///
/// # Errors
/// There is neither such a file nor such a name, or it cannot be fetched.
pub(crate) async fn find_or_pull(model: &str, offline: bool) -> Result<PathBuf, PullError> {
    if let Some(path) = as_file(model) {
        return Ok(path);
    }
    let store = Store::from_environment()?;
    match Entry::find(model) {
        Some(entry) => Ok(pull_entry(entry, &store, offline).await?.path),
        None => Ok(store.get(model)?.path),
    }
}

/// The file that `model` means, which must be on this machine.
///
/// # Errors
/// There is neither such a file nor such a name.
#[cfg(feature = "engine")]
pub(crate) fn find(model: &str) -> Result<PathBuf, PullError> {
    match as_file(model) {
        Some(path) => Ok(path),
        None => Ok(Store::from_environment()?.get(model)?.path),
    }
}

/// What looks like a path is one, so that a mistyped path is reported as a missing file.
fn as_file(model: &str) -> Option<PathBuf> {
    let path = Path::new(model);
    (path.is_file() || model.contains(std::path::MAIN_SEPARATOR) || model.ends_with(".gguf"))
        .then(|| path.to_owned())
}
