//! What a server's error means: from its status and its error object to one kind and one message.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use lockgate_api::{BackendError, ChatRequest, ErrorKind, Labels};
use serde_json::Value;

use crate::context::context_counts;
use crate::quote::{identifier, quotable};
use crate::retry_after::retry_after;
use crate::settings::Secret;

/// What a message may and must say about one attempt.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    /// The target's id.
    pub(super) target: &'a str,
    /// The model, as the server is asked for it.
    pub(super) model: &'a str,
    /// The server's origin.
    pub(super) origin: &'a str,
    /// Whether embeddings are asked for rather than an answer.
    pub(super) embeds: bool,
    pub(super) request: &'a ChatRequest,
    pub(super) labels: &'a Labels,
    pub(super) secret: Option<&'a Secret>,
}

/// An error object of any of the shapes that servers use.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    message: String,
    /// Code and type, in lower case, where they are plain words.
    words: String,
    /// The answer's status, or else a code that is one.
    status: Option<u16>,
    counts: Option<(u64, u64)>,
}

impl Attempt<'_> {
    /// An error of this attempt after it was sent. The message begins with the target.
    pub(super) fn error(&self, kind: ErrorKind, what: impl std::fmt::Display) -> BackendError {
        BackendError::new(kind, format!("target `{}`: {what}", self.target)).dispatched()
    }

    /// The server answered with a status that is not success.
    pub(super) fn status_error(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> BackendError {
        let mut said = serde_json::from_slice(body).map_or_else(|_| Said::default(), |body| read(&body));
        said.status = Some(status.as_u16());
        let wait = retry_after(headers, now);
        if status.is_redirection() {
            let what = format!(
                "{} answered {status}, a redirect, and redirects are never followed: set the provider's endpoint to \
                 the server itself",
                self.origin
            );
            return self.error(ErrorKind::Upstream, what);
        }
        let kind = self.kind_of_status(status.as_u16(), &said);
        self.said_error(kind, &format!("{} answered {status}", self.origin), &said, wait)
    }

    /// The server sent an error object in place of a chunk or of an answer.
    pub(super) fn object_error(&self, object: &Value) -> BackendError {
        let said = read(object);
        let kind = match said.status {
            Some(status) => self.kind_of_status(status, &said),
            None => kind_of_words(&said),
        };
        self.said_error(kind, &format!("{} sent an error", self.origin), &said, None)
    }

    fn said_error(&self, kind: ErrorKind, what: &str, said: &Said, wait: Option<Duration>) -> BackendError {
        let mut text = what.to_owned();
        if let Some(word) = said.words.split(' ').next().filter(|word| !word.is_empty()) {
            text.push_str(&format!(" ({word})"));
        }
        if let Some(advice) = self.advice(&kind, said) {
            text.push_str(&format!(": {advice}"));
        }
        if let Some(quote) = quotable(&said.message, self.request, self.labels, self.secret) {
            text.push_str(&format!(": \"{quote}\""));
        }
        let error = match kind {
            ErrorKind::Unsupported { .. } if self.embeds => {
                BackendError::new(kind, format!("target `{}` cannot embed: {text}", self.target)).dispatched()
            }
            kind => self.error(kind, text),
        };
        error.retry_after(wait)
    }

    fn kind_of_status(&self, status: u16, said: &Said) -> ErrorKind {
        match status {
            // A server for chats alone has no such place, or says that it does not do this: no sign of ill health.
            404 | 405 | 501 if self.embeds => ErrorKind::Unsupported { field: "embed".to_owned() },
            _ => kind_of_status(status, said),
        }
    }

    fn advice(&self, kind: &ErrorKind, said: &Said) -> Option<String> {
        match kind {
            ErrorKind::Authentication => Some("check the provider's api_key".to_owned()),
            ErrorKind::ContextExceeded { prompt_tokens, context_tokens } => Some(format!(
                "the prompt has {prompt_tokens} tokens and the context {context_tokens}, the answer included"
            )),
            ErrorKind::Unsupported { .. } => None,
            _ if said.status == Some(404) => Some(format!(
                "it does not know the model `{}`, or its API is not below the path of the provider's endpoint",
                self.model
            )),
            _ => None,
        }
    }
}

/// The kind that an HTTP status stands for.
fn kind_of_status(status: u16, said: &Said) -> ErrorKind {
    match status {
        401 | 403 => ErrorKind::Authentication,
        // An account without credit is a limit, as servers that say it by 429 (`insufficient_quota`) have it.
        402 | 429 => ErrorKind::RateLimited,
        529 => ErrorKind::Overloaded,
        503 if said.mentions("busy") || said.mentions("overloaded") => ErrorKind::Overloaded,
        503 => ErrorKind::Unavailable,
        // The server gave up waiting for our request: its trouble or the network's, not the request's.
        // And what is not there, gone, withheld, or takes neither our method nor our JSON, is the configuration's
        // mistake: the client named a target.
        404 | 405 | 408 | 410 | 415 | 451 => ErrorKind::Upstream,
        400..=499 => said.context_exceeded().unwrap_or(ErrorKind::InvalidRequest),
        // Some servers report a prompt that is too long as their own failure.
        _ => said.context_exceeded().unwrap_or(ErrorKind::Upstream),
    }
}

/// The kind of an error that has no status: in the middle of a stream.
fn kind_of_words(said: &Said) -> ErrorKind {
    let any = |words: &[&str]| words.iter().any(|word| said.words.contains(word));
    if let Some(kind) = said.context_exceeded() {
        kind
    } else if any(&["rate_limit", "ratelimit", "quota", "too_many_requests"]) {
        ErrorKind::RateLimited
    } else if any(&["overloaded", "capacity"]) {
        ErrorKind::Overloaded
    } else if any(&["unavailable"]) {
        ErrorKind::Unavailable
    } else if any(&["authentication", "api_key", "permission", "unauthorized"]) {
        ErrorKind::Authentication
    } else if any(&[
        "invalid_request",
        "badrequest",
        "bad_request",
        "not_found",
        "notfound",
        "context_length",
    ]) {
        ErrorKind::InvalidRequest
    } else {
        ErrorKind::Upstream
    }
}

impl Said {
    fn mentions(&self, word: &str) -> bool {
        self.words.contains(word) || self.message.to_ascii_lowercase().contains(word)
    }

    fn context_exceeded(&self) -> Option<ErrorKind> {
        let (prompt_tokens, context_tokens) = self.counts?;
        Some(ErrorKind::ContextExceeded { prompt_tokens, context_tokens })
    }
}

/// Reads `{"error": {…}}`, `{"error": "…"}`, `{"message": …}`, `{"detail": …}` and the inner object alone.
fn read(body: &Value) -> Said {
    let object = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let message = object.as_str().or_else(|| text("message")).or_else(|| text("detail")).unwrap_or_default();
    let code = object.get("code");
    let mut words = String::new();
    for word in [text("code"), text("type")].into_iter().flatten().filter_map(identifier) {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(&word.to_ascii_lowercase());
    }
    let status = code
        .and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()))
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (400..600).contains(code));
    let number = |key: &str| object.get(key).and_then(Value::as_u64);
    let counts = number("n_prompt_tokens").zip(number("n_ctx")).or_else(|| context_counts(message));
    Said { message: message.to_owned(), words, status, counts }
}

#[cfg(test)]
mod tests;
