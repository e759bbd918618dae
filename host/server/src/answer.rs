//! What goes back to the client: a body that is whole, or one that is written while an answer is made.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use lockgate_api::{BackendError, Event, Target};
use lockgate_gateway::AnswerEvents;
use tokio::time::{Duration, Instant, Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tracing::error;

use crate::body::Share;
use crate::error::ApiError;
use crate::headers::{describe, describe_no_attempt};
use crate::openai;
use crate::openai::ChunkEncoder;

/// Bytes gathered into one frame while events are ready, so that a burst costs one write.
const FRAME_BYTES_ENOUGH: usize = 8 << 10;
/// What one event takes on the wire, usually.
const EVENT_BYTES_USUAL: usize = 512;
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// An answer's body.
pub(crate) enum AnswerBody {
    /// All of it.
    Whole(Option<Bytes>),
    /// Events as they come.
    Stream(Box<EventBody>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Stream(events) => events.poll_bytes(context),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(events) => events.live.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// JSON of that status.
pub(crate) fn json(status: StatusCode, body: Vec<u8>) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(Some(Bytes::from(body))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error in OpenAI's shape, the headers that belong to it included.
pub(crate) fn failure(error: &ApiError) -> Response<AnswerBody> {
    let mut response = json(error.status, openai::error_body(error));
    let headers = response.headers_mut();
    if let Some(delay) = error.retry_after {
        // Whole seconds, rounded up: earlier would be too early.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    if let Some(allow) = error.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    match &error.outcome {
        Some(outcome) => describe(headers, outcome),
        None => describe_no_attempt(headers, error.status),
    }
    response
}

/// Headers of an event stream.
pub(crate) fn event_stream_headers(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies in between must not collect the stream.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
}

/// An answer written as server-sent events while it is made. Dropping it drops the answer at once.
pub(crate) struct EventBody {
    /// Gone when the last byte has been written.
    live: Option<Live>,
    encoder: ChunkEncoder,
    target: Arc<Target>,
    keep_alive: Duration,
    timer: Pin<Box<Sleep>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// What the answer holds on to.
pub(crate) struct Live {
    pub(crate) events: AnswerEvents,
    pub(crate) _memory: Share,
}

/// What comes next in the stream.
enum Next {
    Event(Event),
    End,
    Failed(BackendError),
    Panicked,
    Cut,
    Silence,
}

impl EventBody {
    pub(crate) fn new(
        live: Live,
        encoder: ChunkEncoder,
        target: Arc<Target>,
        keep_alive: Duration,
        cut: WaitForCancellationFutureOwned,
    ) -> Self {
        let timer = Box::pin(sleep(keep_alive));
        Self { live: Some(live), encoder, target, keep_alive, timer, cut: Box::pin(cut) }
    }

    /// The next bytes to write, or `None` after the last.
    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.live.is_none() {
            return Poll::Ready(None);
        }
        let mut out = Vec::with_capacity(EVENT_BYTES_USUAL);
        while out.len() < FRAME_BYTES_ENOUGH {
            let Poll::Ready(next) = self.poll_next(context) else {
                if out.is_empty() {
                    return Poll::Pending;
                }
                break;
            };
            let error = match next {
                Next::Event(event) => {
                    self.encoder.event(&event, &mut out);
                    continue;
                }
                // A comment between what is ready already would say nothing.
                Next::Silence if !out.is_empty() => break,
                Next::Silence => {
                    out.extend_from_slice(KEEP_ALIVE);
                    break;
                }
                Next::End => {
                    self.live = None;
                    self.encoder.end(&mut out);
                    break;
                }
                Next::Failed(error) => ApiError::broken_off(&error, &self.target),
                Next::Panicked => ApiError::internal(),
                Next::Cut => ApiError::shutting_down(),
            };
            // An answer that was not finished ends in an error, without the mark of a whole one.
            self.live = None;
            self.encoder.error(&error, &mut out);
            break;
        }
        self.timer.as_mut().reset(Instant::now() + self.keep_alive);
        Poll::Ready(Some(Bytes::from(out)))
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        let Some(live) = &mut self.live else { return Poll::Ready(Next::End) };
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut live.events).poll_next(context)));
        match polled {
            Ok(Poll::Ready(Some(Ok(event)))) => Poll::Ready(Next::Event(event)),
            Ok(Poll::Ready(Some(Err(error)))) => Poll::Ready(Next::Failed(error)),
            Ok(Poll::Ready(None)) => Poll::Ready(Next::End),
            Err(_) => {
                error!("an answer's stream panicked");
                Poll::Ready(Next::Panicked)
            }
            Ok(Poll::Pending) if self.cut.as_mut().poll(context).is_ready() => Poll::Ready(Next::Cut),
            Ok(Poll::Pending) => self.timer.as_mut().poll(context).map(|()| Next::Silence),
        }
    }
}
