//! Which path is what. Unknown paths and methods are told what there is.

use std::borrow::Cow;

use http::Method;

use crate::error::ApiError;

/// What a client calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// A conversation to continue, in OpenAI's terms.
    ChatCompletions,
    /// Texts to embed, in OpenAI's terms.
    Embeddings,
    /// All models.
    Models,
    /// One of them.
    Model(String),
    /// Whether the process lives.
    Health,
    /// Whether requests can be answered.
    Ready,
    /// What is counted.
    Metrics,
}

const PLACES: &str = "POST /v1/chat/completions, POST /v1/embeddings, GET /v1/models, GET /v1/models/{id}, GET /health, \
                      GET /ready, GET /metrics";

impl Route {
    /// Whether callers must show a key, where there are any. Probes of a supervisor have none.
    pub(crate) fn needs_key(&self) -> bool {
        !matches!(self, Self::Health | Self::Ready)
    }

    /// Its name in logs, free of anything that the client chose.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Embeddings => "embeddings",
            Self::Models => "models",
            Self::Model(_) => "model",
            Self::Health => "health",
            Self::Ready => "ready",
            Self::Metrics => "metrics",
        }
    }

    /// The route of a request.
    ///
    /// # Errors
    /// 404 or 405.
    pub(crate) fn find(method: &Method, path: &str) -> Result<Self, ApiError> {
        let (route, allowed) = match path {
            "/v1/chat/completions" => (Self::ChatCompletions, "POST"),
            "/v1/embeddings" => (Self::Embeddings, "POST"),
            "/v1/models" => (Self::Models, "GET, HEAD"),
            "/health" => (Self::Health, "GET, HEAD"),
            "/ready" => (Self::Ready, "GET, HEAD"),
            "/metrics" => (Self::Metrics, "GET, HEAD"),
            _ => match path.strip_prefix("/v1/models/") {
                Some(id) if !id.is_empty() => (Self::Model(decode_percent(id)?.into_owned()), "GET, HEAD"),
                _ => return Err(ApiError::no_such_path(PLACES)),
            },
        };
        if allowed.split(", ").any(|name| name == method.as_str()) {
            Ok(route)
        } else {
            Err(ApiError::wrong_method(allowed))
        }
    }
}

/// Undoes percent-encoding.
fn decode_percent(text: &str) -> Result<Cow<'_, str>, ApiError> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(ApiError::no_such_path(PLACES));
        };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| ApiError::no_such_path(PLACES))
}

#[cfg(test)]
mod tests;
