//! What a failed call of the SDK means: one kind and one message.

use std::error::Error as StdError;
use std::time::SystemTime;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::event_stream::RawMessage;
use http::HeaderMap;
use lockgate_api::{BackendError, ChatRequest, ErrorKind, Labels, TimeoutKind};

use crate::context::context_counts;
use crate::http::SendError;
use crate::quote::{identifier, quotable};
use crate::retry_after::retry_after;
use crate::settings::Secret;

/// What a message may and must say about one attempt.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) target: &'a str,
    /// The region, or the endpoint that replaces its own.
    pub(super) place: &'a str,
    pub(super) request: &'a ChatRequest,
    pub(super) labels: &'a Labels,
    pub(super) secret: Option<&'a Secret>,
}

impl Attempt<'_> {
    /// An error of this attempt. The message begins with the target.
    pub(super) fn error(
        &self,
        kind: ErrorKind,
        dispatched: bool,
        what: impl std::fmt::Display,
    ) -> BackendError {
        let message = format!("target `{}`: {what}", self.target);
        BackendError { dispatched, ..BackendError::new(kind, message) }
    }

    /// The call failed before any event.
    pub(super) fn failed_call<E>(&self, error: &SdkError<E, HttpResponse>) -> BackendError
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        if find::<CredentialsError>(error).is_some() {
            let what = "no AWS credentials: set the provider's api_key, AWS_BEARER_TOKEN_BEDROCK, AWS_ACCESS_KEY_ID and \
                        AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the machine a role";
            return self.error(ErrorKind::Authentication, false, what);
        }
        match error {
            SdkError::ServiceError(service) => {
                let raw = service.raw();
                let status = raw.status().as_u16();
                let wait = retry_after(&headers(raw), SystemTime::now());
                self.service_error(service.err().code(), service.err().message(), Some(status))
                    .retry_after(wait)
            }
            SdkError::TimeoutError(_) => self.no_connection(),
            SdkError::DispatchFailure(failure) => {
                if failure.is_timeout() {
                    return self.no_connection();
                }
                let dispatched = find::<SendError>(error).is_none_or(|error| error.dispatched);
                let reason = root_words(error);
                let what = if dispatched {
                    format!("the connection to Bedrock ({}) ended before it answered: {reason}", self.place)
                } else {
                    format!("cannot connect to Bedrock ({}): {reason}", self.place)
                };
                self.error(ErrorKind::Unavailable, dispatched, what)
            }
            SdkError::ConstructionFailure(_) => {
                let what = format!("the request cannot be made: {}", root_words(error));
                self.error(ErrorKind::Internal, false, what)
            }
            SdkError::ResponseError(response) => {
                let raw = response.raw();
                if raw.status().as_u16() >= 300 {
                    return self.service_error(None, None, Some(raw.status().as_u16()));
                }
                let what = format!("Bedrock ({}) sent an answer that cannot be read", self.place);
                self.error(ErrorKind::Upstream, true, what)
            }
            _ => self.error(ErrorKind::Upstream, true, format!("Bedrock ({}) failed", self.place)),
        }
    }

    /// The stream of events failed.
    pub(super) fn failed_stream(
        &self,
        error: &SdkError<ConverseStreamOutputError, RawMessage>,
    ) -> BackendError {
        match error {
            SdkError::ServiceError(service) => {
                let error = service.err();
                // The first word of an exception in a stream is its type; its code may be missing.
                let code = match error {
                    ConverseStreamOutputError::InternalServerException(_) => Some("InternalServerException"),
                    ConverseStreamOutputError::ModelStreamErrorException(_) => {
                        Some("ModelStreamErrorException")
                    }
                    ConverseStreamOutputError::ValidationException(_) => Some("ValidationException"),
                    ConverseStreamOutputError::ThrottlingException(_) => Some("ThrottlingException"),
                    ConverseStreamOutputError::ServiceUnavailableException(_) => {
                        Some("ServiceUnavailableException")
                    }
                    other => other.code(),
                };
                self.service_error(code, error.message(), None)
            }
            SdkError::DispatchFailure(_) => {
                let what = format!("the connection to Bedrock ({}) ended before the answer did", self.place);
                self.error(ErrorKind::Cut, true, what)
            }
            SdkError::ResponseError(response) if matches!(response.raw(), RawMessage::Invalid(Some(_))) => {
                let what = format!("Bedrock's stream ({}) ended in the middle of a frame", self.place);
                self.error(ErrorKind::Cut, true, what)
            }
            _ => {
                let what = format!(
                    "Bedrock ({}) sent a frame that cannot be read: {}",
                    self.place,
                    root_words(error)
                );
                self.error(ErrorKind::Upstream, true, what)
            }
        }
    }

    fn no_connection(&self) -> BackendError {
        let what = format!("no connection to Bedrock ({}) in time", self.place);
        self.error(ErrorKind::Timeout(TimeoutKind::Connect), false, what)
    }

    fn service_error(&self, code: Option<&str>, message: Option<&str>, status: Option<u16>) -> BackendError {
        let code = code.and_then(identifier);
        let message = message.unwrap_or_default();
        let kind = kind(code.unwrap_or_default(), message, status);
        let mut what = format!("Bedrock ({}) answered", self.place);
        if let Some(status) = status {
            what.push_str(&format!(" {status}"));
        }
        what.push_str(&format!(" ({})", code.unwrap_or("an unnamed error")));
        match &kind {
            ErrorKind::Authentication => {
                what.push_str(
                    ": check the credentials, their permissions and the account's access to the model",
                );
            }
            ErrorKind::ContextExceeded { prompt_tokens, context_tokens } => {
                what.push_str(&format!(
                    ": the prompt has {prompt_tokens} tokens and the context {context_tokens}"
                ));
            }
            _ if status.is_some_and(|status| (300..400).contains(&status)) => {
                what.push_str(": a redirect, and redirects are never followed");
            }
            _ => {}
        }
        if let Some(quote) = quotable(message, self.request, self.labels, self.secret) {
            what.push_str(&format!(": \"{quote}\""));
        }
        self.error(kind, true, what)
    }
}

