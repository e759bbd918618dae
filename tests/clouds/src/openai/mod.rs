//! A server that speaks OpenAI's chat completions and embeddings, and on demand Ollama's own paths beside them.
//!
//! What it answers depends on the model's name alone: register replies with [`OpenAiServer::reply`], or
//! take the ready-made ones of [`scenarios`]. The shapes are in [`answer`].

pub mod answer;
mod scenarios;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};

pub use self::answer::Answer;
pub use self::scenarios::scenarios;
use crate::record::{Received, Record};
use crate::running::Running;
use crate::script::{Raw, Replies};

/// The largest request that is read, bytes.
const REQUEST_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct OpenAiServer {
    running: Running,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    record: Record,
    replies: Replies<Reply>,
    key: Mutex<Option<String>>,
    ollama: Mutex<Option<Vec<Value>>>,
    models: Mutex<Option<Raw>>,
}

/// What to answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A well-formed answer, as a stream or as one document as the request asks.
    Answer(Answer),
    /// An error.
    Error {
        /// The status.
        status: u16,
        /// The `error` object.
        error: Value,
        /// The header `retry-after`.
        retry_after: Option<String>,
    },
    /// Exactly these bytes.
    Raw(Raw),
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

impl OpenAiServer {
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

    /// `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.running.address)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.running.address.to_string()
    }

    /// Answers every request for `model` like this.
    pub fn reply(&self, model: &str, reply: impl Into<Reply>) {
        self.shared.replies.set(model, [reply.into()]);
    }

    /// Answers requests for `model` like these in turn, the last one for ever.
    pub fn replies(&self, model: &str, replies: impl IntoIterator<Item = Reply>) {
        self.shared.replies.set(model, replies);
    }

    /// Refuses requests that do not carry this key.
    pub fn require_key(&self, key: &str) {
        *self.shared.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.to_owned());
    }

    /// Answers Ollama's `/api/tags` and `/api/show` with these models: objects with `name`, and with
    /// `remote_host` and `remote_model` where the model is somewhere else.
    pub fn be_ollama(&self, models: Vec<Value>) {
        *self.shared.ollama.lock().unwrap_or_else(PoisonError::into_inner) = Some(models);
    }

    /// Answers `GET /v1/models` like this instead of with the models that have replies.
    pub fn list_models(&self, raw: Raw) {
        *self.shared.models.lock().unwrap_or_else(PoisonError::into_inner) = Some(raw);
    }

    /// What it has received.
    pub fn record(&self) -> &Record {
        &self.shared.record
    }

    /// The requests for embeddings that it has received.
    pub fn embeddings(&self) -> Vec<Received> {
        self.shared.record.received_at("/embeddings")
    }

    /// The chat requests that it has received.
    pub fn chats(&self) -> Vec<Received> {
        self.shared.record.received_at("/chat/completions")
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, REQUEST_BYTES_MAX).await.unwrap_or_default();
    let received = Received::new(&head, body);
    shared.record.add(received.clone());
    if let Some(key) = shared.key.lock().unwrap_or_else(PoisonError::into_inner).as_deref()
        && received.header("authorization") != Some(format!("Bearer {key}").as_str())
    {
        let error = json!({"message": "Incorrect API key provided.", "type": "invalid_request_error",
            "param": null, "code": "invalid_api_key"});
        return error_response(401, &error, None);
    }
    match (&head.method, head.uri.path()) {
        (&Method::POST, "/v1/chat/completions") => chat(&shared, &received).await,
        (&Method::POST, "/v1/embeddings") => embeddings(&shared, &received).await,
        (&Method::GET, "/v1/models") => models(&shared).await,
        (&Method::GET, "/api/tags") => tags(&shared).unwrap_or_else(not_found),
        (&Method::POST, "/api/show") => show(&shared, &received.body).unwrap_or_else(not_found),
        _ => not_found(),
    }
}

