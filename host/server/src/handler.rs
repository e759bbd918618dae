//! One request: checks, route, and the headers that every answer has.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use http::header::{CONTENT_TYPE, EXPECT};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use lockgate_api::Labels;
use lockgate_gateway::Key;
use tokio::time::Instant;
use tracing::{error, info};

use crate::answer::{AnswerBody, failure, json};
use crate::error::ApiError;
use crate::headers::{REQUEST_ID, labels_asked, tell_labels};
use crate::linger::Lingering;
use crate::routes::Route;
use crate::state::{AppState, Serving};
use crate::{access, chat, cors, embeddings, metrics, openai};

/// What a handler knows of its request.
pub(crate) struct Call {
    pub(crate) state: Arc<AppState>,
    /// The configuration that the request began with.
    pub(crate) serving: Arc<Serving>,
    pub(crate) request_id: Arc<str>,
    /// Who asks, where there are keys.
    pub(crate) key: Option<Arc<Key>>,
}

/// What of a request is known once it is answered, however that ended.
struct Seen {
    /// Its route's name.
    route: &'static str,
    /// The web page that it comes from, where that is welcome.
    page: Option<HeaderValue>,
    /// The labels that it came with: its key's and its header's.
    labels: Labels,
}

/// Answers a request that came in over a loopback listener or another. Never fails: whatever goes wrong
/// is an answer too.
pub(crate) async fn respond(
    state: Arc<AppState>,
    loopback: bool,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let began = Instant::now();
    let request_id = state.next_request_id();
    let mut seen = Seen { route: "unknown", page: None, labels: Labels::none() };
    let answered =
        AssertUnwindSafe(dispatch(Arc::clone(&state), loopback, Arc::clone(&request_id), request, &mut seen));
    let answered = answered.catch_unwind().await;
    let Seen { route, page, labels } = seen;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => failure(&error),
        Err(_) => {
            error!(request = %request_id, route, "a handler panicked");
            failure(&ApiError::internal())
        }
    };
    if let Some(page) = page {
        cors::let_read(page, response.headers_mut());
    }
    tell_labels(response.headers_mut(), &labels);
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    state.metrics.answered(route, response.status().as_u16());
    let waited_ms = began.elapsed().as_secs_f64() * 1e3;
    info!(request = %request_id, route, status = response.status().as_u16(), waited_ms, "answered");
    response
}

async fn dispatch(
    state: Arc<AppState>,
    loopback: bool,
    request_id: Arc<str>,
    request: Request<Incoming>,
    seen: &mut Seen,
) -> Result<Response<AnswerBody>, ApiError> {
    let (head, body) = request.into_parts();
    let waits = head.headers.contains_key(EXPECT);
    let body = Lingering::new(body, if waits { 0 } else { state.options.body_bytes_max.saturating_mul(4) });
    state.hosts.check(&head.headers, &head.uri, loopback)?;
    seen.page = cors::page_of(&head.headers).cloned();
    if let Some(method) = cors::asked_leave_for(&head.method, &head.headers) {
        seen.route = Route::find(&method, head.uri.path())?.name();
        let mut response = Response::new(AnswerBody::Whole(None));
        *response.status_mut() = StatusCode::NO_CONTENT;
        cors::give_leave(&head.headers, &method, response.headers_mut());
        return Ok(response);
    }
    let route = Route::find(&head.method, head.uri.path());
    let serving = state.serving();
    let needs_key = route.as_ref().map_or(true, Route::needs_key);
    let key = if needs_key { access::authenticate(&serving.keys, &head.headers) } else { Ok(None) };
    if let Ok(key) = &key
        && needs_key
    {
        let of_key = key.iter().flat_map(|key| key.labels.iter().cloned());
        seen.labels = labels_asked(&head.headers).unwrap_or_default().with(of_key);
    }
    let route = route?;
    seen.route = route.name();
    let key = key?;
    let call = Call { state, serving, request_id, key };
    match route {
        Route::ChatCompletions => Ok(chat::complete(&call, &head.headers, body).await),
        Route::Embeddings => Ok(embeddings::embed(&call, &head.headers, body).await),
        Route::Models => {
            Ok(json(StatusCode::OK, openai::models_body(&call.serving.gateway, call.state.started)))
        }
        Route::Model(id) => openai::model_body(&id, &call.serving.gateway, call.state.started)
            .map(|body| json(StatusCode::OK, body))
            .ok_or_else(|| ApiError::no_such_model(&id)),
        Route::Metrics => {
            let mut response = json(StatusCode::OK, metrics::render(&call.state)?);
            let format = HeaderValue::from_static(metrics::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, format);
            Ok(response)
        }
        Route::Health => Ok(json(StatusCode::OK, br#"{"status":"ok"}"#.to_vec())),
        Route::Ready => Ok(match call.state.ready() {
            Ok(None) => json(StatusCode::OK, br#"{"status":"ready"}"#.to_vec()),
            Ok(Some(warning)) => {
                let body = serde_json::json!({ "status": "ready", "warning": warning });
                json(StatusCode::OK, body.to_string().into_bytes())
            }
            Err(reason) => {
                let body = serde_json::json!({ "status": "not_ready", "reason": reason });
                json(StatusCode::SERVICE_UNAVAILABLE, body.to_string().into_bytes())
            }
        }),
    }
}
