//! Events for threads that may wait: a command line has no runtime.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, current, park};

use lockgate_api::{BackendError, Event, Events};

/// An answer, event by event, for a thread that waits for each. Dropping it abandons the work.
pub struct BlockingEvents(Events);

impl BlockingEvents {
    /// Reads `events`.
    pub fn new(events: Events) -> Self {
        Self(events)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Iterator for BlockingEvents {
    type Item = Result<Event, BackendError>;

    fn next(&mut self) -> Option<Self::Item> {
        let waker = Waker::from(Arc::new(Unpark(current())));
        loop {
            match self.0.as_mut().poll_next(&mut Context::from_waker(&waker)) {
                Poll::Ready(item) => return item,
                // A wake before this makes it return at once.
                Poll::Pending => park(),
            }
        }
    }
}
