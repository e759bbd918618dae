//! The way of a measurement's result from the runner to whoever waits for it: one value or one error, once.
//!
//! As with `mailbox`: a reader that goes away is seen by [`Writer::abandoned`], and a writer that goes away without a
//! word becomes an error for the reader.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use lockgate_api::{BackendError, ErrorKind};

/// The runner's end.
#[derive(Debug)]
pub(crate) struct Writer<T> {
    shared: Arc<Shared<T>>,
}

/// The reader's end: a future. Dropping it abandons the work.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    contents: Mutex<Contents<T>>,
    abandoned: AtomicBool,
}

#[derive(Debug)]
enum Contents<T> {
    Waiting(Option<Waker>),
    There(Result<T, BackendError>),
    Taken,
}

/// A pair of ends.
pub(crate) fn reply<T>() -> (Writer<T>, Reply<T>) {
    let contents = Mutex::new(Contents::Waiting(None));
    let shared = Arc::new(Shared { contents, abandoned: AtomicBool::new(false) });
    (Writer { shared: Arc::clone(&shared) }, Reply { shared })
}

impl<T> Shared<T> {
    /// The first result counts.
    fn put(&self, result: Result<T, BackendError>) {
        let waker = {
            // Values are moved in and out whole, so a panic leaves nothing half changed.
            let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
            let Contents::Waiting(waker) = &mut *contents else { return };
            let waker = waker.take();
            *contents = Contents::There(result);
            waker
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Writer<T> {
    /// Ends the wait with a value.
    pub(crate) fn answer(self, value: T) {
        self.shared.put(Ok(value));
    }

    /// Ends the wait with an error.
    pub(crate) fn fail(self, error: BackendError) {
        self.shared.put(Err(error));
    }

    /// Whether the reader has gone away.
    pub(crate) fn abandoned(&self) -> bool {
        self.shared.abandoned.load(Ordering::Relaxed)
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        let message = "the model's own thread failed while this was computed; ask again";
        self.shared.put(Err(BackendError::new(ErrorKind::Internal, message)));
    }
}

impl<T> Future for Reply<T> {
    type Output = Result<T, BackendError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut contents = self.shared.contents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Contents::Waiting(waker) = &mut *contents {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        match std::mem::replace(&mut *contents, Contents::Taken) {
            Contents::There(result) => Poll::Ready(result),
            // Polled again after its end, against the rule: no second result will come.
            Contents::Waiting(_) | Contents::Taken => Poll::Pending,
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
