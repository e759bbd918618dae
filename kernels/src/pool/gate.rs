//! [`Gate`]: a number that threads wait on: spinning at first, then giving way to others, at last parked. Every
//! waiter re-checks the number itself, so that a wake too many is harmless; a wake is never lost, because a waiter
//! announces itself before its last check, a writer looks for waiters after its write, and both are fenced.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long to wait before parking: longer than the gaps between the operations of a forward pass, short enough that
/// waiting for a client costs nothing.
const AWAKE: Duration = Duration::from_micros(60);

/// How often to check before the clock is read for the first time and the processor offered to others: a few
/// microseconds, within which a balanced operation ends. Where the awaited thread has been put on this processor,
/// giving way is what lets it run.
const CHECKS_FIRST: usize = 200;
const CHECKS_NEXT: usize = 20;

/// Keeps a value on cache lines of its own (two: processors prefetch in pairs).
#[repr(align(128))]
#[derive(Default)]
pub(super) struct Padded<T>(pub(super) T);

#[derive(Default)]
pub(super) struct Gate {
    value: AtomicU32,
    parked: AtomicU32,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Gate {
    /// Sets the number. Waiters that are awake see it at once; the caller must [`Self::wake`] the others afterwards.
    pub(super) fn announce(&self, value: u32) {
        self.value.store(value, Ordering::Release);
    }

    /// Wakes the parked waiters that are seen without waiting for earlier writes to reach the other processors.
    pub(super) fn wake_visible(&self) {
        if self.parked.load(Ordering::Relaxed) > 0 {
            self.notify();
        }
    }

    /// Wakes all parked waiters.
    pub(super) fn wake(&self) {
        fence(Ordering::SeqCst);
        self.wake_visible();
    }

    /// Returns the number as soon as `ready` accepts it.
    pub(super) fn wait(&self, ready: impl Fn(u32) -> bool) -> u32 {
        self.wait_awake(&ready).unwrap_or_else(|| self.park(&ready))
    }

    fn wait_awake(&self, ready: &impl Fn(u32) -> bool) -> Option<u32> {
        let mut until = None;
        let mut checks = CHECKS_FIRST;
        loop {
            for _ in 0..checks {
                let value = self.value.load(Ordering::Acquire);
                if ready(value) {
                    return Some(value);
                }
                std::hint::spin_loop();
            }
            let now = Instant::now();
            if now >= *until.get_or_insert(now + AWAKE) {
                return None;
            }
            std::thread::yield_now();
            checks = CHECKS_NEXT;
        }
    }

    #[cold]
    fn park(&self, ready: &impl Fn(u32) -> bool) -> u32 {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.parked.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let value = loop {
            let value = self.value.load(Ordering::Acquire);
            if ready(value) {
                break value;
            }
            guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.parked.fetch_sub(1, Ordering::Relaxed);
        value
    }

    #[cold]
    fn notify(&self) {
        // The lock orders this after the waiter's last check: it is either waiting by now or has seen the number.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}
