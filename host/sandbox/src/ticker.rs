//! The thread that makes time pass for guests.
//!
//! Compiled guests look at a counter in each loop and at each function's start; this thread raises it. One
//! thread serves an engine. It sleeps while no call runs, since a host that waits for requests should not
//! wake a thousand times a second, and ends when its owner is dropped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Ticks without a call after which the thread goes to sleep. Waking it costs a call some microseconds, so
/// it stays awake between the requests of a busy host.
const IDLE_TICKS_MAX: u32 = 1_000;

struct Shared {
    calls: AtomicUsize,
    asleep: AtomicBool,
    stopped: AtomicBool,
}

/// Owns the thread.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Keeps the thread awake.
pub(crate) struct Running<'a>(&'a Shared);

impl Ticker {
    /// Starts a thread that calls `tick` every `period` while calls run.
    pub(crate) fn start(period: Duration, tick: impl Fn() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            calls: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let seen = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("lockgate-ticker".to_owned())
            .spawn(move || run(&seen, period, &tick))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Says that a call runs, until the answer is dropped.
    pub(crate) fn running(&self) -> Running<'_> {
        self.shared.calls.fetch_add(1, Ordering::SeqCst);
        // Either this sees that the thread has gone to sleep, or the thread sees the call before it does:
        // each writes its own flag first and reads the other's then.
        if self.shared.asleep.load(Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
        Running(&self.shared)
    }

    #[cfg(test)]
    fn is_asleep(&self) -> bool {
        self.shared.asleep.load(Ordering::SeqCst)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It panics only if `tick` does, and then there is nothing left to stop.
            let _ended = thread.join();
        }
    }
}

fn run(shared: &Shared, period: Duration, tick: &impl Fn()) {
    let mut idle_ticks = 0;
    while !shared.stopped.load(Ordering::SeqCst) {
        thread::park_timeout(period);
        tick();
        if shared.calls.load(Ordering::SeqCst) > 0 {
            idle_ticks = 0;
            continue;
        }
        idle_ticks += 1;
        if idle_ticks < IDLE_TICKS_MAX {
            continue;
        }
        shared.asleep.store(true, Ordering::SeqCst);
        while shared.calls.load(Ordering::SeqCst) == 0 && !shared.stopped.load(Ordering::SeqCst) {
            thread::park();
        }
        shared.asleep.store(false, Ordering::SeqCst);
        idle_ticks = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::Ticker;

    #[test]
    fn it_sleeps_when_idle_and_wakes_for_a_call() {
        let (sender, ticks) = mpsc::channel();
        let ticker = Ticker::start(Duration::from_micros(10), move || {
            // The receiver outlives the ticker.
            let _sent = sender.send(());
        })
        .expect("a thread starts");
        // A ticker that never sleeps would keep this test going for ever.
        while !ticker.is_asleep() {
            let _tick = ticks.recv_timeout(Duration::from_millis(1));
        }
        while ticks.try_recv().is_ok() {}
        assert!(ticks.recv_timeout(Duration::from_millis(20)).is_err(), "no tick while no call runs");
        let running = ticker.running();
        ticks.recv_timeout(Duration::from_secs(30)).expect("a call wakes it");
        drop(running);
        drop(ticker);
        // The thread is gone, and with it the sender.
        while ticks.recv().is_ok() {}
    }
}
