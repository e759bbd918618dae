//! The accept loop and the way it ends.
//!
//! On the shutdown signal nothing new is accepted, idle connections close, and requests in work finish.
//! When the grace is over every answer still being made is ended with an error, and a moment later the
//! connections left are closed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::connection;
use crate::options::is_loopback;
use crate::state::AppState;

/// For writing the last words of answers that were cut off.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Between two tries when the system cannot accept, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why serving could not start.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A listener without an address.
    #[error("a listener has no address")]
    Listener(#[source] io::Error),
}

/// Serves until `shutdown` completes, then finishes as the module says. Whether an address is safe is
/// asked before binding it ([`crate::ensure_safe_to_listen`]).
///
/// # Errors
/// [`ServeError`] before anything is accepted.
pub async fn serve(
    listeners: Vec<TcpListener>,
    state: Arc<AppState>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut loops = JoinSet::new();
    let draining = CancellationToken::new();
    let connections = TaskTracker::new();
    let closing = CancellationToken::new();
    let places = Arc::new(Semaphore::new(state.options.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let mut checked = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let address = listener.local_addr().map_err(ServeError::Listener)?;
        checked.push((listener, is_loopback(address)));
    }
    for (listener, loopback) in checked {
        let accepting = Accepting {
            state: Arc::clone(&state),
            listener,
            loopback,
            places: Arc::clone(&places),
            draining: draining.clone(),
            closing: closing.clone(),
            connections: connections.clone(),
        };
        loops.spawn(accepting.run());
    }
    shutdown.await;
    draining.cancel();
    while loops.join_next().await.is_some() {}
    connections.close();
    let in_work = connections.len();
    if in_work > 0 {
        info!(connections = in_work, "finishing");
    }
    if timeout(state.options.shutdown_grace, connections.wait()).await.is_err() {
        warn!(connections = connections.len(), "cutting off what has not finished in time");
        state.cut.cancel();
        if timeout(LAST_WORDS, connections.wait()).await.is_err() {
            closing.cancel();
            connections.wait().await;
        }
    }
    Ok(())
}

struct Accepting {
    state: Arc<AppState>,
    listener: TcpListener,
    loopback: bool,
    places: Arc<Semaphore>,
    draining: CancellationToken,
    closing: CancellationToken,
    connections: TaskTracker,
}

impl Accepting {
    async fn run(self) {
        let draining = self.draining.clone();
        tokio::select! {
            () = self.accept() => {}
            () = draining.cancelled() => {}
        }
    }

    /// Accepts as long as there are places. The listener closes with this.
    async fn accept(&self) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let served =
                connection::serve(Arc::clone(&self.state), stream, self.loopback, self.draining.clone());
            let closing = self.closing.clone();
            self.connections.spawn(async move {
                let _place = place;
                tokio::select! {
                    () = served => {}
                    () = closing.cancelled() => {}
                }
            });
        }
    }
}
