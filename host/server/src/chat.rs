//! `POST /v1/chat/completions`: from a body to a stream or a whole answer.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use lockgate_gateway::{Answer, AnswerEvents, Ask, Outcome};

use crate::answer::{AnswerBody, EventBody, Live, event_stream_headers, failure, json};
use crate::error::ApiError;
use crate::exchange::{Received, answered, receive};
use crate::handler::Call;
use crate::headers::describe;
use crate::linger::Lingering;
use crate::openai::{ChunkEncoder, Collected, Decoded, ResponseId, decode};

/// Answers a chat completion.
pub(crate) async fn complete(
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
    let Received { labels, decoded, share } = receive(call, headers, body, decode).await?;
    let Decoded { request, include_usage } = decoded;
    let (stream, choices) = (request.stream, request.choices);
    let request_id = Arc::clone(&call.request_id);
    let ask = Ask { request_id, request: Arc::new(request), labels, key: call.key.clone() };
    let Answer { outcome, events } = answered(call, call.serving.gateway.answer(ask)).await?;

    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let id = ResponseId::new(&call.request_id, created);
    if !stream {
        let limit = call.state.options.answer_bytes_max;
        let collected = Collected::new(choices, limit);
        let body = collect(call, &outcome, events, collected).await?.into_body(&id);
        let mut response = json(StatusCode::OK, body);
        describe(response.headers_mut(), &outcome);
        return Ok(response);
    }
    // An answer that has begun has a target.
    let target = outcome.target.clone().ok_or_else(ApiError::internal)?;
    let stream = EventBody::new(
        Live { events, _memory: share },
        ChunkEncoder::new(id, choices, include_usage),
        target,
        call.state.options.keep_alive,
        call.state.cut.clone().cancelled_owned(),
    );
    let mut response = Response::new(AnswerBody::Stream(Box::new(stream)));
    event_stream_headers(response.headers_mut());
    describe(response.headers_mut(), &outcome);
    Ok(response)
}

/// Reads an answer to its end.
async fn collect(
    call: &Call,
    outcome: &Outcome,
    mut events: AnswerEvents,
    mut collected: Collected,
) -> Result<Collected, ApiError> {
    let failed = loop {
        let next = tokio::select! {
            biased;
            next = events.next() => next,
            () = call.state.cut.cancelled() => break ApiError::shutting_down(),
        };
        match next {
            None => return Ok(collected),
            Some(Ok(event)) => {
                if let Err(error) = collected.push(event) {
                    break error;
                }
            }
            Some(Err(error)) => {
                let Some(target) = &outcome.target else { break ApiError::internal() };
                break ApiError::broken_off(&error, target);
            }
        }
    };
    Err(ApiError { outcome: Some(Box::new(outcome.clone())), ..failed })
}
