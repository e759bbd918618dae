//! What the server shares between requests: the configuration in force, limits, and ids.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use lockgate_gateway::{Gateway, Keys};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::access::Hosts;
use crate::metrics::Metrics;
use crate::options::ServerOptions;

/// One configuration in force. A request keeps the one that it began with.
pub struct Serving {
    /// What answers.
    pub gateway: Gateway,
    /// Who may ask. With none, nobody is asked for a key.
    pub keys: Keys,
}

/// Whether requests can be answered, with what an operator should look at, if anything; otherwise what is
/// still missing. Anybody may read the words.
pub type Readiness = Arc<dyn Fn() -> Result<Option<String>, String> + Send + Sync>;

/// The server's state.
pub struct AppState {
    serving: ArcSwap<Serving>,
    readiness: Readiness,
    pub(crate) metrics: Metrics,
    pub(crate) options: ServerOptions,
    pub(crate) hosts: Hosts,
    /// Memory for bodies, in KiB.
    pub(crate) body_budget: Arc<Semaphore>,
    /// Ends every answer in flight when the shutdown's grace is over.
    pub(crate) cut: CancellationToken,
    /// When the server started, in seconds since 1970.
    pub(crate) started: u64,
    /// Tells this process's request ids from those of others.
    instance: u64,
    requests: AtomicU64,
}

impl AppState {
    /// A server's state. `readiness` is asked by each `/ready`.
    ///
    /// `registry` holds what others count; `/metrics` shows it.
    pub fn new(
        serving: Serving,
        readiness: Readiness,
        registry: Registry,
        options: ServerOptions,
    ) -> Arc<Self> {
        let budget = (options.bodies_bytes_max >> 10).clamp(1, Semaphore::MAX_PERMITS);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut random = [0; 8];
        // Ids need to differ, not to be secret: the time does where the system has no randomness yet.
        let instance = match getrandom::fill(&mut random) {
            Ok(()) => u64::from_le_bytes(random),
            Err(_) => since_1970.as_nanos() as u64,
        };
        Arc::new(Self {
            serving: ArcSwap::from_pointee(serving),
            readiness,
            metrics: Metrics::new(registry),
            hosts: Hosts::new(&options.allowed_hosts),
            options,
            body_budget: Arc::new(Semaphore::new(budget)),
            cut: CancellationToken::new(),
            started: since_1970.as_secs(),
            instance,
            requests: AtomicU64::new(0),
        })
    }

    /// The configuration in force.
    pub fn serving(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    /// Puts another configuration in force. Requests in flight keep theirs.
    pub fn replace(&self, serving: Serving) {
        self.serving.store(Arc::new(serving));
    }

    pub(crate) fn ready(&self) -> Result<Option<String>, String> {
        (self.readiness)()
    }

    pub(crate) fn next_request_id(&self) -> Arc<str> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(36);
        // Writing to a string cannot fail.
        let _ = write!(id, "req_{:016x}{number:016x}", self.instance);
        Arc::from(id)
    }
}
