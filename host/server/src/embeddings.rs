//! `POST /v1/embeddings`: from a body to vectors.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use lockgate_gateway::{EmbedAsk, Vectors};

use crate::answer::{AnswerBody, failure, json};
use crate::error::ApiError;
use crate::exchange::{Received, answered, beside, receive};
use crate::handler::Call;
use crate::headers::describe;
use crate::linger::Lingering;
use crate::openai::{EmbeddingsRequest, decode_embeddings, embeddings_body};

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
    // The body's memory is free again once it is decoded: the texts are all that is left of it.
    let Received { labels, decoded, share: _ } = receive(call, headers, body, decode_embeddings).await?;
    let EmbeddingsRequest { model, inputs, format } = decoded;
    let request_id = Arc::clone(&call.request_id);
    let ask = EmbedAsk { request_id, model, inputs, labels, key: call.key.clone() };
    let Vectors { outcome, embedded } = answered(call, call.serving.gateway.embed(ask)).await?;
    // What was embedded has a target.
    let target = outcome.target.clone().ok_or_else(ApiError::internal)?;
    let numbers = embedded.vectors.iter().map(Vec::len).sum();
    let encoded = beside(numbers, move || embeddings_body(&embedded, &target.id, format)).await?;
    let mut response = json(StatusCode::OK, encoded);
    describe(response.headers_mut(), &outcome);
    Ok(response)
}
