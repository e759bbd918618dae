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
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
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
    /// Serialises callers: the job slot holds one job.
    turn: Mutex<()>,
}

struct Shared {
    /// Counts runs; a worker starts when it changes. `STOP` ends the workers.
    start: Padded<Gate>,
    /// Workers that have not yet finished the run; the caller waits for zero.
    remaining: Padded<Gate>,
    /// The body of the run, as a thin pointer to a fat reference on the caller's stack.
    job: Padded<AtomicPtr<&'static Body<'static>>>,
    panic: Mutex<Option<Panic>>,
}

const STOP: u32 = u32::MAX;

impl ThreadPool {
    /// Starts `threads - 1` workers. Where the system refuses a thread, the pool is smaller: see [`Self::threads`].
    #[must_use]
    pub fn new(threads: NonZeroUsize) -> ThreadPool {
        let shared = Arc::new(Shared {
            start: Padded(Gate::new(0)),
            remaining: Padded(Gate::new(0)),
            job: Padded(AtomicPtr::new(std::ptr::null_mut())),
            panic: Mutex::new(None),
        });
        let workers = (1..threads.get())
            .map_while(|thread| {
                let shared = Arc::clone(&shared);
                let builder = std::thread::Builder::new().name(format!("compute-{thread}"));
                builder.spawn(move || shared.work(thread)).ok()
            })
            .collect();
        ThreadPool { shared, workers, turn: Mutex::new(()) }
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
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: only the lifetime changes. Workers use the body before they count `remaining` down, and this
        // function does not return or unwind before they all have.
        let mut body: &'static Body<'static> = unsafe { std::mem::transmute::<&Body<'_>, _>(body) };
        let shared = &*self.shared;
        shared.job.0.store(&raw mut body, Ordering::Relaxed);
        shared.remaining.0.store(self.workers.len() as u32);
        let run = shared.start.0.load();
        shared.start.0.store(if run + 1 == STOP { 0 } else { run + 1 });
        let own = inside(body, 0);
        shared.remaining.0.wait(|remaining| remaining == 0);
        let theirs = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
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
        self.shared.start.0.store(STOP);
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
            seen = self.start.0.wait(|run| run != seen);
            if seen == STOP {
                return;
            }
            // SAFETY: the caller stored a pointer to its own reference before it opened the gate, and keeps both
            // alive until this thread has counted itself off below.
            let body = unsafe { *self.job.0.load(Ordering::Relaxed) };
            if let Err(panic) = inside(body, thread) {
                self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
            }
            self.remaining.0.subtract_one();
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
