//! Reload on SIGHUP, or when the configuration or a plugin's file changes: all of the new, or none of it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use lockgate_server::{AppState, ensure_safe_to_listen};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::setup;
use crate::args::ServeArgs;
use crate::assembly::{self, Host};
use crate::config::Config;
use crate::failure::Failure;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Files that may change.
pub(super) struct Watched {
    config: Option<PathBuf>,
    plugins: Vec<PathBuf>,
    hangup: Signal,
    seen: Vec<Option<Stamp>>,
    stale: Arc<AtomicBool>,
}

impl Watched {
    /// Begins to watch. Before the configuration is read and anybody is told that the server runs, so that no
    /// change is missed and no early signal ends the process.
    pub(super) fn new(config: Option<&Path>) -> io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        let mut watched = Self {
            config: config.map(Path::to_owned),
            plugins: Vec::new(),
            hangup,
            seen: Vec::new(),
            stale: Arc::default(),
        };
        watched.seen = watched.stamps();
        Ok(watched)
    }

    /// Watches these plugins too: those of the configuration in force, or of the one that should be. Before they are
    /// loaded.
    pub(super) fn plugins_of(&mut self, config: &Config) {
        self.plugins = config.plugin_files();
        let configuration = self.seen.first().copied().filter(|_| self.config.is_some());
        self.seen = configuration.into_iter().chain(self.plugins.iter().map(|path| stamp(path))).collect();
    }

    /// Whether what serves is older than what the files say, because that could not be loaded.
    pub(super) fn stale(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stale)
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.config.iter().chain(&self.plugins).map(|path| stamp(path)).collect()
    }
}

/// Waits for changes for as long as the server runs.
pub(super) async fn watch(
    mut watched: Watched,
    args: ServeArgs,
    listen: SocketAddr,
    mut host: Host,
    state: Arc<AppState>,
) {
    loop {
        tokio::select! {
            _ = watched.hangup.recv() => {}
            () = tokio::time::sleep(LOOK_EVERY) => if watched.stamps() == watched.seen { continue },
        }
        watched.seen = watched.stamps();
        let reloaded = reload(&args, listen, &mut watched, &mut host, &state).await;
        watched.stale.store(reloaded.is_err(), Ordering::Relaxed);
        match reloaded {
            Ok(()) => info!("configuration and plugins reloaded"),
            Err(failure) => error!("not reloaded, what served before goes on: {failure}"),
        }
    }
}

async fn reload(
    args: &ServeArgs,
    listen: SocketAddr,
    watched: &mut Watched,
    host: &mut Host,
    state: &Arc<AppState>,
) -> Result<(), Failure> {
    let config = setup::config(args).await?;
    watched.plugins_of(&config);
    ensure_safe_to_listen(listen, &assembly::keys(&config)?)?;
    if config.server.listen != listen {
        warn!("a change of `listen` takes effect at the next start");
    }
    let serving = tokio::task::block_in_place(|| host.assemble(&config, Some(&state.serving().gateway)))?;
    tokio::spawn(serving.gateway.reveal());
    state.replace(serving);
    Ok(())
}

/// Tells one version of the file from the next: the time of its change, and its bytes.
type Stamp = (SystemTime, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
