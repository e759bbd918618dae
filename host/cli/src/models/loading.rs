//! A model's loading, shown as progress.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use lockgate_engine::model::{OnProgress, Progress as Loaded};

use super::progress::Progress;

/// Shows how far a model's loading is, to people only: it is short beside a download.
pub(crate) struct Loading {
    what: String,
}

impl Loading {
    pub(crate) fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { what: format!("loading {name}") }
    }

    pub(crate) fn named(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }

    /// Runs `load` with a callback that moves the bar.
    pub(crate) fn track<T>(self, load: impl FnOnce(OnProgress<'_>) -> T) -> T {
        if !std::io::stderr().is_terminal() {
            return load(&|_| {});
        }
        let shown: Mutex<Option<(Progress, u64)>> = Mutex::new(None);
        let on_progress = |loaded: Loaded| {
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            let (progress, done) = shown
                .get_or_insert_with(|| (Progress::start(self.what.clone(), Some(loaded.bytes_total)), 0));
            progress.add(loaded.bytes_read.saturating_sub(*done));
            *done = loaded.bytes_read.max(*done);
        };
        let result = load(&on_progress);
        if let Some((progress, _)) = shown.into_inner().unwrap_or_else(PoisonError::into_inner) {
            progress.finish();
        }
        result
    }
}
