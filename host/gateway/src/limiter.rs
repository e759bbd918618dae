//! How many requests are answered at once, and how many may wait for a place.
//!
//! Beyond both the answer is an immediate [`Overloaded`], never a growing queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests answered at once.
    pub concurrent: usize,
    /// Requests that wait for one of those places.
    pub waiting: usize,
    /// The longest that one waits.
    pub wait: Duration,
}

impl Default for Limits {
    /// 256 at once, 256 waiting, 10 s at most.
    fn default() -> Self {
        Self { concurrent: 256, waiting: 256, wait: Duration::from_secs(10) }
    }
}

/// When to come back after an overload.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// No place, and none to wait in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded;

/// Hands places out.
#[derive(Debug)]
pub struct Limiter {
    limits: Limits,
    places: Arc<Semaphore>,
    queue: Semaphore,
}

/// A place; dropping it frees it.
#[derive(Debug)]
pub struct Slot {
    _place: OwnedSemaphorePermit,
}

impl Limiter {
    /// All places free.
    pub fn new(limits: Limits) -> Self {
        let bounded = |count: usize| count.min(Semaphore::MAX_PERMITS);
        Self {
            limits,
            places: Arc::new(Semaphore::new(bounded(limits.concurrent))),
            queue: Semaphore::new(bounded(limits.waiting)),
        }
    }

    /// The bounds that this keeps.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A place, at once or after waiting within the bounds. First come, first served.
    ///
    /// # Errors
    /// [`Overloaded`] when the queue is full or the wait was too long.
    pub async fn enter(&self) -> Result<Slot, Overloaded> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(Slot { _place: place });
        }
        let _waiting = self.queue.try_acquire().map_err(|_| Overloaded)?;
        let place = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(self.limits.wait, place).await {
            Ok(Ok(place)) => Ok(Slot { _place: place }),
            Ok(Err(_)) | Err(_) => Err(Overloaded),
        }
    }
}

#[cfg(test)]
mod tests;
