//! `GET /metrics`: what every crate of the host counts, in the text format of OpenMetrics, which Prometheus reads.
//!
//! Owns the counters of HTTP itself. Whoever counts something else registers it before the server starts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tracing::error;

use crate::error::ApiError;
use crate::state::AppState;

/// The format's name.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    route: &'static str,
    status: u16,
}

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    answers: Family<AnswerLabels, Counter>,
}

impl Metrics {
    pub(crate) fn new(mut registry: Registry) -> Self {
        let answers = Family::default();
        registry.register("http_answers", "HTTP requests by route and status", answers.clone());
        Self { registry, answers }
    }

    pub(crate) fn answered(&self, route: &'static str, status: u16) {
        self.answers.get_or_create(&AnswerLabels { route, status }).inc();
    }
}

/// The figures as they are now.
pub(crate) fn render(state: &AppState) -> Result<Vec<u8>, ApiError> {
    state.serving().gateway.observe();
    let mut text = String::new();
    match encode(&mut text, &state.metrics.registry) {
        Ok(()) => Ok(text.into_bytes()),
        Err(problem) => {
            error!(%problem, "the metrics cannot be written");
            Err(ApiError::internal())
        }
    }
}
