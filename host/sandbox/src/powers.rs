//! What a plugin has at hand beyond the request: its settings and limits, and the means behind its grants.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{Scope, Spending};
use tokio::sync::Semaphore;

use crate::environment::Environment;
use crate::grant::Grant;
use crate::limits::Limits;
use crate::probe::Probe;
use crate::state::{Memory, Store};

/// The same for every call of a plugin.
pub(crate) struct Powers {
    pub(crate) plugin: Arc<str>,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) limits: Limits,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) store: Arc<Store>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) spending: Arc<Spending>,
    /// Looks on, where a policy is tested.
    pub(crate) probe: Option<Arc<dyn Probe>>,
    /// One permit for each call that may keep its place in the pool while it waits for somebody else.
    pub(crate) waits: Arc<Semaphore>,
}

impl Powers {
    /// The longest that a call may wait for others, beside its own time.
    pub(crate) fn wait_max(&self) -> Duration {
        let waits = |grant: &Grant| matches!(grant, Grant::Inference(_) | Grant::Cloud(_));
        if self.grants.iter().any(waits) { self.limits.wait_max } else { Duration::ZERO }
    }

    /// One call's hold on what the plugin remembers for a tenant.
    pub(crate) fn memory(&self, tenant: Option<Arc<str>>, scope: Arc<Scope>) -> Memory {
        Memory::new(
            self.store.space(&self.plugin, tenant),
            scope,
            Arc::clone(&self.environment),
            Arc::clone(&self.plugin),
            self.limits.state_bytes_max,
        )
    }
}
