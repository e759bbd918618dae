//! [`Recorder`]: a driver that does nothing but check what it is asked for, and remember it. Sizes, alignment and lifetimes
//! of memory; that what one stream touches another has waited for; that a captured step neither allocates, frees nor
//! waits; that a graph's memory outlives it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lockgate_kernels::cuda::driver::{
    Address, Argument, Download, Driver, DriverError, Event, Graph, Launch, Product, Stream,
};

/// Where the addresses that it gives out begin; no process has memory there.
const FIRST_ADDRESS: u64 = 1 << 52;
const ALIGN_BYTES: u64 = 256;
/// What a kernel's arrays must be aligned to: the widest vectors that it reads.
const ARGUMENT_ALIGN_BYTES: u64 = 16;
const SHARED_BYTES_MAX: usize = 99 * 1024;

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// A kernel's launch.
    Launch(Launch),
    /// A product by the library.
    Multiply(Product),
    /// A copy to the device.
    Upload(Stream, Address, usize),
    /// A copy from the device.
    Download(Stream, Address, usize),
    /// A wait for a copy from the device that was begun.
    Wait(Download),
    /// A copy within it.
    Copy(Stream, Address, Address, usize),
    /// Bytes set.
    Fill(Stream, Address, usize),
    /// A graph's launch.
    Graph(Graph),
}

/// How far each stream had come: what has happened on the streams themselves, or what one knows of the other.
type Clock = [u64; 2];

#[derive(Debug)]
struct Memory {
    bytes: usize,
    /// Of each stream, when it last touched the memory.
    touched: Clock,
}

#[derive(Debug, Default)]
struct State {
    memory: BTreeMap<u64, Memory>,
    freed: BTreeSet<u64>,
    next: u64,
    /// Of each stream, what it knows of both.
    known: [Clock; 2],
    events: BTreeMap<u64, Clock>,
    capture: Option<BTreeSet<u64>>,
    /// Bytes of each copy that was begun, and when.
    downloads: BTreeMap<u64, (usize, u64)>,
    /// The memory that each graph uses.
    graphs: BTreeMap<u64, BTreeSet<u64>>,
    operations: Vec<Operation>,
    violations: Vec<String>,
}

/// A driver for tests of launchers and of what captures graphs.
#[derive(Debug, Default)]
pub struct Recorder {
    state: Mutex<State>,
    library: bool,
}

impl Recorder {
    /// One that has seen nothing.
    #[must_use]
    pub fn new() -> Recorder {
        Recorder::default()
    }

    /// The same, with a library of products.
    #[must_use]
    pub fn with_library(self) -> Recorder {
        Recorder { library: true, ..self }
    }

    /// What was asked for since the last call.
    #[must_use]
    pub fn take_operations(&self) -> Vec<Operation> {
        std::mem::take(&mut self.state().operations)
    }

    /// What was wrong and could not be answered with an error.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Compute => 0,
        Stream::Copy => 1,
    }
}

impl State {
    /// Notes that a stream touches memory, which must be alive, as long as that, and known to be left by the other.
    fn touch(
        &mut self,
        operation: &str,
        stream: Stream,
        at: Address,
        bytes: usize,
    ) -> Result<(), DriverError> {
        let fail = |problem: String| Err(DriverError::failed(operation, problem));
        let Some((&start, memory)) = self.memory.range_mut(..=at.0).next_back() else {
            return fail(format!("{at} was never allocated"));
        };
        let offset = at.0 - start;
        // An empty buffer may be named, and nothing else at its end.
        let ends = offset.saturating_add(bytes as u64);
        if ends > memory.bytes as u64 || offset > 0 && offset == memory.bytes as u64 {
            let was = if self.freed.range(..=at.0).next_back().is_some_and(|freed| *freed > start) {
                "was freed"
            } else {
                "is beyond its buffer"
            };
            return fail(format!("{bytes} bytes at {at}: that {was}"));
        }
        let (own, other) = (index(stream), 1 - index(stream));
        if memory.touched[other] > self.known[own][other] {
            return fail(format!("the other stream may still be at work on {at}: no event between"));
        }
        memory.touched[own] = self.known[own][own] + 1;
        if let Some(capture) = &mut self.capture
            && stream == Stream::Compute
        {
            capture.insert(start);
        }
        Ok(())
    }

    fn advance(&mut self, stream: Stream) {
        let own = index(stream);
        self.known[own][own] += 1;
    }

