//! The way of an answer's events from the runner to whoever reads them.
//!
//! The writer never waits: events that are not read yet pile up here, text of one choice in one piece, so a
//! slow reader holds up nobody and costs no more memory than its own answer. Beyond a budget of bytes (which
//! only masses of log-probabilities reach) the writer is told to give the answer up. A reader that goes away is
//! seen by [`Writer::abandoned`]; a writer that goes away without an end becomes an error for the reader, so
//! nobody waits for an answer that nobody makes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use lockgate_api::{BackendError, ErrorKind, Event, TokenLogprob, TopLogprob};

use crate::text::Piece;

/// The runner's end.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    bytes_max: usize,
}

/// The reader's end: a stream that ends after the last event or an error.
#[derive(Debug)]
pub(crate) struct Reader {
    shared: Arc<Shared>,
}

/// The reader is so far behind that the answer should be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

#[derive(Debug)]
struct Shared {
    contents: Mutex<Contents>,
    abandoned: AtomicBool,
}

#[derive(Debug, Default)]
struct Contents {
    events: VecDeque<Event>,
    /// Of the events, about.
    bytes: usize,
    /// Set once; what follows the events.
    end: Option<Result<(), BackendError>>,
    waker: Option<Waker>,
}

/// A pair of ends. At most about `bytes_max` bytes wait between them.
pub(crate) fn mailbox(bytes_max: usize) -> (Writer, Reader) {
    let shared = Arc::new(Shared { contents: Mutex::default(), abandoned: AtomicBool::new(false) });
    (Writer { shared: Arc::clone(&shared), bytes_max }, Reader { shared })
}

impl Shared {
    /// A panic while the lock was held cannot leave the contents half changed in a way that matters.
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the contents, then wakes the reader: after the lock is free, for its executor may read at once.
    fn change(&self, change: impl FnOnce(&mut Contents)) {
        let waker = {
            let mut contents = self.lock();
            change(&mut contents);
            contents.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Writer {
    /// Adds an event of which an answer has few, all but text.
    pub(crate) fn send(&self, event: Event) {
        self.shared.change(|contents| {
            contents.bytes += size(&event);
            contents.add(event);
        });
    }

    /// Adds text, if there is any.
    ///
    /// # Errors
    /// [`TooSlow`] when the reader is too far behind; the text is lost and the answer should be failed.
    pub(crate) fn send_text(&self, choice: u32, piece: Piece) -> Result<(), TooSlow> {
        if piece.is_empty() {
            return Ok(());
        }
        let event = Event::Text { choice, text: piece.text, logprobs: piece.logprobs };
        if self.shared.lock().bytes.saturating_add(size(&event)) > self.bytes_max {
            return Err(TooSlow);
        }
        self.send(event);
        Ok(())
    }

    /// Ends the answer: nothing follows the events sent so far.
    pub(crate) fn end(self) {
        self.shared.change(|contents| contents.end = Some(Ok(())));
    }

    /// Ends the answer with an error, after the events sent so far.
    pub(crate) fn fail(self, error: BackendError) {
        self.shared.change(|contents| contents.end = Some(Err(error)));
    }

    /// Whether the reader has gone away.
    pub(crate) fn abandoned(&self) -> bool {
        self.shared.abandoned.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.change(|contents| {
            contents.end.get_or_insert_with(|| {
                let message = "the model's own thread failed while this answer was made; ask again";
                Err(BackendError::new(ErrorKind::Internal, message))
            });
        });
    }
}

impl Contents {
    /// Text that follows text of the same choice joins it.
    fn add(&mut self, event: Event) {
        if let Some(Event::Text { choice, text, logprobs }) = self.events.back_mut()
            && let Event::Text { choice: same, text: more, logprobs: more_logprobs } = &event
            && choice == same
        {
            text.push_str(more);
            logprobs.extend_from_slice(more_logprobs);
            return;
        }
        self.events.push_back(event);
    }
}

impl Stream for Reader {
    type Item = Result<Event, BackendError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut contents = self.shared.lock();
        if let Some(event) = contents.events.pop_front() {
            contents.bytes = contents.bytes.saturating_sub(size(&event));
            return Poll::Ready(Some(Ok(event)));
        }
        match &mut contents.end {
            // After an error nothing follows.
            Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err)),
            None => {
                contents.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Relaxed);
        let mut contents = self.shared.lock();
        contents.events.clear();
        contents.bytes = 0;
    }
}

/// About how many bytes an event takes. Joined events take as much as they did apart.
fn size(event: &Event) -> usize {
    let token = |token: &TopLogprob| {
        size_of::<TopLogprob>() + token.token.len() + token.bytes.as_ref().map_or(0, Vec::len)
    };
    let entry = |entry: &TokenLogprob| {
        size_of::<TokenLogprob>() + token(&entry.chosen) + entry.top.iter().map(token).sum::<usize>()
    };
    match event {
        Event::Text { text, logprobs, .. } => text.len() + logprobs.iter().map(entry).sum::<usize>(),
        _ => size_of::<Event>(),
    }
}

#[cfg(test)]
mod tests;
