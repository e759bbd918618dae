//! Instances that are kept from one call to the next, for plugins whose instances are slow to make.
//!
//! A kept instance serves one plugin, one tenant and one set of labels. It waits until the labels of the request that
//! it served are settled, and is there for the next call only if they are those that it was called with: whoever
//! brought another one, what the instance has seen is under that label, and the instance is dropped. Kept instances
//! have places in the pool: whoever needs one and finds none takes that of the instance that was kept first, and
//! while anybody waits none is kept.
//!
//! Owns the instances between calls. Does not own who may be kept (`plugin`), nor what a call may use: that is counted
//! anew for each.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use lockgate_api::{Labels, Scope};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use wasmtime::Store;

use crate::call::Call;
use crate::contract::bindings::{preprocessor::Preprocessor, router::Router};

/// How long an instance is kept without being called. Looked at when another is kept or taken.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Whom a kept instance may serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The loaded plugin's number: a reload brings another.
    pub(crate) plugin: u64,
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) labels: Arc<Labels>,
}

/// An instance by its hook.
pub(crate) enum Instance {
    Router(Router),
    Preprocessor(Preprocessor),
}

/// An instance with its store and its place in the pool.
pub(crate) struct Seat {
    pub(crate) store: Store<Call>,
    pub(crate) instance: Instance,
    /// Calls that it may still serve.
    pub(crate) calls_left: u32,
    pub(crate) place: OwnedSemaphorePermit,
}

struct Kept {
    number: u64,
    owner: Owner,
    /// Whether its last request's labels are settled.
    is_ready: bool,
    since: Instant,
    seat: Seat,
}

/// The kept instances of a sandbox.
pub(crate) struct Shelf {
    /// In the order in which they were kept.
    kept: Mutex<VecDeque<Kept>>,
    kept_max: usize,
    next: AtomicU64,
    /// Calls that wait for a place in the pool.
    wanting: AtomicUsize,
}

impl Shelf {
    pub(crate) fn new(kept_max: usize) -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::default(),
            kept_max,
            next: AtomicU64::new(0),
            wanting: AtomicUsize::new(0),
        })
    }

    /// An instance that may serve this owner: the one that was kept last, whose memory is the likeliest to be at hand.
    pub(crate) fn take(&self, owner: &Owner) -> Option<Seat> {
        let idle = self.idle();
        let taken = {
            let mut kept = self.lock();
            let place = kept.iter().rposition(|kept| kept.is_ready && kept.owner == *owner);
            place.and_then(|place| kept.remove(place))
        };
        drop(idle);
        taken.map(|kept| kept.seat)
    }

    /// Keeps an instance that has served a request of this scope, for whoever may see what it has seen.
    pub(crate) fn put(self: &Arc<Self>, owner: Owner, seat: Seat, scope: &Scope) {
        let idle = self.idle();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let kept = Kept { number, owner, is_ready: false, since: Instant::now(), seat };
        let surplus = {
            let mut all = self.lock();
            // Under the lock, which whoever begins to want a place takes next.
            if self.wanting.load(Ordering::SeqCst) > 0 {
                Some(kept)
            } else {
                all.push_back(kept);
                if all.len() > self.kept_max { all.pop_front() } else { None }
            }
        };
        // Never under the lock: an instance's end takes a while.
        drop((idle, surplus));
        let waiting = Waiting { shelf: Arc::downgrade(self), number };
        scope.when_settled(move |labels| waiting.settled(labels));
    }

    /// Somebody waits for a place in the pool until the result is dropped: the instance that was kept first makes room,
    /// and no other is kept meanwhile.
    pub(crate) fn want(&self) -> Wanting<'_> {
        self.wanting.fetch_add(1, Ordering::SeqCst);
        let first = self.lock().pop_front();
        drop(first);
        Wanting(self)
    }

    /// Drops what was kept of a plugin.
    pub(crate) fn forget(&self, plugin: u64) {
        let mut dropped = VecDeque::new();
        {
            let mut kept = self.lock();
            let all = std::mem::take(&mut *kept);
            for one in all {
                if one.owner.plugin == plugin { dropped.push_back(one) } else { kept.push_back(one) }
            }
        }
    }

    /// Takes out what has not been called for too long. Those that were kept first come first.
    fn idle(&self) -> Vec<Kept> {
        let now = Instant::now();
        let mut kept = self.lock();
        let count = kept.iter().take_while(|kept| now.duration_since(kept.since) > IDLE_MAX).count();
        kept.drain(..count).collect()
    }

    fn remove(&self, number: u64) -> Option<Kept> {
        let mut kept = self.lock();
        let place = kept.iter().position(|kept| kept.number == number)?;
        kept.remove(place)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        // Each change is one push or removal.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that waits for a place in the pool.
pub(crate) struct Wanting<'a>(&'a Shelf);

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.wanting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A kept instance whose request's labels are not settled. Dropped without that, as a request that fails drops it, it
/// takes the instance along.
struct Waiting {
    shelf: Weak<Shelf>,
    number: u64,
}

impl Waiting {
    fn settled(self, labels: &Arc<Labels>) {
        let Some(shelf) = self.shelf.upgrade() else { return };
        let mut kept = shelf.lock();
        let Some(one) = kept.iter_mut().find(|kept| kept.number == self.number) else { return };
        one.is_ready = one.owner.labels == *labels;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(shelf) = self.shelf.upgrade() else { return };
        let is_pending = shelf.lock().iter().any(|kept| kept.number == self.number && !kept.is_ready);
        if is_pending {
            drop(shelf.remove(self.number));
        }
    }
}