    fn not_capturing(&self, operation: &str) -> Result<(), DriverError> {
        match self.capture {
            None => Ok(()),
            Some(_) => Err(DriverError::failed(operation, "a graph is being captured")),
        }
    }

    /// The host has waited for a stream: whatever is asked for from now on comes after all that it did.
    fn waited(&mut self, stream: usize) {
        let done = self.known[stream][stream];
        for known in &mut self.known {
            known[stream] = known[stream].max(done);
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Driver for Recorder {
    fn allocate(&self, bytes: usize) -> Result<Address, DriverError> {
        let mut state = self.state();
        state.not_capturing("allocate")?;
        let last = state.memory.last_key_value().map(|(start, memory)| start + memory.bytes as u64);
        let freed = state.freed.last().copied().unwrap_or(0);
        // Never the same address twice, so that what was freed is known by it.
        let after = last.unwrap_or(FIRST_ADDRESS).max(freed + ALIGN_BYTES);
        let start = after.next_multiple_of(ALIGN_BYTES) + ALIGN_BYTES;
        state.memory.insert(start, Memory { bytes, touched: [0; 2] });
        Ok(Address(start))
    }

    fn free(&self, address: Address) {
        let mut state = self.state();
        if state.memory.remove(&address.0).is_none() {
            state.violations.push(format!("{address} was freed and is not allocated"));
        }
        if state.capture.is_some() {
            state.violations.push(format!("{address} was freed while a graph was captured"));
        }
        if state.graphs.values().any(|memory| memory.contains(&address.0)) {
            state.violations.push(format!("{address} was freed before a graph that uses it"));
        }
        state.freed.insert(address.0);
    }

    fn upload(&self, stream: Stream, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        let mut state = self.state();
        if stream == Stream::Compute {
            state.not_capturing("upload")?;
        }
        state.touch("upload", stream, to, bytes.len())?;
        state.advance(stream);
        state.operations.push(Operation::Upload(stream, to, bytes.len()));
        Ok(())
    }

    fn download(&self, stream: Stream, from: Address, bytes: &mut [u8]) -> Result<(), DriverError> {
        let mut state = self.state();
        state.not_capturing("download")?;
        state.touch("download", stream, from, bytes.len())?;
        state.advance(stream);
        state.waited(index(stream));
        bytes.fill(0);
        state.operations.push(Operation::Download(stream, from, bytes.len()));
        Ok(())
    }

    fn begin_download(&self, from: Address, bytes: usize) -> Result<Download, DriverError> {
        let mut state = self.state();
        state.not_capturing("download")?;
        state.touch("download", Stream::Compute, from, bytes)?;
        state.advance(Stream::Compute);
        let (number, begun) = (state.number(), state.known[0][0]);
        state.downloads.insert(number, (bytes, begun));
        state.operations.push(Operation::Download(Stream::Compute, from, bytes));
        Ok(Download(number))
    }

    fn finish_download(&self, download: Download, bytes: &mut [u8]) -> Result<(), DriverError> {
        let mut state = self.state();
        state.not_capturing("download")?;
        let begun = state.downloads.remove(&download.0).filter(|(length, _)| *length == bytes.len());
        let Some((_, begun)) = begun else {
            return Err(DriverError::failed("download", "no such copy was begun"));
        };
        // Of what came behind it nothing is known.
        state.known[1][0] = state.known[1][0].max(begun);
        bytes.fill(0);
        state.operations.push(Operation::Wait(download));
        Ok(())
    }

    fn copy(&self, stream: Stream, from: Address, to: Address, bytes: usize) -> Result<(), DriverError> {
        let mut state = self.state();
        state.touch("copy", stream, from, bytes)?;
        state.touch("copy", stream, to, bytes)?;
        state.advance(stream);
        state.operations.push(Operation::Copy(stream, from, to, bytes));
        Ok(())
    }

    fn fill(&self, stream: Stream, at: Address, _value: u8, bytes: usize) -> Result<(), DriverError> {
        let mut state = self.state();
        state.touch("fill", stream, at, bytes)?;
        state.advance(stream);
        state.operations.push(Operation::Fill(stream, at, bytes));
        Ok(())
    }

    fn launch(&self, launch: &Launch) -> Result<(), DriverError> {
        let fail = |problem: String| Err(DriverError::failed(launch.kernel, problem));
        let threads: u64 = launch.block.iter().map(|&size| u64::from(size)).product();
        let blocks: u64 = launch.grid.iter().map(|&size| u64::from(size)).product();
        if threads == 0 || threads > 1024 || blocks == 0 {
            return fail(format!("{blocks} blocks of {threads} threads"));
        }
        if launch.shared_bytes > SHARED_BYTES_MAX {
            return fail(format!("{} bytes of shared memory: not every card has them", launch.shared_bytes));
        }
        let Some(kernel) = crate::native::kernels().into_iter().find(|kernel| kernel.name == launch.kernel)
        else {
            return fail("no such kernel".to_owned());
        };
        let given: Vec<usize> = launch.arguments.iter().map(Argument::bytes).collect();
        if given != kernel.parameter_bytes {
            return fail(format!("arguments of {given:?} bytes, not {:?}", kernel.parameter_bytes));
        }
        let mut state = self.state();
        for argument in &launch.arguments {
            if let Argument::Pointer(address) = *argument {
                if !address.0.is_multiple_of(ARGUMENT_ALIGN_BYTES) {
                    return fail(format!("{address} is not aligned to {ARGUMENT_ALIGN_BYTES} bytes"));
                }
                state.touch(launch.kernel, Stream::Compute, address, 0)?;
            }
        }
        state.advance(Stream::Compute);
        state.operations.push(Operation::Launch(launch.clone()));
        Ok(())
    }

    fn multiply(&self, product: &Product) -> Result<bool, DriverError> {
        if !self.library {
            return Ok(false);
        }
        let fail = |problem: String| Err(DriverError::failed("multiply", problem));
        let Product { x, weights, out, rows, outputs, columns, .. } = *product;
        if rows == 0 || outputs == 0 || columns == 0 {
            return fail(format!("{rows} rows, {outputs} outputs, {columns} columns"));
        }
        if out == x || out == weights {
            return fail("the output is what it is made of".to_owned());
        }
        let mut state = self.state();
        for (address, bytes) in
            [(x, rows * columns * 2), (weights, outputs * columns * 2), (out, rows * outputs * 4)]
        {
            if !address.0.is_multiple_of(ALIGN_BYTES) {
                return fail(format!("{address} is not aligned to {ALIGN_BYTES} bytes"));
            }
            state.touch("multiply", Stream::Compute, address, bytes)?;
        }
        state.advance(Stream::Compute);
        state.operations.push(Operation::Multiply(*product));
        Ok(true)
    }

    fn record(&self, stream: Stream) -> Result<Event, DriverError> {
        let mut state = self.state();
        let (number, clock) = (state.number(), state.known[index(stream)]);
        state.events.insert(number, clock);
        Ok(Event(number))
    }

    fn wait(&self, stream: Stream, event: Event) -> Result<(), DriverError> {
        let mut state = self.state();
        let Some(clock) = state.events.remove(&event.0) else {
            return Err(DriverError::failed("wait", "there is no such event, or it was waited for"));
        };
        let known = &mut state.known[index(stream)];
        for (known, clock) in known.iter_mut().zip(clock) {
            *known = (*known).max(clock);
        }
        Ok(())
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        let mut state = self.state();
        state.not_capturing("synchronize")?;
        state.waited(0);
        state.waited(1);
        Ok(())
    }

    fn begin_capture(&self) -> Result<(), DriverError> {
        let mut state = self.state();
        state.not_capturing("begin capture")?;
        state.capture = Some(BTreeSet::new());
        Ok(())
    }

    fn end_capture(&self) -> Result<Graph, DriverError> {
        let mut state = self.state();
        let Some(memory) = state.capture.take() else {
            return Err(DriverError::failed("end capture", "no graph is being captured"));
        };
        let number = state.number();
        state.graphs.insert(number, memory);
        Ok(Graph(number))
    }

    fn launch_graph(&self, graph: Graph) -> Result<(), DriverError> {
        let mut state = self.state();
        state.not_capturing("launch graph")?;
        let Some(memory) = state.graphs.get(&graph.0).cloned() else {
            return Err(DriverError::failed("launch graph", "there is no such graph"));
        };
        for start in memory {
            state.touch("launch graph", Stream::Compute, Address(start), 0)?;
        }
        state.advance(Stream::Compute);
        state.operations.push(Operation::Graph(graph));
        Ok(())
    }

    fn free_graph(&self, graph: Graph) {
        let mut state = self.state();
        if state.graphs.remove(&graph.0).is_none() {
            state.violations.push("a graph was freed that is not there".to_owned());
        }
    }
}
