//! [`Emulator`]: a driver whose device is this process. Work is done when it is asked for, so that an error is
//! reported by the call that made it; streams and events are therefore only checked for sense.
#![allow(unsafe_code, reason = "device memory is memory of this process")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lockgate_kernels::cuda::driver::{
    Address, Download, Driver, DriverError, Event, Graph, Launch, Product, Stream,
};
use lockgate_kernels::cuda::reference::gemv;

use crate::native::{self, Range, Schedule};
use crate::record::{self, Buffer};

/// Bytes before and behind each buffer that belong to no one.
const GUARD_BYTES: usize = 4096;
const ALIGN_BYTES: usize = 256;

/// What a graph does when it is launched.
#[derive(Clone, Debug)]
enum Step {
    Launch(Launch),
    Multiply(Product),
    Copy { from: Address, to: Address, bytes: usize },
    Fill { at: Address, value: u8, bytes: usize },
}

#[derive(Debug, Default)]
struct State {
    /// Length of each buffer, by its address.
    buffers: BTreeMap<usize, usize>,
    graphs: BTreeMap<u64, Vec<Step>>,
    capture: Option<Vec<Step>>,
    events: BTreeMap<u64, Stream>,
    /// What was copied from the device and not asked for yet.
    copied: BTreeMap<u64, Vec<u8>>,
    next: u64,
    launches: u64,
}

/// A CUDA device made of software.
#[derive(Debug)]
pub struct Emulator {
    schedule: Mutex<Schedule>,
    library: bool,
    /// Where records of launches are written, when each is to be replayed.
    scratch: Option<PathBuf>,
    state: Mutex<State>,
}

impl Emulator {
    /// A device whose threads run in this order.
    #[must_use]
    pub fn new(schedule: Schedule) -> Emulator {
        Emulator { schedule: Mutex::new(schedule), library: false, scratch: None, state: Mutex::default() }
    }

    /// The same, and every launch runs in a process of its own as well, built with AddressSanitizer and with copies of
    /// all buffers. `scratch` is a file for its records, which this device alone may use.
    #[must_use]
    pub fn with_address_sanitizer(schedule: Schedule, scratch: PathBuf) -> Emulator {
        let mut emulator = Emulator::new(schedule);
        emulator.scratch = Some(scratch);
        emulator
    }

    /// The same, with a library of products, which sums in double precision.
    #[must_use]
    pub fn with_library(mut self) -> Emulator {
        self.library = true;
        self
    }

    /// Has threads run in another order from here on.
    pub fn set_schedule(&self, schedule: Schedule) {
        *self.schedule.lock().unwrap_or_else(PoisonError::into_inner) = schedule;
    }

