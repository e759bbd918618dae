//! [`ThreadPool`]: the threads that a forward pass computes on. One run costs two crossings of a barrier: waiting
//! threads spin for a bounded time, so that the back-to-back operations of a forward pass never enter the kernel,
//! and then park, so that an idle server uses no processor.
//!
//! Which thread does which part never changes a result: [`ThreadPool::for_each`] hands tasks out in any order, and
//! every kernel writes each output from one task. It deliberately does not pin threads, nest or steal.
#![allow(
    unsafe_code,
    reason = "lends the caller's borrowed body to worker threads for the length of one run"
)]

mod gate;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use gate::{Gate, Padded};

use crate::disjoint::DisjointMut;

type Body<'a> = dyn Fn(usize) + Sync + 'a;
type Panic = Box<dyn Any + Send>;

thread_local! {
    /// Whether this thread is inside a body: a nested run must not wait for threads that wait for it.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A fixed set of threads that run one body together. The caller of [`ThreadPool::run`] is thread 0.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// The last run; locked by a caller for the whole of its run.
    turn: Mutex<u32>,
}

/// What the threads share. A run moves the start's cache line to each worker and a line of each worker back.
struct Shared {
    start: Padded<Start>,
    /// For each worker, the last run that it has finished.
    ends: Vec<Padded<Gate>>,
    panic: Padded<Mutex<Option<Panic>>>,
}

#[derive(Default)]
struct Start {
    /// The number of the run; a worker starts when it changes. `STOP` ends the workers.
    run: Gate,
    /// The body of the run. Written before the run is announced and while no worker is in a run, read during it.
    body: UnsafeCell<Option<&'static Body<'static>>>,
}

// SAFETY: the body is written and read at different times, as its comment says, ordered by the gates.
unsafe impl Sync for Start {}

const STOP: u32 = u32::MAX;

impl ThreadPool {
    /// Starts `threads - 1` workers. Where the system refuses a thread, the pool is smaller: see [`Self::threads`].
    #[must_use]
    pub fn new(threads: NonZeroUsize) -> ThreadPool {
        let shared = Arc::new(Shared {
            start: Padded::default(),
            ends: (1..threads.get()).map(|_| Padded::default()).collect(),
            panic: Padded::default(),
        });
        let workers = (1..threads.get())
            .map_while(|thread| {
                let shared = Arc::clone(&shared);
                let builder = std::thread::Builder::new().name(format!("compute-{thread}"));
                builder.spawn(move || shared.work(thread)).ok()
            })
            .collect();
        ThreadPool { shared, workers, turn: Mutex::new(0) }
    }

    /// The number of threads, the caller of a run included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `body(thread)` once on every thread and returns when all are done. Callers on several threads take
    /// turns. Inside a body, a further run (of any pool) calls its body for each thread in turn on the spot.
    ///
    /// # Panics
    /// With the body's panic (thread 0's, else the first one caught), after every thread is done.
    pub fn run(&self, body: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() || INSIDE.get() {
            (0..self.threads()).for_each(body);
            return;
        }
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, ends) = (&self.shared.start.0, &self.shared.ends[..self.workers.len()]);
        // SAFETY: only the lifetime changes, and workers use the body only until they announce the end of the run:
        // this function neither returns nor unwinds before they all have. For the same reason none reads the cell now.
        unsafe { *start.body.get() = Some(std::mem::transmute::<&Body<'_>, &'static Body<'static>>(body)) };
        *turn = if *turn + 1 == STOP { 0 } else { *turn + 1 };
        let run = *turn;
        start.run.announce(run);
        start.run.wake_visible();
        let own = inside(body, 0);
        // A worker that parked at the very moment of the announcement may have been overlooked above.
        start.run.wake();
        for end in ends {
            end.0.wait(|finished| finished == run);
        }
        let theirs = self.shared.panic.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(turn);
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }

    /// Calls `body(thread, task)` once for every task below `tasks`, whichever thread is free taking the next one.
    /// The tasks should be of a few microseconds or more; their results must not depend on the thread.
    ///
    /// # Panics
    /// As [`Self::run`]; the other threads still take the remaining tasks.
    pub fn for_each(&self, tasks: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        let queue = Tasks::new(tasks);
        self.run(&|thread| {
            while let Some(task) = queue.take() {
                body(thread, task);
            }
        });
    }

    /// Calls `body(first_row, rows)` for runs of whole rows of `out`, each `width` long, that together are all of
    /// it. Runs hold at least `rows_min` rows where there are as many; a single run stays on the calling thread.
    ///
    /// # Panics
    /// As [`Self::run`], and when the length is not a multiple of `width`.
    pub fn for_rows<T: Send>(
        &self,
        out: &mut [T],
        width: usize,
        rows_min: usize,
        body: &(dyn Fn(usize, &mut [T]) + Sync),
    ) {
        // A few runs a thread, so that one that was interrupted does not hold up the others.
        const RUNS_PER_THREAD: usize = 4;
        assert!(
            width > 0 && out.len().is_multiple_of(width),
            "{} elements are not rows of {width}",
            out.len()
        );
        let rows = out.len() / width;
        let rows_of_run = rows.div_ceil(self.threads() * RUNS_PER_THREAD).max(rows_min).max(1);
        if rows <= rows_of_run || self.threads() == 1 {
            body(0, out);
            return;
        }
        let out = DisjointMut::new(out);
        self.for_each(rows.div_ceil(rows_of_run), &|_, run| {
            let rows = run * rows_of_run..rows.min((run + 1) * rows_of_run);
            // SAFETY: the runs do not overlap and each is one task.
            let part = unsafe { out.part(rows.start * width..rows.end * width) };
            body(rows.start, part);
        });
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.start.0.run.announce(STOP);
        self.shared.start.0.run.wake();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of bodies; were one to die all the same, there is nothing left to do.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self, thread: usize) {
        let mut seen = 0;
        loop {
            let run = self.start.0.run.wait(|run| run != seen);
            if run == STOP {
                return;
            }
            seen = run;
            // SAFETY: the caller wrote the body before it announced the run, and neither changes it nor lets it go
            // before this thread has announced its end below.
            let body = unsafe { *self.start.0.body.get() };
            if let Err(panic) = body.map_or(Ok(()), |body| inside(body, thread)) {
                self.panic.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
            }
            let end = &self.ends[thread - 1].0;
            end.announce(run);
            end.wake();
        }
    }
}

/// Runs the body with this thread marked as inside one.
fn inside(body: &Body, thread: usize) -> Result<(), Panic> {
    INSIDE.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| body(thread)));
    INSIDE.set(false);
    result
}

/// A queue of the tasks `0..count` that threads take from until it is empty.
pub struct Tasks {
    next: Padded<AtomicUsize>,
    count: usize,
}

impl Tasks {
    /// All tasks below `count`, none taken.
    #[must_use]
    pub fn new(count: usize) -> Tasks {
        Tasks { next: Padded(AtomicUsize::new(0)), count }
    }

    /// Takes the next task; nothing when all are taken.
    pub fn take(&self) -> Option<usize> {
        // A load first: threads that keep asking an empty queue cannot make the counter wrap.
        if self.next.0.load(Ordering::Relaxed) >= self.count {
            return None;
        }
        let task = self.next.0.fetch_add(1, Ordering::Relaxed);
        (task < self.count).then_some(task)
    }
}
