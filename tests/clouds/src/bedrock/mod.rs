//! A server that speaks Bedrock's Converse and ConverseStream.
//!
//! It checks what the service checks: that a request is signed for Bedrock or carries a bearer token,
//! and that the conversation has the form that models accept (`rules`). Streams are framed as AWS does,
//! with the checksums of prelude and message ([`frames`]).

pub mod answer;
pub mod frames;
mod rules;
mod scenarios;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};

pub use self::answer::{Answer, Block};
pub use self::scenarios::scenarios;
use crate::record::{Received, Record};
use crate::running::Running;
use crate::script::{Raw, Replies};

/// The largest request that is read, bytes.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct BedrockServer {
    running: Running,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    record: Record,
    replies: Replies<Reply>,
    token: Mutex<Option<String>>,
}

/// What to answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A well-formed answer, as events or as one document as the path asks.
    Answer(Answer),
    /// An error before any event.
    Error {
        /// The status.
        status: u16,
        /// The exception's name, such as `ThrottlingException`.
        exception: String,
        /// Its message.
        message: String,
    },
    /// Exactly these bytes, whatever the path.
    Raw(Raw),
    /// For a model that cannot stream: ConverseStream is refused, Converse answered.
    DocumentOnly(Answer),
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl From<Raw> for Reply {
    fn from(raw: Raw) -> Self {
        Self::Raw(raw)
    }
}

impl Reply {
    /// An error before any event.
    pub fn error(status: u16, exception: &str, message: &str) -> Self {
        Self::Error { status, exception: exception.to_owned(), message: message.to_owned() }
    }
}

impl BedrockServer {
    /// Starts one on a free port of loopback, without any model.
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    /// Starts one at an address.
    pub async fn start_at(address: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let routes = Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let running = Running::start(address, routes, &shared.record).await;
        Self { running, shared }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.running.address)
    }

    /// Answers every request for `model` like this.
    pub fn reply(&self, model: &str, reply: impl Into<Reply>) {
        self.shared.replies.set(model, [reply.into()]);
    }

    /// Answers requests for `model` like these in turn, the last one for ever.
    pub fn replies(&self, model: &str, replies: impl IntoIterator<Item = Reply>) {
        self.shared.replies.set(model, replies);
    }

    /// Refuses every authorization but this bearer token.
    pub fn require_token(&self, token: &str) {
        *self.shared.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.to_owned());
    }

    /// What it has received.
    pub fn record(&self) -> &Record {
        &self.shared.record
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, REQUEST_BYTES_MAX).await.unwrap_or_default();
    let received = Received::new(&head, body);
    shared.record.add(received.clone());
    if let Err((exception, message)) = check_authorization(&shared, &received) {
        return error_response(403, exception, message);
    }
    let Some((model, streams)) = route(&head.method, head.uri.path()) else {
        return error_response(404, "UnknownOperationException", "");
    };
    let Ok(request) = serde_json::from_slice::<Value>(&received.body) else {
        return error_response(400, "SerializationException", "the body is not JSON");
    };
    let reply = shared.replies.next(&model);
    if let (Some(Reply::Answer(_) | Reply::DocumentOnly(_)), Err(problem)) = (&reply, rules::check(&request))
    {
        return error_response(400, "ValidationException", &problem);
    }
    match reply {
        Some(Reply::DocumentOnly(_)) if streams => {
            let message = "The model is unsupported for streaming.";
            error_response(400, "ValidationException", message)
        }
        Some(Reply::Answer(answer)) if streams => answer.stream().respond(&shared.record).await,
        Some(Reply::Answer(answer) | Reply::DocumentOnly(answer)) => Json(answer.document()).into_response(),
        Some(Reply::Error { status, exception, message }) => error_response(status, &exception, &message),
        Some(Reply::Raw(raw)) => raw.respond(&shared.record).await,
        None => error_response(400, "ValidationException", "The provided model identifier is invalid."),
    }
}

/// The model, and whether the answer is streamed.
fn route(method: &Method, path: &str) -> Option<(String, bool)> {
    let rest = path.strip_prefix("/model/")?;
    let (model, operation) = rest.rsplit_once('/')?;
    let streams = match operation {
        "converse" => false,
        "converse-stream" => true,
        _ => return None,
    };
    (method == Method::POST).then(|| (percent_decode(model), streams))
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = (*first == b'%').then(|| tail.get(..2)).flatten();
        let decoded =
            digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A signature of the right shape for Bedrock, or a bearer token.
fn check_authorization(shared: &Shared, received: &Received) -> Result<(), (&'static str, &'static str)> {
    let header = received.header("authorization").unwrap_or_default();
    let wanted = shared.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(token) = wanted {
        let matches = header.strip_prefix("Bearer ") == Some(token.as_str());
        return if matches {
            Ok(())
        } else {
            Err(("UnrecognizedClientException", "The security token included in the request is invalid."))
        };
    }
    if header.strip_prefix("Bearer ").is_some_and(|token| !token.is_empty()) {
        return Ok(());
    }
    let Some(signature) = header.strip_prefix("AWS4-HMAC-SHA256 ") else {
        return Err(("MissingAuthenticationTokenException", "Missing Authentication Token"));
    };
    let part = |name: &str| signature.split(", ").find_map(|part| part.trim().strip_prefix(name));
    let scope: Vec<&str> = part("Credential=").unwrap_or_default().split('/').collect();
    let scope_is_right =
        matches!(scope[..], [id, date, _, "bedrock", "aws4_request"] if !id.is_empty() && date.len() == 8);
    let is_signed = part("Signature=").is_some_and(|signature| signature.len() == 64)
        && part("SignedHeaders=").is_some_and(|names| names.split(';').any(|name| name == "host"))
        && received.header("x-amz-date").is_some();
    if scope_is_right && is_signed {
        Ok(())
    } else {
        Err(("IncompleteSignatureException", "The request signature does not conform to AWS standards."))
    }
}

fn error_response(status: u16, exception: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("the script's status is valid");
    let mut response = (status, Json(json!({"message": message}))).into_response();
    let value = exception.parse().expect("the script's exception is a valid header");
    response.headers_mut().insert("x-amzn-errortype", value);
    response
}
