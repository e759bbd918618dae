//! What a plugin has at hand beyond the request: its settings and limits, and the means behind its grants.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockgate_api::Scope;

use crate::environment::Environment;
use crate::limits::Limits;
use crate::state::{Memory, Store};

/// The same for every call of a plugin.
pub(crate) struct Powers {
    pub(crate) plugin: Arc<str>,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) limits: Limits,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) store: Arc<Store>,
}

impl Powers {
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
