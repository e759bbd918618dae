//! The threads of a model: one prepares prompts (templates and tokenizing take time), one owns the model and its
//! cache and computes step after step. Requests go in through [`Runner::submit`], events come out of the
//! [`Answer`] that it returns; what generates nothing goes in through [`Runner::choose`] and its like, and one result
//! comes out. Nothing here blocks whoever submits or reads.
//!
//! Everything is bounded: requests in hand from submission until their answer is dropped, sequences that wait
//! (`scheduler`), events that wait to be read (`mailbox`). Start reading at `work`, where a step is made.

mod counters;
mod draw;
#[cfg(test)]
mod fake;
mod forward;
mod loss;
mod mailbox;
mod measure;
mod model;
mod reply;
mod steer;
mod work;

pub use self::counters::Stats;
pub use self::loss::Loss;
pub(crate) use self::measure::{Choosing, Embedding};
pub(crate) use self::model::{ModelForward, Rescue, Spare};
pub(crate) use self::reply::Reply;
pub(crate) use self::steer::Steered;
pub(crate) use self::work::Ask;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use futures_core::Stream;
use lockgate_api::{BackendError, Chosen, Embedded, ErrorKind, Event};

use self::counters::Counters;
use self::forward::Forward;
use self::mailbox::{Reader, Writer, mailbox};
use self::measure::Measuring;
use self::reply::reply;
use self::work::{Core, PANIC, Turn};
use crate::scheduler::Scheduler;
use crate::tokenizer::Tokenizer;

/// Bytes of one answer that may wait to be read. The text of any answer fits; long answers with many
/// log-probabilities need a reader that keeps up.
const UNREAD_BYTES_MAX: usize = 8 << 20;

/// How often a model that has nothing to compute looks whether a hook has spoken.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// A model's threads. Dropping it ends what is in flight with an error and waits for the threads, which takes no
/// longer than one layer of the model or one prompt's preparation.
#[derive(Debug)]
pub(crate) struct Runner {
    name: Arc<str>,
    jobs: Mutex<Option<Sender<(Job, Preparing)>>>,
    threads: Vec<JoinHandle<()>>,
    counters: Arc<Counters>,
    closing: Arc<AtomicBool>,
    in_hand: Arc<AtomicUsize>,
    in_hand_max: usize,
}

/// A request before its text is tokens, and who waits for it.
enum Job {
    Answer(Prepare<Ask>, Writer),
    Choose(Prepare<Choosing>, reply::Writer<Chosen>),
    Embed(Prepare<Embedding>, reply::Writer<Embedded>),
    Count(Prepare<u64>, reply::Writer<u64>),
}

type Prepare<T> = Box<dyn FnOnce() -> Result<T, BackendError> + Send>;

/// A request that is ready to be computed.
enum Work {
    Answer(Ask, Writer),
    Choose(Choosing, reply::Writer<Chosen>),
    Embed(Embedding, reply::Writer<Embedded>),
}

/// Where a request's result or error goes.
trait Sink {
    fn abandoned(&self) -> bool;
    fn fail(self, error: BackendError);
}

impl Sink for Writer {
    fn abandoned(&self) -> bool {
        Self::abandoned(self)
    }

    fn fail(self, error: BackendError) {
        Self::fail(self, error);
    }
}

impl<T> Sink for reply::Writer<T> {
    fn abandoned(&self) -> bool {
        Self::abandoned(self)
    }

    fn fail(self, error: BackendError) {
        Self::fail(self, error);
    }
}

/// An answer as it is made: a stream of events, or a future of one result. Dropping it abandons the work.
#[derive(Debug)]
pub(crate) struct Answer<R = Reader> {
    reader: R,
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

/// One of the requests whose prompts are being prepared, or are ready for the thread that owns the model. Dropped
/// before anybody learns how the request went on, so that whoever reads an answer's end does not find it counted as
/// waiting.
#[derive(Debug)]
struct Preparing(Arc<Counters>);

impl Preparing {
    fn new(counters: &Arc<Counters>) -> Self {
        counters.preparing.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counters))
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        self.0.preparing.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stream for Answer {
    type Item = Result<Event, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.reader).poll_next(context)
    }
}