/// Whether the service refuses to stream for this model, so that it may still answer at once.
pub(super) fn cannot_stream<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let Some(service) = error.as_service_error() else {
        // An endpoint that does not know the operation at all.
        return error.raw_response().is_some_and(|response| response.status().as_u16() == 404);
    };
    let speaks_of_streams =
        service.message().is_some_and(|message| message.to_ascii_lowercase().contains("stream"));
    match service.code() {
        Some("ValidationException" | "AccessDeniedException") => speaks_of_streams,
        Some("UnknownOperationException") => true,
        None => error.raw_response().is_some_and(|response| response.status().as_u16() == 404),
        Some(_) => false,
    }
}

fn kind(code: &str, message: &str, status: Option<u16>) -> ErrorKind {
    match code {
        "ThrottlingException" | "TooManyRequestsException" | "ServiceQuotaExceededException" => {
            ErrorKind::RateLimited
        }
        "ModelNotReadyException" | "ServiceUnavailableException" => ErrorKind::Unavailable,
        "InternalServerException"
        | "ModelErrorException"
        | "ModelStreamErrorException"
        | "ModelTimeoutException"
        // The configuration names a model that is not there: nothing is wrong with the request.
        | "ResourceNotFoundException" => ErrorKind::Upstream,
        "ValidationException" => match context_counts(message) {
            Some((prompt_tokens, context_tokens)) => {
                ErrorKind::ContextExceeded { prompt_tokens, context_tokens }
            }
            None => ErrorKind::InvalidRequest,
        },
        _ => match status {
            Some(401 | 403) => ErrorKind::Authentication,
            Some(429) => ErrorKind::RateLimited,
            Some(503) => ErrorKind::Unavailable,
            Some(400..=499) => ErrorKind::InvalidRequest,
            _ => ErrorKind::Upstream,
        },
    }
}

fn headers(response: &HttpResponse) -> HeaderMap {
    let headers = response.headers().iter().filter_map(|(name, value)| {
        Some((name.parse::<http::HeaderName>().ok()?, value.parse::<http::HeaderValue>().ok()?))
    });
    headers.collect()
}

/// An error and, one by one, what caused it.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// The first error of this type in a chain.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The innermost error in words: those around it only say that something failed.
fn root_words(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(|error| error.to_string().chars().take(200).collect()).unwrap_or_default()
}