    /// How many kernels were run.
    #[must_use]
    pub fn launches(&self) -> u64 {
        self.state().launches
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn do_or_capture(&self, step: Step) -> Result<(), DriverError> {
        let mut state = self.state();
        if let Some(capture) = &mut state.capture {
            capture.push(step);
            return Ok(());
        }
        self.run(&mut state, &step)
    }

    fn run(&self, state: &mut State, step: &Step) -> Result<(), DriverError> {
        match step {
            Step::Launch(launch) => {
                let ranges: Vec<Range> =
                    state.buffers.iter().map(|(&start, &bytes)| Range { start, bytes }).collect();
                let schedule = *self.schedule.lock().unwrap_or_else(PoisonError::into_inner);
                state.launches += 1;
                self.replay(state, launch, schedule)?;
                native::launch(launch, &ranges, schedule)
                    .map_err(|problem| DriverError::failed(format!("launch of {}", launch.kernel), problem))
            }
            Step::Multiply(product) => state.multiply(product),
            Step::Copy { from, to, bytes } => {
                let (from, to) = (state.inside("copy", *from, *bytes)?, state.inside("copy", *to, *bytes)?);
                // SAFETY: both lie within live buffers; overlap is allowed.
                unsafe { std::ptr::copy(from as *const u8, to as *mut u8, *bytes) };
                Ok(())
            }
            Step::Fill { at, value, bytes } => {
                let at = state.inside("fill", *at, *bytes)?;
                // SAFETY: it lies within a live buffer.
                unsafe { std::ptr::write_bytes(at as *mut u8, *value, *bytes) };
                Ok(())
            }
        }
    }
}

impl Emulator {
    fn replay(&self, state: &State, launch: &Launch, schedule: Schedule) -> Result<(), DriverError> {
        let Some(scratch) = &self.scratch else { return Ok(()) };
        let buffers: Vec<Buffer<'_>> = state
            .buffers
            .iter()
            // SAFETY: the buffers are alive, since the state is borrowed, and initialised when allocated.
            .map(|(&start, &bytes)| Buffer { start, contents: unsafe { slice(start, bytes) } })
            .collect();
        let result = record::replay(launch, &buffers, schedule, scratch);
        // A file that cannot be removed is in nobody's way.
        let _ = std::fs::remove_file(scratch);
        result.map_err(|problem| {
            DriverError::failed(format!("{} with AddressSanitizer", launch.kernel), problem)
        })
    }
}

impl State {
    /// The address of `bytes` bytes that lie within one buffer.
    fn inside(&self, operation: &str, address: Address, bytes: usize) -> Result<usize, DriverError> {
        let at = address.0 as usize;
        let holds = |(&start, &length): (&usize, &usize)| {
            at.checked_sub(start).is_some_and(|offset| bytes <= length && offset <= length - bytes)
        };
        if self.buffers.range(..=at).next_back().is_some_and(holds) {
            return Ok(at);
        }
        Err(DriverError::failed(operation, format!("{bytes} bytes at {address} lie within no buffer")))
    }

    fn multiply(&self, product: &Product) -> Result<(), DriverError> {
        let &Product { x, weights, out, rows, outputs, columns, add } = product;
        let number = |bits: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*bits)) << 16);
        let numbers = |address, rows: usize| -> Result<Vec<f32>, DriverError> {
            let bytes = rows * columns * 2;
            // SAFETY: it lies within a live buffer, which is initialised when it is allocated.
            let bytes = unsafe { slice(self.inside("multiply", address, bytes)?, bytes) };
            Ok(bytes.as_chunks::<2>().0.iter().map(number).collect())
        };
        let (x, weights) = (numbers(x, rows)?, numbers(weights, outputs)?);
        let out = self.inside("multiply", out, rows * outputs * 4)? as *mut f32;
        for (row, x) in x.chunks(columns).enumerate() {
            for (output, (sum, _)) in gemv(&weights, x).into_iter().enumerate() {
                // SAFETY: it lies within the output, as was found above; buffers are aligned and initialised.
                unsafe {
                    let at = out.add(row * outputs + output);
                    *at = if add { *at + sum as f32 } else { sum as f32 };
                }
            }
        }
        Ok(())
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// # Safety
/// A live buffer, which nobody writes to meanwhile.
unsafe fn slice<'a>(start: usize, bytes: usize) -> &'a [u8] {
    // SAFETY: as the caller promises; buffers are initialised when they are allocated.
    unsafe { std::slice::from_raw_parts(start as *const u8, bytes) }
}

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.checked_add(2 * GUARD_BYTES)?, ALIGN_BYTES).ok()
}

impl Driver for Emulator {
    fn allocate(&self, bytes: usize) -> Result<Address, DriverError> {
        let layout = layout(bytes).ok_or(DriverError::OutOfMemory { bytes })?;
        if self.state().capture.is_some() {
            return Err(DriverError::failed("allocate", "a graph is being captured"));
        }
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: all of it was just allocated. All ones is NaN as any float, and no plausible index.
        unsafe { std::ptr::write_bytes(start, 0xff, layout.size()) };
        let at = start as usize + GUARD_BYTES;
        self.state().buffers.insert(at, bytes);
        Ok(Address(at as u64))
    }

    fn free(&self, address: Address) {
        let removed = self.state().buffers.remove(&(address.0 as usize));
        if let Some(layout) = removed.and_then(layout) {
            // SAFETY: it was allocated so, and is known no longer.
            unsafe { dealloc((address.0 as usize - GUARD_BYTES) as *mut u8, layout) };
        }
    }

