//! The one boundary table: every kind of failure to its status, type, code and hint.
//!
//! [`ApiError`] is free of any client's dialect; `openai` gives it OpenAI's shape. Messages come from the
//! place where the failure is understood; what this file decides is how it counts.

use std::time::Duration;

use http::StatusCode;
use lockgate_api::{BackendError, ErrorKind, Locality, Target, TimeoutKind};
use lockgate_gateway::{FailedAttempt, GatewayError, Outcome};

/// A request that is answered with an error.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) family: Family,
    /// The stable word to program against.
    pub(crate) code: &'static str,
    /// The field at fault, by its path.
    pub(crate) param: Option<String>,
    /// For people.
    pub(crate) message: String,
    /// When to come back.
    pub(crate) retry_after: Option<Duration>,
    /// For a wrong method: the right ones.
    pub(crate) allow: Option<&'static str>,
    /// How far the request came, once it was understood.
    pub(crate) outcome: Option<Box<Outcome>>,
}

/// Errors in families, as OpenAI's `type` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// The request is wrong.
    Invalid,
    /// The request is not allowed.
    Permission,
    /// Too much at once.
    Busy,
    /// This server cannot.
    Server,
    /// A target cannot.
    Upstream,
}

impl Family {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid_request_error",
            Self::Permission => "permission_error",
            Self::Busy => "rate_limit_error",
            Self::Server => "server_error",
            Self::Upstream => "upstream_error",
        }
    }
}

impl ApiError {
    pub(crate) fn new(
        status: StatusCode,
        family: Family,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let message = message.into();
        Self { status, family, code, param: None, message, retry_after: None, allow: None, outcome: None }
    }

    /// A field of the request that is missing, of a wrong type or out of range.
    pub(crate) fn field(param: String, code: &'static str, message: String) -> Self {
        Self { param: Some(param), ..Self::new(StatusCode::BAD_REQUEST, Family::Invalid, code, message) }
    }

