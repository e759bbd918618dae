//! `POST /v1/chat/completions`: from a body to a stream or a whole answer.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use lockgate_api::Labels;
use lockgate_gateway::{Answer, AnswerEvents, Ask, Outcome};

use crate::answer::{AnswerBody, EventBody, Live, event_stream_headers, failure, json};
use crate::body;
use crate::error::ApiError;
use crate::handler::Call;
use crate::headers::{describe, labels_asked};
use crate::linger::Lingering;
use crate::openai::{ChunkEncoder, Collected, Decoded, ResponseId, decode};

/// Bodies beyond this are decoded on a thread of their own, so that others are served meanwhile.
const DECODE_INLINE_BYTES_MAX: usize = 256 << 10;

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
    let labels = labels_asked(headers)?;
    let body = body::read(body, headers, &call.state.options, &call.state.body_budget).await?;
    let bytes = body.bytes;
    let decoded = if bytes.len() <= DECODE_INLINE_BYTES_MAX {
        decode(&bytes)
    } else {
        tokio::task::spawn_blocking(move || decode(&bytes)).await.map_err(|_| ApiError::internal())?
    };
    let Decoded { request, include_usage } = decoded?;
    let (stream, choices) = (request.stream, request.choices);
    let Answer { outcome, events } = ask(call, request, labels).await?;

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
        Live { events, _memory: body.share },
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

async fn ask(call: &Call, request: lockgate_api::ChatRequest, labels: Labels) -> Result<Answer, ApiError> {
    let ask = Ask {
        request_id: Arc::clone(&call.request_id),
        request: Arc::new(request),
        labels,
        key: call.key.clone(),
    };
    let answer = call.serving.gateway.answer(ask);
    let answered = tokio::select! {
        biased;
        answered = answer => answered,
        () = call.state.cut.cancelled() => return Err(ApiError::shutting_down()),
    };
    answered.map_err(|failed| {
        let error = ApiError::from_gateway(&failed.error);
        ApiError { outcome: Some(Box::new(failed.outcome)), ..error }
    })
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
