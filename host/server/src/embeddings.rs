//! `POST /v1/embeddings`: from a body to vectors.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use lockgate_gateway::{EmbedAsk, Vectors};

use crate::answer::{AnswerBody, failure, json};
use crate::body;
use crate::error::ApiError;
use crate::handler::Call;
use crate::headers::{describe, labels_asked};
use crate::linger::Lingering;
use crate::openai::{EmbeddingsRequest, decode_embeddings, embeddings_body};

/// Bodies beyond this, and answers of more numbers, are converted on a thread of their own, so that others are served
/// meanwhile.
const INLINE_MAX: usize = 64 << 10;

/// Answers a request for embeddings.
pub(crate) async fn embed(
    call: &Call,
    headers: &HeaderMap,
    body: Lingering<Incoming>,
) -> Response<AnswerBody> {
    answer(call, headers, body).await.unwrap_or_else(|error| failure(&error))
}

async fn answer(
    call: &Call,
    headers: &HeaderMap,
    body: Lingering<Incoming>,
) -> Result<Response<AnswerBody>, ApiError> {
    let labels = labels_asked(headers)?;
    let body = body::read(body, headers, &call.state.options, &call.state.body_budget).await?;
    let bytes = body.bytes;
    let decoded = beside(bytes.len(), move || decode_embeddings(&bytes)).await?;
    let EmbeddingsRequest { model, inputs, format } = decoded?;
    let request_id = Arc::clone(&call.request_id);
    let ask = EmbedAsk { request_id, model, inputs, labels, key: call.key.clone() };
    let embedding = call.serving.gateway.embed(ask);
    let embedded = tokio::select! {
        biased;
        embedded = embedding => embedded,
        () = call.state.cut.cancelled() => return Err(ApiError::shutting_down()),
    };
    let Vectors { outcome, embedded } = embedded.map_err(|failed| {
        let error = ApiError::from_gateway(&failed.error);
        ApiError { outcome: Some(Box::new(failed.outcome)), ..error }
    })?;
    // What was embedded has a target.
    let target = outcome.target.clone().ok_or_else(ApiError::internal)?;
    let numbers = embedded.vectors.iter().map(Vec::len).sum();
    let encoded = beside(numbers, move || embeddings_body(&embedded, &target.id, format)).await?;
    let mut response = json(StatusCode::OK, encoded);
    describe(response.headers_mut(), &outcome);
    Ok(response)
}

/// Small work here, large work on a thread for it.
async fn beside<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if size <= INLINE_MAX {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::internal())
}