    /// A body that is no JSON.
    pub(crate) fn invalid_json(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Family::Invalid, "invalid_json", message)
    }

    pub(crate) fn unknown_label(message: String) -> Self {
        Self::field("x-lockgate-labels".to_owned(), "unknown_label", message)
    }

    pub(crate) fn no_such_path(places: &str) -> Self {
        let message = format!("there is nothing here: this server has {places}");
        Self::new(StatusCode::NOT_FOUND, Family::Invalid, "unknown_url", message)
    }

    pub(crate) fn wrong_method(allow: &'static str) -> Self {
        let message = format!("this path does not take that method: use {allow}");
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, Family::Invalid, "method_not_allowed", message);
        Self { allow: Some(allow), ..error }
    }

    pub(crate) fn no_such_model(model: &str) -> Self {
        let model: String = model.chars().take(128).collect();
        let message = format!("the model `{model}` does not exist: GET /v1/models lists those that do");
        let error = Self::new(StatusCode::NOT_FOUND, Family::Invalid, "model_not_found", message);
        Self { param: Some("model".to_owned()), ..error }
    }

    pub(crate) fn bad_host() -> Self {
        let message = "the request needs exactly one `Host` header, naming this server";
        Self::new(StatusCode::BAD_REQUEST, Family::Invalid, "invalid_host", message)
    }

    pub(crate) fn host_forbidden(host: &str) -> Self {
        let host: String = host.chars().take(128).collect();
        let message = format!(
            "this server is not served under the name `{host}`: on a loopback address it answers to localhost, \
             127.0.0.1 and [::1] alone, so that no web page reaches it by DNS rebinding; add the name to the \
             server's allowed hosts if it is yours"
        );
        Self::new(StatusCode::FORBIDDEN, Family::Permission, "host_forbidden", message)
    }

    pub(crate) fn origin_forbidden(origin: &str) -> Self {
        let origin: String = origin.chars().take(128).collect();
        let message = format!(
            "web pages of `{origin}` may not use this server: only pages of this machine may; add the page's host to \
             the server's allowed hosts if it is yours"
        );
        Self::new(StatusCode::FORBIDDEN, Family::Permission, "origin_forbidden", message)
    }

    pub(crate) fn no_key() -> Self {
        let message = "an API key is needed: send `Authorization: Bearer KEY`";
        Self::new(StatusCode::UNAUTHORIZED, Family::Invalid, "missing_api_key", message)
    }

    pub(crate) fn unknown_key() -> Self {
        let message = "the API key is not one of this server's";
        Self::new(StatusCode::UNAUTHORIZED, Family::Invalid, "invalid_api_key", message)
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Family::Invalid, "request_too_large", message)
    }

    pub(crate) fn encoded_body() -> Self {
        let message = "compressed bodies are not read: send the body without `Content-Encoding`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Family::Invalid, "unsupported_encoding", message)
    }

    pub(crate) fn slow_body() -> Self {
        let message = "the body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, Family::Invalid, "request_timeout", message)
    }

    pub(crate) fn broken_body() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            Family::Invalid,
            "incomplete_body",
            "the body ended before it was complete",
        )
    }

    pub(crate) fn busy() -> Self {
        let retry_after = Some(Duration::from_secs(1));
        let message = "too many large requests at once: try again in 1 s";
        Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, Family::Busy, "overloaded", message) }
    }

    pub(crate) fn answer_too_large(limit: usize) -> Self {
        let message = format!("the answer is larger than {limit} bytes: ask for a stream");
        Self::new(StatusCode::BAD_GATEWAY, Family::Upstream, "answer_too_large", message)
    }

    pub(crate) fn shutting_down() -> Self {
        let message = "the server is shutting down and could not finish this answer";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Family::Server, "shutting_down", message)
    }

    pub(crate) fn internal() -> Self {
        let message = "a fault of this server: its log has the details under this answer's x-request-id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Family::Server, "internal_error", message)
    }

    /// A request that the gateway did not answer.
    pub(crate) fn from_gateway(error: &GatewayError) -> Self {
        let message = error.to_string();
        let (status, family, code) = match error {
            GatewayError::UnknownModel { .. } => (StatusCode::NOT_FOUND, Family::Invalid, "model_not_found"),
            GatewayError::NamedRefused { .. } => {
                (StatusCode::BAD_REQUEST, Family::Invalid, "model_not_selectable")
            }
            GatewayError::NoTarget => (StatusCode::SERVICE_UNAVAILABLE, Family::Server, "no_target"),
            GatewayError::Locality { .. } => {
                (StatusCode::FORBIDDEN, Family::Permission, "locality_forbidden")
            }
            GatewayError::PolicyRefused { .. } => {
                (StatusCode::FORBIDDEN, Family::Permission, "policy_refused")
            }
            GatewayError::PolicyFailed { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, Family::Server, "policy_failed")
            }
            GatewayError::Overloaded { .. } => (StatusCode::TOO_MANY_REQUESTS, Family::Busy, "overloaded"),
            GatewayError::Exhausted(attempts) => match GatewayError::deciding(attempts) {
                Some(FailedAttempt { target, error, .. }) => {
                    return Self { message, ..Self::from_backend(error, target.locality) };
                }
                None => (StatusCode::BAD_GATEWAY, Family::Upstream, "upstream_failed"),
            },
            GatewayError::NotEmbedded(failed) => {
                let told = Self::from_backend(&failed.error, failed.target.locality);
                let param = told.param.clone().map(|param| match failed.error.kind {
                    ErrorKind::ContextExceeded { .. } => "input".to_owned(),
                    _ => param,
                });
                return Self { message, param, ..told };
            }
        };
        let param = matches!(error, GatewayError::UnknownModel { .. } | GatewayError::NamedRefused { .. })
            .then(|| "model".to_owned());
        let retry_after = match error {
            GatewayError::Overloaded { retry_after } => Some(*retry_after),
            _ => None,
        };
        Self { param, retry_after, ..Self::new(status, family, code, message) }
    }

    /// An answer that broke off.
    pub(crate) fn broken_off(error: &BackendError, target: &Target) -> Self {
        let told = Self::from_backend(error, target.locality);
        if error.kind == ErrorKind::Guard {
            // Not the target's fault.
            return told;
        }
        // A target's own errors introduce it, those of the gateway's timers and checks do not.
        let introduced = ["target", "model"]
            .iter()
            .any(|word| told.message.starts_with(&format!("{word} `{}`", target.id)));
        if introduced {
            return told;
        }
        let message = format!("target `{}`: {}", target.id, told.message);
        Self { message, ..told }
    }

    /// A target that did not answer, or not to the end. A queue on this machine that is full is our own
    /// overload; every other target's trouble is an upstream's.
    pub(crate) fn from_backend(error: &BackendError, locality: Locality) -> Self {
        let (status, family, code) = match &error.kind {
            ErrorKind::InvalidRequest => (StatusCode::BAD_REQUEST, Family::Invalid, "invalid_request"),
            ErrorKind::ContextExceeded { .. } => {
                (StatusCode::BAD_REQUEST, Family::Invalid, "context_length_exceeded")
            }
            ErrorKind::Unsupported { .. } => {
                (StatusCode::BAD_REQUEST, Family::Invalid, "unsupported_parameter")
            }
            ErrorKind::Authentication => {
                (StatusCode::BAD_GATEWAY, Family::Upstream, "upstream_authentication")
            }
            ErrorKind::RateLimited => (StatusCode::BAD_GATEWAY, Family::Upstream, "upstream_rate_limited"),
            ErrorKind::Overloaded if locality == Locality::Local => {
                (StatusCode::TOO_MANY_REQUESTS, Family::Busy, "overloaded")
            }
            ErrorKind::Overloaded => (StatusCode::BAD_GATEWAY, Family::Upstream, "upstream_overloaded"),
            ErrorKind::Unavailable => (StatusCode::BAD_GATEWAY, Family::Upstream, "upstream_unavailable"),
            ErrorKind::Timeout(TimeoutKind::Connect) => {
                (StatusCode::GATEWAY_TIMEOUT, Family::Upstream, "upstream_connect_timeout")
            }
            ErrorKind::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, Family::Upstream, "upstream_timeout"),
            ErrorKind::Upstream => (StatusCode::BAD_GATEWAY, Family::Upstream, "upstream_failed"),
            ErrorKind::Cut => (StatusCode::BAD_GATEWAY, Family::Upstream, "upstream_cut"),
            ErrorKind::Locality => (StatusCode::FORBIDDEN, Family::Permission, "locality_forbidden"),
            ErrorKind::Rejected => (StatusCode::BAD_GATEWAY, Family::Upstream, "answer_rejected"),
            ErrorKind::Guard => (StatusCode::SERVICE_UNAVAILABLE, Family::Server, "guard_failed"),
            ErrorKind::Adapter => (StatusCode::SERVICE_UNAVAILABLE, Family::Server, "adapter_failed"),
            ErrorKind::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, Family::Server, "cancelled"),
            ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, Family::Server, "internal_error"),
        };
        let param = match &error.kind {
            ErrorKind::Unsupported { field } => Some(field.clone()),
            ErrorKind::ContextExceeded { .. } => Some("messages".to_owned()),
            _ => error.field.clone(),
        };
        let message = match &error.kind {
            // Both counts, whatever the target's own words are.
            ErrorKind::ContextExceeded { prompt_tokens, context_tokens } => format!(
                "the prompt of {prompt_tokens} tokens and its answer do not fit the context of {context_tokens} tokens"
            ),
            _ => error.to_string(),
        };
        let busy = status == StatusCode::TOO_MANY_REQUESTS;
        let retry_after = error.retry_after.or_else(|| busy.then(|| Duration::from_secs(1)));
        Self { param, retry_after, ..Self::new(status, family, code, message) }
    }
}

#[cfg(test)]
mod tests;