async fn chat(shared: &Shared, received: &Received) -> Response {
    let Ok(request) = serde_json::from_slice::<Value>(&received.body) else { return not_json() };
    let model = request["model"].as_str().unwrap_or_default();
    match shared.replies.next(model) {
        Some(Reply::Answer(answer)) => answer.respond(model, &request, &shared.record).await,
        other => scripted(shared, model, other).await,
    }
}

/// A model that has an answer embeds every text as its length and a one, in reverse order and not of length 1.
async fn embeddings(shared: &Shared, received: &Received) -> Response {
    let Ok(request) = serde_json::from_slice::<Value>(&received.body) else { return not_json() };
    let model = request["model"].as_str().unwrap_or_default();
    match shared.replies.next(model) {
        Some(Reply::Answer(_)) => {
            let texts = request["input"].as_array().cloned().unwrap_or_default();
            let vector = |text: &Value| json!([text.as_str().map_or(0, str::len), 1]);
            let entry =
                |(index, text)| json!({"object": "embedding", "index": index, "embedding": vector(text)});
            let data: Vec<Value> = texts.iter().enumerate().map(entry).rev().collect();
            let usage = json!({"prompt_tokens": texts.len(), "total_tokens": texts.len()});
            Json(json!({"object": "list", "data": data, "model": model, "usage": usage})).into_response()
        }
        other => scripted(shared, model, other).await,
    }
}

fn not_json() -> Response {
    let error = json!({"message": "We could not parse the JSON body of your request.",
        "type": "invalid_request_error", "param": null, "code": null});
    error_response(400, &error, None)
}

/// A reply that is the same whatever was asked.
async fn scripted(shared: &Shared, model: &str, reply: Option<Reply>) -> Response {
    match reply {
        Some(Reply::Error { status, error, retry_after }) => {
            error_response(status, &error, retry_after.as_deref())
        }
        Some(Reply::Raw(raw)) => raw.respond(&shared.record).await,
        Some(Reply::Answer(_)) | None => {
            let message = format!("The model `{model}` does not exist or you do not have access to it.");
            let error = json!({"message": message, "type": "invalid_request_error", "param": null,
                "code": "model_not_found"});
            error_response(404, &error, None)
        }
    }
}

async fn models(shared: &Shared) -> Response {
    let scripted = shared.models.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(raw) = scripted {
        return raw.respond(&shared.record).await;
    }
    let entry = |id: String| json!({"id": id, "object": "model", "created": 0, "owned_by": "test"});
    let data: Vec<Value> = shared.replies.models().into_iter().map(entry).collect();
    Json(json!({"object": "list", "data": data})).into_response()
}

fn tags(shared: &Shared) -> Option<Response> {
    let models = shared.ollama.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
    Some(Json(json!({"models": models})).into_response())
}

fn show(shared: &Shared, body: &Bytes) -> Option<Response> {
    let models = shared.ollama.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
    let wanted = serde_json::from_slice::<Value>(body).unwrap_or_default()["model"].clone();
    let Some(model) = models.into_iter().find(|model| model["name"] == wanted) else {
        let error = json!({"error": format!("model {wanted} not found")});
        return Some((StatusCode::NOT_FOUND, Json(error)).into_response());
    };
    let mut answer =
        json!({"details": {"family": "llama"}, "model_info": {}, "capabilities": ["completion"]});
    for key in ["remote_host", "remote_model"] {
        if let Some(value) = model.get(key) {
            answer[key] = value.clone();
        }
    }
    Some(Json(answer).into_response())
}

fn error_response(status: u16, error: &Value, retry_after: Option<&str>) -> Response {
    let status = StatusCode::from_u16(status).expect("the script's status is valid");
    let mut response = (status, Json(json!({"error": error}))).into_response();
    if let Some(value) = retry_after {
        let value = value.parse().expect("the script's header is valid");
        response.headers_mut().insert("retry-after", value);
    }
    response
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found").into_response()
}
