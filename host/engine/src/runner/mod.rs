//! The threads of a model: one prepares prompts (templates and tokenizing take time), one owns the model and its
//! cache and computes step after step. Requests go in through [`Runner::submit`], events come out of the
//! [`Answer`] that it returns; nothing here blocks whoever submits or reads.
//!
//! Everything is bounded: requests in hand from submission until their answer is dropped, sequences that wait
//! (`scheduler`), events that wait to be read (`mailbox`). Start reading at `work`, where a step is made.

mod counters;
#[cfg(test)]
mod fake;
mod forward;
mod mailbox;
mod model;
mod work;

pub use self::counters::Stats;
pub(crate) use self::model::ModelForward;
pub(crate) use self::work::Ask;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::{Builder, JoinHandle};

use futures_core::Stream;
use lockgate_api::{BackendError, ErrorKind, Event};

use self::counters::Counters;
use self::forward::Forward;
use self::mailbox::{Reader, Writer, mailbox};
use self::work::{Core, PANIC, Turn};
use crate::scheduler::Scheduler;
use crate::tokenizer::Tokenizer;

/// Bytes of one answer that may wait to be read. The text of any answer fits; long answers with many
/// log-probabilities need a reader that keeps up.
const UNREAD_BYTES_MAX: usize = 8 << 20;

/// A model's threads. Dropping it ends what is in flight with an error and waits for the threads, which takes no
/// longer than one layer of the model or one prompt's preparation.
#[derive(Debug)]
pub(crate) struct Runner {
    name: Arc<str>,
    jobs: Mutex<Option<Sender<Job>>>,
    threads: Vec<JoinHandle<()>>,
    counters: Arc<Counters>,
    closing: Arc<AtomicBool>,
    in_hand: Arc<AtomicUsize>,
    in_hand_max: usize,
}

/// A request before its prompt is tokens.
struct Job {
    prepare: Box<dyn FnOnce() -> Result<Ask, BackendError> + Send>,
    writer: Writer,
}

/// An answer as it is made. Dropping it abandons the work.
#[derive(Debug)]
pub(crate) struct Answer {
    reader: Reader,
    _place: Place,
}

/// A place among the requests in hand.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stream for Answer {
    type Item = Result<Event, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.reader).poll_next(context)
    }
}

impl Runner {
    /// Starts the threads of the model that is called `name`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start<F: Forward + 'static>(
        name: Arc<str>,
        forward: F,
        tokenizer: Arc<Tokenizer>,
        scheduler: Scheduler,
    ) -> io::Result<Self> {
        let limits = scheduler.limits();
        let counters = Arc::new(Counters::default());
        let closing = Arc::new(AtomicBool::new(false));
        let (jobs, jobs_waiting) = channel();
        let (asks, asks_waiting) = channel();
        let mut core = Core::new(
            Arc::clone(&name),
            forward,
            tokenizer,
            scheduler,
            Arc::clone(&counters),
            Arc::clone(&closing),
        );
        core.note();
        let mut runner = Self {
            name: Arc::clone(&name),
            jobs: Mutex::new(Some(jobs)),
            threads: Vec::with_capacity(2),
            counters: Arc::clone(&counters),
            closing: Arc::clone(&closing),
            in_hand: Arc::default(),
            // Twice what can wait and run: the rest are prompts in preparation and answers not read to the end.
            in_hand_max: 2 * (limits.waiting_max + limits.running_max),
        };
        let prepare = {
            let (name, closing) = (Arc::clone(&name), Arc::clone(&closing));
            move || prepare(&name, &jobs_waiting, &asks, &counters, &closing)
        };
        runner.threads.push(Builder::new().name("prompts".to_owned()).spawn(prepare)?);
        let compute = move || compute(&mut core, &name, &asks_waiting, &closing);
        runner.threads.push(Builder::new().name("model".to_owned()).spawn(compute)?);
        Ok(runner)
    }

    /// Takes a request. `prepare` makes its prompt on a thread of the runner. An error of the request comes as the
    /// answer's only item.
    ///
    /// # Errors
    /// [`ErrorKind::Overloaded`] when too many requests are in hand, [`ErrorKind::Unavailable`] when the model has
    /// stopped.
    pub(crate) fn submit(
        &self,
        prepare: impl FnOnce() -> Result<Ask, BackendError> + Send + 'static,
    ) -> Result<Answer, BackendError> {
        let place = Place(Arc::clone(&self.in_hand));
        // The place counts itself down again on every way out.
        if self.in_hand.fetch_add(1, Ordering::Relaxed) >= self.in_hand_max {
            let message =
                format!("model `{}` has {} requests in hand, the limit", self.name, self.in_hand_max);
            let error = BackendError::new(ErrorKind::Overloaded, message);
            return Err(error.retry_after(Some(self.counters.retry_after())));
        }
        let (writer, reader) = mailbox(UNREAD_BYTES_MAX);
        let job = Job { prepare: Box::new(prepare), writer };
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        self.counters.preparing.fetch_add(1, Ordering::Relaxed);
        match jobs.as_ref().map(|jobs| jobs.send(job)) {
            Some(Ok(())) => Ok(Answer { reader, _place: place }),
            _ => {
                self.counters.preparing.fetch_sub(1, Ordering::Relaxed);
                Err(stopped(&self.name))
            }
        }
    }

    /// The numbers so far.
    pub(crate) fn stats(&self) -> Stats {
        self.counters.stats()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to wait for.
            let _ = thread.join();
        }
    }
}

fn stopped(name: &str) -> BackendError {
    BackendError::new(ErrorKind::Unavailable, format!("model `{name}` has stopped"))
}

/// The thread that prepares prompts, in the order of their arrival.
fn prepare(
    name: &str,
    jobs: &Receiver<Job>,
    asks: &Sender<(Ask, Writer)>,
    counters: &Counters,
    closing: &AtomicBool,
) {
    while let Ok(Job { prepare, writer }) = jobs.recv() {
        if closing.load(Ordering::Relaxed) {
            writer.fail(stopped(name));
        } else if !writer.abandoned() {
            match catch_unwind(AssertUnwindSafe(prepare)) {
                Ok(Ok(ask)) => {
                    if let Err(unsent) = asks.send((ask, writer)) {
                        unsent.0.1.fail(stopped(name));
                    }
                }
                Ok(Err(error)) => writer.fail(error),
                Err(_panic) => {
                    tracing::error!(model = name, "preparing a prompt failed");
                    let message = format!("model `{name}` failed to prepare the prompt: {PANIC}");
                    writer.fail(BackendError::new(ErrorKind::Internal, message));
                }
            }
        }
        counters.preparing.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The thread that owns the model.
fn compute<F: Forward>(core: &mut Core<F>, name: &str, asks: &Receiver<(Ask, Writer)>, closing: &AtomicBool) {
    loop {
        loop {
            match asks.try_recv() {
                Ok((ask, writer)) => core.submit(ask, writer),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return core.fail_all(&stopped(name)),
            }
        }
        if closing.load(Ordering::Relaxed) {
            core.fail_all(&stopped(name));
        }
        if core.turn() == Turn::Idle {
            match asks.recv() {
                Ok((ask, writer)) => core.submit(ask, writer),
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
