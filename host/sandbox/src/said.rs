//! What a plugin said in a call, as it is told to the operator: its log lines and its standard error.
//!
//! Written when the labels of its request are known for good, since what a plugin says is treated like the request's own
//! text. How many lines there may be is decided before.

use std::sync::Arc;

use lockgate_api::{Labels, Scope};
use tracing::{debug, error, info, trace, warn};

use crate::call::LogLevel;
use crate::plugin::TARGET;

/// What one call of a plugin said.
pub(crate) struct Said {
    pub(crate) plugin: String,
    pub(crate) request: Arc<str>,
    pub(crate) lines: Vec<(LogLevel, String)>,
    /// Lines beyond what a call may write.
    pub(crate) dropped: usize,
    pub(crate) standard_error: String,
}

impl Said {
    /// Writes it when the request's labels are known for good, unless they withhold it.
    pub(crate) fn tell(self, scope: &Scope) {
        if !self.lines.is_empty() || self.dropped > 0 || !self.standard_error.is_empty() {
            scope.when_over(move |labels| self.write(labels));
        }
    }

    fn write(self, labels: &Labels) {
        if labels.withhold_payload() {
            return;
        }
        let Self { plugin, request, lines, dropped, standard_error } = self;
        let request = &*request;
        for (level, line) in lines {
            match level {
                LogLevel::Trace => trace!(target: TARGET, plugin, request, "{line}"),
                LogLevel::Debug => debug!(target: TARGET, plugin, request, "{line}"),
                LogLevel::Info => info!(target: TARGET, plugin, request, "{line}"),
                LogLevel::Warn => warn!(target: TARGET, plugin, request, "{line}"),
                LogLevel::Error => error!(target: TARGET, plugin, request, "{line}"),
            }
        }
        if dropped > 0 {
            warn!(target: TARGET, plugin, request, dropped, "the plugin wrote more log lines than it may");
        }
        if !standard_error.is_empty() {
            debug!(target: TARGET, plugin, request, "standard error: {standard_error}");
        }
    }
}
