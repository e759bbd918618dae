//! Reload on SIGHUP or when the file changes: all of the new configuration, or none of it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lockgate_server::{AppState, ensure_safe_to_listen};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::setup;
use crate::args::ServeArgs;
use crate::assembly::{self, Host};
use crate::failure::Failure;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A configuration file that may change.
pub(super) struct Watched {
    path: PathBuf,
    hangup: Signal,
    seen: Option<Stamp>,
}

impl Watched {
    /// Begins to watch. Before the file is read and anybody is told that the server runs, so that no
    /// change is missed and no early signal ends the process.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), hangup: signal(SignalKind::hangup())?, seen: stamp(path) })
    }
}

/// Waits for changes for as long as the server runs.
pub(super) async fn watch(
    watched: Watched,
    args: ServeArgs,
    listen: SocketAddr,
    mut host: Host,
    state: Arc<AppState>,
) {
    let Watched { path, mut hangup, mut seen } = watched;
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = tokio::time::sleep(LOOK_EVERY) => if stamp(&path) == seen { continue },
        }
        seen = stamp(&path);
        match reload(&args, listen, &mut host, &state).await {
            Ok(()) => info!(file = %path.display(), "configuration reloaded"),
            Err(failure) => {
                error!(file = %path.display(), "configuration not reloaded, the old one stays: {failure}");
            }
        }
    }
}

async fn reload(
    args: &ServeArgs,
    listen: SocketAddr,
    host: &mut Host,
    state: &Arc<AppState>,
) -> Result<(), Failure> {
    let config = setup::config(args).await?;
    ensure_safe_to_listen(listen, &assembly::keys(&config)?)?;
    if config.server.listen != listen {
        warn!("a change of `listen` takes effect at the next start");
    }
    let serving = tokio::task::block_in_place(|| host.assemble(&config, Some(&state.serving().gateway)))?;
    state.replace(serving);
    Ok(())
}

/// Tells one version of the file from the next: the time of its change, and its bytes.
type Stamp = (SystemTime, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