impl<T> Future for Answer<Reply<T>> {
    type Output = Result<T, BackendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.reader).poll(context)
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
        let (works, works_waiting) = channel();
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
            move || prepare(&name, &jobs_waiting, &works, &closing)
        };
        runner.threads.push(Builder::new().name("prompts".to_owned()).spawn(prepare)?);
        let compute = move || compute(&mut core, &name, &works_waiting, &closing);
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
        let (writer, reader) = mailbox(UNREAD_BYTES_MAX);
        self.take(Job::Answer(Box::new(prepare), writer), reader)
    }

    /// Takes the question how likely continuations are. Otherwise as [`Self::submit`].
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub(crate) fn choose(
        &self,
        prepare: impl FnOnce() -> Result<Choosing, BackendError> + Send + 'static,
    ) -> Result<Answer<Reply<Chosen>>, BackendError> {
        let (writer, reader) = reply();
        self.take(Job::Choose(Box::new(prepare), writer), reader)
    }

    /// Takes texts to embed. Otherwise as [`Self::submit`].
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub(crate) fn embed(
        &self,
        prepare: impl FnOnce() -> Result<Embedding, BackendError> + Send + 'static,
    ) -> Result<Answer<Reply<Embedded>>, BackendError> {
        let (writer, reader) = reply();
        self.take(Job::Embed(Box::new(prepare), writer), reader)
    }

    /// Takes a request whose tokens are only counted: `count` is all of the work. Otherwise as [`Self::submit`].
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub(crate) fn count(
        &self,
        count: impl FnOnce() -> Result<u64, BackendError> + Send + 'static,
    ) -> Result<Answer<Reply<u64>>, BackendError> {
        let (writer, reader) = reply();
        self.take(Job::Count(Box::new(count), writer), reader)
    }

    fn take<R>(&self, job: Job, reader: R) -> Result<Answer<R>, BackendError> {
        let place = Place(Arc::clone(&self.in_hand));
        // The place counts itself down again on every way out.
        if self.in_hand.fetch_add(1, Ordering::Relaxed) >= self.in_hand_max {
            let message =
                format!("model `{}` has {} requests in hand, the limit", self.name, self.in_hand_max);
            let error = BackendError::new(ErrorKind::Overloaded, message);
            return Err(error.retry_after(Some(self.counters.retry_after())));
        }
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        match jobs.as_ref().map(|jobs| jobs.send((job, Preparing::new(&self.counters)))) {
            Some(Ok(())) => Ok(Answer { reader, _place: place }),
            _ => Err(stopped(&self.name)),
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
    jobs: &Receiver<(Job, Preparing)>,
    works: &Sender<(Work, Preparing)>,
    closing: &AtomicBool,
) {
    while let Ok((job, preparing)) = jobs.recv() {
        let prepared = Preparation { name, closing, preparing };
        let work = match job {
            Job::Answer(job, to) => prepared.run(job, to, Work::Answer),
            Job::Choose(job, to) => prepared.run(job, to, Work::Choose),
            Job::Embed(job, to) => prepared.run(job, to, Work::Embed),
            Job::Count(job, to) => {
                if let Some(((count, to), preparing)) = prepared.run(job, to, |count, to| (count, to)) {
                    drop(preparing);
                    to.answer(count);
                }
                None
            }
        };
        if let Some(work) = work
            && let Err(SendError((unsent, preparing))) = works.send(work)
        {
            drop(preparing);
            unsent.fail(stopped(name));
        }
    }
}

/// One request's turn on the thread that prepares prompts.
struct Preparation<'a> {
    name: &'a str,
    closing: &'a AtomicBool,
    preparing: Preparing,
}

impl Preparation<'_> {
    /// Prepares the request for whoever waits for it, and makes of both what goes on; nothing where nobody waits, or
    /// where it failed.
    fn run<T, S: Sink, W>(
        self,
        prepare: Prepare<T>,
        to: S,
        make: impl FnOnce(T, S) -> W,
    ) -> Option<(W, Preparing)> {
        let Self { name, closing, preparing } = self;
        if to.abandoned() {
            return None;
        }
        let error = if closing.load(Ordering::Relaxed) {
            stopped(name)
        } else {
            match catch_unwind(AssertUnwindSafe(prepare)) {
                Ok(Ok(ask)) => return Some((make(ask, to), preparing)),
                Ok(Err(error)) => error,
                Err(_panic) => {
                    tracing::error!(model = name, "preparing a prompt failed");
                    let message = format!("model `{name}` failed to prepare the prompt: {PANIC}");
                    BackendError::new(ErrorKind::Internal, message)
                }
            }
        };
        drop(preparing);
        to.fail(error);
        None
    }
}

impl Work {
    fn fail(self, error: BackendError) {
        match self {
            Self::Answer(_, to) => to.fail(error),
            Self::Choose(_, to) => to.fail(error),
            Self::Embed(_, to) => to.fail(error),
        }
    }

    fn begin<F: Forward>(self, preparing: Preparing, core: &mut Core<F>) {
        drop(preparing);
        match self {
            Self::Answer(ask, to) => core.submit(ask, to),
            Self::Choose(ask, to) => core.measure(|limits| Measuring::choosing(ask, to, limits)),
            Self::Embed(ask, to) => core.measure(|limits| Measuring::embedding(ask, to, limits)),
        }
    }
}

/// The thread that owns the model.
fn compute<F: Forward>(
    core: &mut Core<F>,
    name: &str,
    works: &Receiver<(Work, Preparing)>,
    closing: &AtomicBool,
) {
    loop {
        loop {
            match works.try_recv() {
                Ok((work, preparing)) => work.begin(preparing, core),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return core.fail_all(&stopped(name)),
            }
        }
        if closing.load(Ordering::Relaxed) {
            core.fail_all(&stopped(name));
        }
        match core.turn() {
            Turn::Worked => {}
            Turn::Waiting => {
                // Where nobody is left to send, the loop above finds out.
                if let Ok((work, preparing)) = works.recv_timeout(LOOK_EVERY) {
                    work.begin(preparing, core);
                }
            }
            Turn::Idle => match works.recv() {
                Ok((work, preparing)) => work.begin(preparing, core),
                Err(_) => return,
            },
        }
    }
}

#[cfg(test)]
mod tests;
