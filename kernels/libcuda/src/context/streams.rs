//! What is put on streams, and when it is done: as late as a card may do it, when somebody waits for it. So whoever waits
//! for too little reads what was there before, and whoever writes over pinned memory too early sends what is there after.
#![allow(unsafe_code, reason = "memory of the calling process is given by its address")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::ThreadId;

use cudarc::driver::sys::CUresult;
use lockgate_kernels::cuda::driver::{Address, Driver as _, Launch, Stream as Way};

use super::{Context, found, fresh, known, unknown};
use crate::answer::{Answer, Problem, misuse};

/// The only mode of captures that is known here: calls that could wait are forbidden to the capturing thread.
const THREAD_LOCAL: u32 = 1;

/// What can be put on a stream, and into a graph.
#[derive(Clone)]
pub(super) enum Step {
    Launch(Launch),
    Copy { from: Address, to: Address, bytes: usize },
    Fill { at: Address, value: u8, bytes: usize },
}

/// What an executable graph does.
pub(super) type Executable = Arc<[Step]>;

/// How far a stream must have come.
#[derive(Clone, Copy)]
pub(super) struct Point {
    stream: usize,
    until: u64,
}

enum Work {
    Step(Step),
    Graph(Executable),
    /// From memory that was read when it was asked for.
    Bytes {
        to: Address,
        bytes: Vec<u8>,
    },
    FromPinned {
        from: usize,
        to: Address,
        bytes: usize,
    },
    ToPinned {
        from: Address,
        to: usize,
        bytes: usize,
    },
    Wait(Point),
}

struct Capture {
    thread: ThreadId,
    steps: Vec<Step>,
    /// Whether a call came between that captures do not allow.
    broken: bool,
}

#[derive(Default)]
pub(super) struct Stream {
    waiting: VecDeque<Work>,
    /// How much was asked for, and how much of it is done.
    asked: u64,
    done: u64,
    capture: Option<Capture>,
}

impl Stream {
    fn put(&mut self, work: Work) {
        self.asked += 1;
        self.waiting.push_back(work);
    }
}

/// That a call is not allowed in a capture, which it breaks.
fn forbidden(capture: &mut Capture, text: &str) -> Problem {
    capture.broken = true;
    misuse(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, format!("{text} within a capture"))
}

