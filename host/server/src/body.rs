//! Reads a request's body within its limits: size, time, and the memory of all bodies together.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::error::ApiError;
use crate::options::ServerOptions;

/// A body and its share of the memory for bodies, which is held until the request is done.
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    pub(crate) share: Share,
}

/// Part of the memory for bodies.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Share {
    fn none(budget: &Arc<Semaphore>) -> Self {
        Self { budget: Arc::clone(budget), held: None, bytes: 0 }
    }

    /// Grows to hold this many bytes. Nobody waits for memory: waiting bodies would hold what others
    /// wait for.
    fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let more = bytes.div_ceil(1024).saturating_sub(self.bytes.div_ceil(1024));
        let more = u32::try_from(more).map_err(|_| ApiError::busy())?;
        let permit = Arc::clone(&self.budget).try_acquire_many_owned(more).map_err(|_| ApiError::busy())?;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        self.bytes = bytes;
        Ok(())
    }
}

/// Pieces of a body; a body of one piece is never copied.
#[derive(Default)]
enum Collected {
    #[default]
    Nothing,
    One(Bytes),
    Many(BytesMut),
}

impl Collected {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    fn push(&mut self, data: Bytes, expected: usize) {
        *self = match std::mem::take(self) {
            Self::Nothing => Self::One(data),
            Self::One(first) => {
                let mut all = BytesMut::with_capacity(expected.max(first.len() + data.len()));
                all.extend_from_slice(&first);
                all.extend_from_slice(&data);
                Self::Many(all)
            }
            Self::Many(mut all) => {
                all.extend_from_slice(&data);
                Self::Many(all)
            }
        };
    }

    fn finish(self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}

/// Reads all of `body`.
///
/// # Errors
/// 413 beyond the limit (told before reading where the length is declared), 408 when it comes too slowly,
/// 415 when it is compressed, 429 when the bodies in work fill the memory for them, 400 when it breaks
/// off.
pub(crate) async fn read<B>(
    mut body: B,
    headers: &HeaderMap,
    options: &ServerOptions,
    budget: &Arc<Semaphore>,
) -> Result<ReadBody, ApiError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let limit = options.body_bytes_max;
    if headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        return Err(ApiError::encoded_body());
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(ApiError::body_too_large(limit));
    }
    let mut share = Share::none(budget);
    share.grow(declared.unwrap_or(0))?;
    let end = Instant::now() + options.body_timeout;
    let mut collected = Collected::default();
    loop {
        let pause_end = (Instant::now() + options.body_pause_max).min(end);
        let frame = match timeout_at(pause_end, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err(ApiError::broken_body()),
            Ok(None) => break,
            Err(_) => return Err(ApiError::slow_body()),
        };
        // Trailers say nothing here.
        let Ok(data) = frame.into_data() else { continue };
        let length = collected.len() + data.len();
        if length > limit {
            return Err(ApiError::body_too_large(limit));
        }
        if length > share.bytes {
            share.grow(length)?;
        }
        collected.push(data, declared.unwrap_or(0));
    }
    let bytes = collected.finish();
    Ok(ReadBody { bytes, share })
}

#[cfg(test)]
mod tests;
