//! What every front end does with a call: reads and decodes its body, and waits for the gateway.
//!
//! Formats are the front ends' own, in `openai`.

use http::HeaderMap;
use hyper::body::Incoming;
use lockgate_api::Labels;
use lockgate_gateway::Failure;

use crate::body::{self, ReadBody};
use crate::error::ApiError;
use crate::handler::Call;
use crate::headers::labels_asked;
use crate::linger::Lingering;

/// Work on more bytes or numbers than this is done on a thread for it, so that others are served meanwhile.
const INLINE_MAX: usize = 128 << 10;

/// A body that has been read.
pub(crate) struct Received<T> {
    /// The labels that the request's header adds.
    pub(crate) labels: Labels,
    pub(crate) decoded: T,
    /// The body's part of the memory for bodies, to be held as long as the request is.
    pub(crate) share: body::Share,
}

/// Reads and decodes a call's body.
///
/// # Errors
/// Unknown labels, a body that is too large, slow or broken, and `decode`'s own.
pub(crate) async fn receive<T: Send + 'static>(
    call: &Call,
    headers: &HeaderMap,
    body: Lingering<Incoming>,
    decode: fn(&[u8]) -> Result<T, ApiError>,
) -> Result<Received<T>, ApiError> {
    let labels = labels_asked(headers)?;
    let ReadBody { bytes, share } =
        body::read(body, headers, &call.state.options, &call.state.body_budget).await?;
    let decoded = beside(bytes.len(), move || decode(&bytes)).await??;
    Ok(Received { labels, decoded, share })
}

/// Waits for what the gateway says, and no longer than the server runs.
///
/// # Errors
/// The gateway's failure as an answer, or the shutdown.
pub(crate) async fn answered<T>(
    call: &Call,
    answer: impl Future<Output = Result<T, Box<Failure>>>,
) -> Result<T, ApiError> {
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

/// Small work here, large work on a thread for it.
pub(crate) async fn beside<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if size <= INLINE_MAX {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::internal())
}