    fn upload(&self, _stream: Stream, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        let state = self.state();
        let to = state.inside("upload", to, bytes.len())?;
        // SAFETY: it lies within a live buffer, which is none of the caller's memory.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
        Ok(())
    }

    fn download(&self, _stream: Stream, from: Address, bytes: &mut [u8]) -> Result<(), DriverError> {
        let state = self.state();
        if state.capture.is_some() {
            return Err(DriverError::failed("download", "a graph is being captured"));
        }
        let from = state.inside("download", from, bytes.len())?;
        // SAFETY: it lies within a live buffer.
        bytes.copy_from_slice(unsafe { slice(from, bytes.len()) });
        Ok(())
    }

    fn begin_download(&self, from: Address, bytes: usize) -> Result<Download, DriverError> {
        let mut copied = vec![0; bytes];
        self.download(Stream::Compute, from, &mut copied)?;
        let mut state = self.state();
        let number = state.number();
        state.copied.insert(number, copied);
        Ok(Download(number))
    }

    fn finish_download(&self, download: Download, bytes: &mut [u8]) -> Result<(), DriverError> {
        let copied = self.state().copied.remove(&download.0).filter(|copied| copied.len() == bytes.len());
        let copied = copied.ok_or_else(|| DriverError::failed("download", "no such copy was begun"))?;
        bytes.copy_from_slice(&copied);
        Ok(())
    }

    fn copy(&self, _stream: Stream, from: Address, to: Address, bytes: usize) -> Result<(), DriverError> {
        self.do_or_capture(Step::Copy { from, to, bytes })
    }

    fn fill(&self, _stream: Stream, at: Address, value: u8, bytes: usize) -> Result<(), DriverError> {
        self.do_or_capture(Step::Fill { at, value, bytes })
    }

    fn launch(&self, launch: &Launch) -> Result<(), DriverError> {
        self.do_or_capture(Step::Launch(launch.clone()))
    }

    fn multiply(&self, product: &Product) -> Result<bool, DriverError> {
        if self.library {
            self.do_or_capture(Step::Multiply(*product))?;
        }
        Ok(self.library)
    }

    fn record(&self, stream: Stream) -> Result<Event, DriverError> {
        let mut state = self.state();
        let number = state.number();
        state.events.insert(number, stream);
        Ok(Event(number))
    }

    fn wait(&self, _stream: Stream, event: Event) -> Result<(), DriverError> {
        match self.state().events.remove(&event.0) {
            Some(_) => Ok(()),
            None => Err(DriverError::failed("wait", "there is no such event")),
        }
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        match self.state().capture {
            None => Ok(()),
            Some(_) => Err(DriverError::failed("synchronize", "a graph is being captured")),
        }
    }

    fn begin_capture(&self) -> Result<(), DriverError> {
        let mut state = self.state();
        match state.capture.replace(Vec::new()) {
            None => Ok(()),
            Some(_) => Err(DriverError::failed("begin capture", "a graph is being captured")),
        }
    }

    fn end_capture(&self) -> Result<Graph, DriverError> {
        let mut state = self.state();
        let steps = state.capture.take();
        let steps = steps.ok_or_else(|| DriverError::failed("end capture", "no graph is being captured"))?;
        let number = state.number();
        state.graphs.insert(number, steps);
        Ok(Graph(number))
    }

    fn launch_graph(&self, graph: Graph) -> Result<(), DriverError> {
        let mut state = self.state();
        let steps = state.graphs.get(&graph.0).cloned();
        let steps = steps.ok_or_else(|| DriverError::failed("launch graph", "there is no such graph"))?;
        steps.iter().try_for_each(|step| self.run(&mut state, step))
    }

    fn free_graph(&self, graph: Graph) {
        self.state().graphs.remove(&graph.0);
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let left: Vec<usize> = self.state().buffers.keys().copied().collect();
        for address in left {
            self.free(Address(address as u64));
        }
    }
}