impl Context {
    pub(crate) fn create_stream(&mut self, flags: u32) -> Answer<usize> {
        if flags != 1 {
            let text = format!("flags {flags}: only streams that no other waits for are known here");
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, text));
        }
        let handle = fresh();
        self.streams.insert(handle, Stream::default());
        Ok(handle)
    }

    pub(crate) fn destroy_stream(&mut self, handle: usize) -> Answer<()> {
        known(&mut self.streams, "stream", handle)?;
        self.finish(handle)?;
        self.streams.remove(&handle);
        Ok(())
    }

    /// Waits for a stream; zero is the one that nothing is ever put on.
    pub(crate) fn synchronize_stream(&mut self, handle: usize) -> Answer<()> {
        if handle == 0 {
            return Ok(());
        }
        if let Some(capture) = &mut known(&mut self.streams, "stream", handle)?.capture {
            return Err(forbidden(capture, "a wait for the stream"));
        }
        self.finish(handle)
    }

    /// That the calling thread captures nothing.
    pub(super) fn outside_captures(&mut self) -> Answer<()> {
        let own = std::thread::current().id();
        let mut captures = self.streams.values_mut().filter_map(|stream| stream.capture.as_mut());
        match captures.find(|capture| capture.thread == own) {
            None => Ok(()),
            Some(capture) => Err(forbidden(capture, "a call that may wait for the card")),
        }
    }

    /// Puts a step on a stream, or into its capture.
    pub(super) fn put(&mut self, handle: usize, step: Step) -> Answer<()> {
        let stream = known(&mut self.streams, "stream", handle)?;
        match &mut stream.capture {
            Some(capture) => capture.steps.push(step),
            None => stream.put(Work::Step(step)),
        }
        Ok(())
    }

    /// Whether a stream's capture is going on.
    pub(super) fn captures(&self, handle: usize) -> bool {
        self.streams.get(&handle).is_some_and(|stream| stream.capture.is_some())
    }

    /// Puts something on a stream that graphs do not have here.
    fn put_outside(&mut self, handle: usize, what: &str, work: Work) -> Answer<()> {
        let stream = known(&mut self.streams, "stream", handle)?;
        match &mut stream.capture {
            Some(capture) => Err(forbidden(capture, what)),
            None => {
                stream.put(work);
                Ok(())
            }
        }
    }

    pub(crate) fn copy(&mut self, to: u64, from: u64, bytes: usize, stream: usize) -> Answer<()> {
        let (to, from) = (self.inside(to, bytes)?, self.inside(from, bytes)?);
        self.put(stream, Step::Copy { from, to, bytes })
    }

    pub(crate) fn fill(&mut self, at: u64, value: u8, bytes: usize, stream: usize) -> Answer<()> {
        let at = self.inside(at, bytes)?;
        self.put(stream, Step::Fill { at, value, bytes })
    }

    pub(crate) fn copy_there(&mut self, to: u64, from: usize, bytes: usize, stream: usize) -> Answer<()> {
        let to = self.inside(to, bytes)?;
        if self.is_pinned(from, bytes) {
            return self.put_outside(stream, "a copy to the card", Work::FromPinned { from, to, bytes });
        }
        // SAFETY: the caller's memory holds as many bytes.
        let bytes = unsafe { std::slice::from_raw_parts(from as *const u8, bytes) }.to_vec();
        self.put_outside(stream, "a copy to the card", Work::Bytes { to, bytes })
    }

    pub(crate) fn copy_back(&mut self, to: usize, from: u64, bytes: usize, stream: usize) -> Answer<()> {
        let from = self.inside(from, bytes)?;
        if self.is_pinned(to, bytes) {
            return self.put_outside(stream, "a copy from the card", Work::ToPinned { from, to, bytes });
        }
        // To memory that is not pinned a copy is done when the call returns.
        if let Some(capture) = &mut known(&mut self.streams, "stream", stream)?.capture {
            return Err(forbidden(capture, "a copy from the card"));
        }
        self.finish(stream)?;
        // SAFETY: the caller's memory holds as many bytes.
        self.read(from, unsafe { std::slice::from_raw_parts_mut(to as *mut u8, bytes) })
    }

    fn read(&mut self, from: Address, bytes: &mut [u8]) -> Answer<()> {
        self.emulator.download(Way::Compute, from, bytes).map_err(|problem| {
            found(&problem);
            self.break_down(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS)
        })
    }

    pub(crate) fn create_event(&mut self, flags: u32) -> Answer<usize> {
        if flags != 2 {
            let text = format!("flags {flags}: only events without a time are known here");
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, text));
        }
        let handle = fresh();
        self.events.insert(handle, None);
        Ok(handle)
    }

    pub(crate) fn destroy_event(&mut self, handle: usize) -> Answer<()> {
        self.events.remove(&handle).map(drop).ok_or_else(|| unknown("event", handle))
    }

    pub(crate) fn record_event(&mut self, handle: usize, stream: usize) -> Answer<()> {
        let place = known(&mut self.events, "event", handle)?;
        let marked = known(&mut self.streams, "stream", stream)?;
        if let Some(capture) = &mut marked.capture {
            return Err(forbidden(capture, "an event, which is not known here"));
        }
        *place = Some(Point { stream, until: marked.asked });
        Ok(())
    }

    pub(crate) fn synchronize_event(&mut self, handle: usize) -> Answer<()> {
        let point = *known(&mut self.events, "event", handle)?;
        point.map_or(Ok(()), |point| self.advance(point))
    }

    /// Has a stream wait for what an event marks by now.
    pub(crate) fn wait_event(&mut self, stream: usize, event: usize, flags: u32) -> Answer<()> {
        let point = *known(&mut self.events, "event", event)?;
        let waits = known(&mut self.streams, "stream", stream)?;
        if flags != 0 {
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, format!("flags {flags}")));
        }
        if let Some(capture) = &mut waits.capture {
            capture.broken = true;
            let text = "a capture waits for what is not of it";
            return Err(misuse(CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION, text));
        }
        if let Some(point) = point {
            waits.put(Work::Wait(point));
        }
        Ok(())
    }

    pub(crate) fn begin_capture(&mut self, stream: usize, mode: u32) -> Answer<()> {
        let stream = known(&mut self.streams, "stream", stream)?;
        if mode != THREAD_LOCAL {
            let text = format!("mode {mode}: only captures of a thread are known here");
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, text));
        }
        if stream.capture.is_some() {
            return Err(misuse(CUresult::CUDA_ERROR_ILLEGAL_STATE, "the stream is captured already"));
        }
        stream.capture =
            Some(Capture { thread: std::thread::current().id(), steps: Vec::new(), broken: false });
        Ok(())
    }

    pub(crate) fn end_capture(&mut self, stream: usize) -> Answer<usize> {
        let stream = known(&mut self.streams, "stream", stream)?;
        let Some(capture) = stream.capture.take() else {
            return Err(misuse(CUresult::CUDA_ERROR_ILLEGAL_STATE, "the stream is not captured"));
        };
        if capture.thread != std::thread::current().id() {
            let text = "another thread began the capture";
            stream.capture = Some(capture);
            return Err(misuse(CUresult::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, text));
        }
        if capture.broken {
            return Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED.into());
        }
        let handle = fresh();
        self.graphs.insert(handle, capture.steps.into());
        Ok(handle)
    }

    pub(crate) fn instantiate(&mut self, graph: usize, flags: u64) -> Answer<usize> {
        let steps = Arc::clone(known(&mut self.graphs, "graph", graph)?);
        if flags != 0 {
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, format!("flags {flags}")));
        }
        let handle = fresh();
        self.executables.insert(handle, steps);
        Ok(handle)
    }

    pub(crate) fn destroy_graph(&mut self, graph: usize) -> Answer<()> {
        self.graphs.remove(&graph).map(drop).ok_or_else(|| unknown("graph", graph))
    }

    pub(crate) fn destroy_executable(&mut self, graph: usize) -> Answer<()> {
        self.executables.remove(&graph).map(drop).ok_or_else(|| unknown("executable graph", graph))
    }

    pub(crate) fn launch_graph(&mut self, graph: usize, stream: usize) -> Answer<()> {
        let steps = Arc::clone(known(&mut self.executables, "executable graph", graph)?);
        self.put_outside(stream, "a graph's launch", Work::Graph(steps))
    }

    /// Does all that was asked for.
    pub(super) fn finish_all(&mut self) -> Answer<()> {
        let streams: Vec<usize> = self.streams.keys().copied().collect();
        streams.into_iter().try_for_each(|stream| self.finish(stream))
    }

    /// Does all that is on a stream.
    fn finish(&mut self, stream: usize) -> Answer<()> {
        match self.streams.get(&stream).map(|stream| stream.asked) {
            Some(until) => self.advance(Point { stream, until }),
            None => Ok(()),
        }
    }

    /// Does what is on a stream up to a point, and on others what it waits for. A stream that is gone was finished.
    fn advance(&mut self, point: Point) -> Answer<()> {
        loop {
            // Work that takes long may find that the card is lost meanwhile.
            self.check()?;
            let Some(stream) = self.streams.get_mut(&point.stream) else { return Ok(()) };
            if stream.done >= point.until {
                return Ok(());
            }
            let Some(work) = stream.waiting.pop_front() else { return Ok(()) };
            stream.done += 1;
            match work {
                Work::Step(step) => self.run(&step)?,
                Work::Graph(steps) => steps.iter().try_for_each(|step| self.run(step))?,
                Work::Bytes { to, bytes } => self.write(to, &bytes)?,
                Work::FromPinned { from, to, bytes } => {
                    self.still_pinned(from, bytes)?;
                    // SAFETY: it is pinned memory, which is alive.
                    self.write(to, unsafe { std::slice::from_raw_parts(from as *const u8, bytes) })?;
                }
                Work::ToPinned { from, to, bytes } => {
                    self.still_pinned(to, bytes)?;
                    // SAFETY: it is pinned memory, which is alive and nobody reads before the copy is waited for.
                    self.read(from, unsafe { std::slice::from_raw_parts_mut(to as *mut u8, bytes) })?;
                }
                Work::Wait(point) => self.advance(point)?,
            }
        }
    }

    fn still_pinned(&mut self, start: usize, bytes: usize) -> Answer<()> {
        if self.is_pinned(start, bytes) {
            return Ok(());
        }
        self.broken = Some(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        let text = "pinned memory was freed before a copy with it was done";
        Err(misuse(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, text))
    }

    fn write(&mut self, to: Address, bytes: &[u8]) -> Answer<()> {
        self.emulator.upload(Way::Compute, to, bytes).map_err(|problem| {
            found(&problem);
            self.break_down(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS)
        })
    }

    fn run(&mut self, step: &Step) -> Answer<()> {
        let done = match step {
            Step::Launch(launch) if super::launch::is_only_timed(launch) => Ok(()),
            Step::Launch(launch) => self.emulator.launch(launch),
            &Step::Copy { from, to, bytes } => self.emulator.copy(Way::Compute, from, to, bytes),
            &Step::Fill { at, value, bytes } => self.emulator.fill(Way::Compute, at, value, bytes),
        };
        done.map_err(|problem| {
            found(&problem);
            self.break_down(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS)
        })
    }
}
