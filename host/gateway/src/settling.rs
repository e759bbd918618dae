//! A request's labels as its plugins add them, and when they are settled.
//!
//! They are settled when the plan is made, where it asks for reviews when the last of them is over, or when the request
//! is refused: then what plugins wrote for it is kept, under all of its labels. A request that a failure ends before that
//! settles nothing: whoever failed may have had a label to add.

use std::sync::Arc;

use lockgate_api::{Journal, Label, PolicyError, Scope};
use tracing::warn;

use crate::failure::GatewayError;
use crate::gateway::{Gateway, Outcome};
use crate::record::Recording;

impl Gateway {
    /// What the plugins of a request are to share.
    pub(crate) fn scope(&self, outcome: &Outcome, recording: Option<&Arc<Recording>>) -> Arc<Scope> {
        let services = Some(Arc::clone(&self.services));
        let journal = recording.map(|recording| Arc::clone(recording) as Arc<dyn Journal>);
        Scope::recorded(Arc::clone(&outcome.request_id), Arc::clone(&outcome.labels), services, journal)
    }
}

/// Puts the labels that a plugin added on the request.
///
/// # Errors
/// A plugin has asked a target that a label now forbids: what is done cannot be undone, so the request ends.
pub(crate) fn absorb(
    scope: &Scope,
    policy: &str,
    add_labels: impl IntoIterator<Item = Label>,
    outcome: &mut Outcome,
) -> Result<(), GatewayError> {
    outcome.labels = scope.add_labels(add_labels);
    let Some(forbidden) = scope.breach() else { return Ok(()) };
    let request = &outcome.request_id;
    warn!(%request, %policy, "{forbidden}, and a plugin has asked it for this request already: refused");
    let what = format!("a plugin has asked a target for this request that is forbidden now: {forbidden}");
    Err(GatewayError::PolicyFailed { policy: policy.into(), error: PolicyError::Denied { what } })
}

/// A refusal settles the labels as they are.
pub(crate) fn settle_refused(scope: &Scope, error: &GatewayError) {
    if matches!(error, GatewayError::PolicyRefused { .. } | GatewayError::Locality { .. }) {
        scope.settle();
    }
}
