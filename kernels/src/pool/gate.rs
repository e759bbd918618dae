//! [`Gate`]: a number that threads wait on, first spinning, then parked. Every waiter re-checks the number itself,
//! so that a wake too many is harmless; a wake is never lost, because a waiter announces itself before its last
//! check and a writer looks for waiters after its write, both in one total order.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long to spin before parking: longer than the gaps between the operations of a forward pass, short enough
/// that waiting for a client costs nothing and that an oversubscribed machine gets its processor back.
const SPIN: Duration = Duration::from_micros(60);

/// Keeps a value on cache lines of its own (two: processors prefetch in pairs).
#[repr(align(128))]
pub(super) struct Padded<T>(pub(super) T);

pub(super) struct Gate {
    value: AtomicU32,
    parked: AtomicU32,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Gate {
    pub(super) fn new(value: u32) -> Gate {
        Gate {
            value: AtomicU32::new(value),
            parked: AtomicU32::new(0),
            lock: Mutex::new(()),
            changed: Condvar::new(),
        }
    }

    pub(super) fn load(&self) -> u32 {
        self.value.load(Ordering::SeqCst)
    }

    /// Sets the number and wakes every waiter.
    pub(super) fn store(&self, value: u32) {
        self.value.store(value, Ordering::SeqCst);
        self.wake();
    }

    /// Counts down by one; at zero, wakes every waiter.
    pub(super) fn subtract_one(&self) {
        if self.value.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.wake();
        }
    }

    /// Returns the number as soon as `ready` accepts it.
    pub(super) fn wait(&self, ready: impl Fn(u32) -> bool) -> u32 {
        self.spin(&ready).unwrap_or_else(|| self.park(&ready))
    }

    fn spin(&self, ready: &impl Fn(u32) -> bool) -> Option<u32> {
        // The clock is read seldom: the first checks answer within nanoseconds in the common case.
        const CHECKS: usize = 64;
        let mut until = None;
        loop {
            for _ in 0..CHECKS {
                let value = self.value.load(Ordering::Acquire);
                if ready(value) {
                    return Some(value);
                }
                std::hint::spin_loop();
            }
            let now = Instant::now();
            if now >= *until.get_or_insert(now + SPIN) {
                return None;
            }
        }
    }

    #[cold]
    fn park(&self, ready: &impl Fn(u32) -> bool) -> u32 {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.parked.fetch_add(1, Ordering::SeqCst);
        let value = loop {
            let value = self.load();
            if ready(value) {
                break value;
            }
            guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.parked.fetch_sub(1, Ordering::SeqCst);
        value
    }

    fn wake(&self) {
        if self.parked.load(Ordering::SeqCst) > 0 {
            // The lock orders this after the waiter's last check: it is either waiting by now or has seen the number.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.changed.notify_all();
        }
    }
}
