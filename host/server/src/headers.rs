//! The headers of Lockgate's own: what a client adds to a request and reads off an answer.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lockgate_api::Labels;
use lockgate_gateway::{DIRECT, Outcome};

use crate::error::ApiError;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TARGET: HeaderName = HeaderName::from_static("x-lockgate-target");
const LOCALITY: HeaderName = HeaderName::from_static("x-lockgate-locality");
const POLICY: HeaderName = HeaderName::from_static("x-lockgate-policy");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-lockgate-attempts");
const LABELS: HeaderName = HeaderName::from_static("x-lockgate-labels");
#[cfg(test)]
pub(crate) const OWN: [HeaderName; 6] = [REQUEST_ID, TARGET, LOCALITY, POLICY, ATTEMPTS, LABELS];

/// The labels that a request asks for, over all lines of its header.
///
/// # Errors
/// 400 naming an unknown label. A request that asks for a protection that there is not must not go out
/// without it.
pub(crate) fn labels_asked(headers: &HeaderMap) -> Result<Labels, ApiError> {
    let mut labels = Labels::none();
    for value in headers.get_all(LABELS) {
        let text = value.to_str().map_err(|_| {
            ApiError::unknown_label("the x-lockgate-labels header is not plain text".to_owned())
        })?;
        let more: Labels = text.parse().map_err(|unknown: lockgate_api::labels::UnknownLabel| {
            ApiError::unknown_label(unknown.to_string())
        })?;
        labels = labels.with(more.iter().cloned());
    }
    Ok(labels)
}

/// Says how a request was treated.
pub(crate) fn describe(headers: &mut HeaderMap, outcome: &Outcome) {
    let mut text = String::new();
    let mut set = |name: HeaderName, value: &dyn std::fmt::Display| {
        text.clear();
        // Writing to a string cannot fail.
        let _ = write!(text, "{value}");
        // Ids and labels are checked when they are made; an id that no header can hold is left out.
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    };
    if let Some(target) = &outcome.target {
        set(TARGET, &target.id);
        set(LOCALITY, &target.locality);
    }
    set(POLICY, &outcome.policy);
    set(ATTEMPTS, &outcome.attempts);
    if !outcome.labels.is_empty() {
        set(LABELS, &outcome.labels);
    }
}

/// For a request that nobody was asked about. Where the fault is the request's, no policy was either, which is told
/// as for a named target; where it is this server's, one may have been.
pub(crate) fn describe_no_attempt(headers: &mut HeaderMap, status: StatusCode) {
    headers.insert(ATTEMPTS, HeaderValue::from_static("0"));
    if status.is_client_error() {
        headers.insert(POLICY, HeaderValue::from_static(DIRECT));
    }
}

/// Tells the labels that a request came with, unless the answer tells those in force already.
pub(crate) fn tell_labels(headers: &mut HeaderMap, labels: &Labels) {
    if labels.is_empty() || headers.contains_key(LABELS) {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(&labels.to_string()) {
        headers.insert(LABELS, value);
    }
}

#[cfg(test)]
mod tests;
