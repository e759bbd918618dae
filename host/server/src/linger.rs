//! Takes the rest of a request's body in after its answer is decided.
//!
//! A client that is still sending when the connection closes sees a reset instead of its answer. So a
//! body that nobody read is thrown away for a while, in a bounded amount, while the answer goes out.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long the rest is taken in.
const LINGER: Duration = Duration::from_secs(5);

/// A body whose unread rest is thrown away when this is dropped.
pub(crate) struct Lingering<B: Body<Data = Bytes> + Unpin + Send + 'static> {
    body: Option<B>,
    /// Bytes thrown away at most.
    rest_max: usize,
}

impl<B: Body<Data = Bytes> + Unpin + Send + 'static> Lingering<B> {
    /// `rest_max` is 0 for a client that waits to be told before it sends.
    pub(crate) fn new(body: B, rest_max: usize) -> Self {
        Self { body: Some(body), rest_max }
    }
}

impl<B: Body<Data = Bytes> + Unpin + Send + 'static> Body for Lingering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl<B: Body<Data = Bytes> + Unpin + Send + 'static> Drop for Lingering<B> {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream() && self.rest_max > 0) else {
            return;
        };
        // The task ends with its connection, or after its time.
        if let Ok(runtime) = Handle::try_current() {
            let rest_max = self.rest_max;
            runtime.spawn(async move {
                let _ = timeout(LINGER, discard(body, rest_max)).await;
            });
        }
    }
}

async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B, rest_max: usize) {
    let mut taken = 0_usize;
    while taken <= rest_max {
        let Some(Ok(frame)) = body.frame().await else { return };
        taken = taken.saturating_add(frame.data_ref().map_or(0, Bytes::len));
    }
}
