//! [`Card`]: the driver of a graphics card, loaded at run time. Every way in which there is none, or none of use, is a
//! line that says what is missing; nothing panics for want of a library.
//!
//! One context, one stream for kernels and one for copies. Modules are loaded when it is opened; a kernel is looked up
//! when it is first launched, which should be before a graph with it is captured.
#![allow(unsafe_code, reason = "the driver is a C library")]

mod describe;
pub(super) mod library;
mod transfers;

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cudarc::driver::{result, sys};

use describe::describe;
use library::Library;
use transfers::Transfers;

use super::cards::CardInfo;
use super::driver::{Address, Download, Driver, DriverError, Event, Graph, Launch, Product, Stream};
use super::modules::Module;

/// The oldest cards that begin a kernel before the one in front of it is done.
const EARLY_CAPABILITY_MIN: (i32, i32) = (9, 0);
/// Dynamic shared memory that a kernel has without asking.
const SHARED_BYTES_FREE: usize = 48 * 1024;

struct Function {
    handle: sys::CUfunction,
    shared_bytes: usize,
}

#[derive(Default)]
struct State {
    functions: HashMap<&'static str, Function>,
    events: HashMap<u64, sys::CUevent>,
    graphs: HashMap<u64, (sys::CUgraph, sys::CUgraphExec)>,
    next: u64,
}

/// An open card.
pub struct Card {
    info: CardInfo,
    device: sys::CUdevice,
    context: sys::CUcontext,
    streams: [sys::CUstream; 2],
    modules: Vec<sys::CUmodule>,
    transfers: Transfers,
    library: Mutex<Option<Library>>,
    state: Mutex<State>,
}

// SAFETY: the driver's handles may be used from any thread that has made the context its own, as every call here does.
unsafe impl Send for Card {}
// SAFETY: as above; what changes is behind a lock.
unsafe impl Sync for Card {}

impl std::fmt::Debug for Card {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Card").field("info", &self.info).finish_non_exhaustive()
    }
}

fn failed(operation: &str) -> impl Fn(result::DriverError) -> DriverError {
    let operation = operation.to_owned();
    move |error| {
        let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
        DriverError::failed(operation.clone(), text.unwrap_or_else(|_| "an unknown error".to_owned()))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable(problem: impl Into<String>) -> DriverError {
    DriverError::Unavailable(problem.into())
}

impl Card {
    /// What there is, without opening it: every card that the driver shows, in order.
    ///
    /// # Errors
    /// There is no driver, or none that answers.
    pub fn list() -> Result<Vec<CardInfo>, DriverError> {
        // SAFETY: looks for the library and loads nothing else.
        if !unsafe { sys::is_culib_present() } {
            return Err(unavailable(
                "libcuda.so.1, which comes with NVIDIA's driver, is not on this machine",
            ));
        }
        result::init().map_err(|error| unavailable(failed("start")(error).to_string()))?;
        let count = result::device::get_count().map_err(failed("count of cards"))?;
        (0..count).map(|ordinal| describe(ordinal).map(|(_, info)| info)).collect()
    }

    /// Opens a card and loads the kernels.
    ///
    /// # Errors
    /// There is no such card, its driver or itself is too old, or the driver's.
    pub fn open(ordinal: usize, modules: &[Module]) -> Result<Card, DriverError> {
        let cards = Card::list()?;
        let missing = || unavailable(format!("there is no card {ordinal}; the driver shows {}", cards.len()));
        let info = cards.get(ordinal).ok_or_else(missing)?.clone();
        info.check()?;
        let number = i32::try_from(ordinal).map_err(|_| missing())?;
        let (device, _) = describe(number)?;
        // SAFETY: the device exists; the context is released when the card is dropped.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(failed("context"))?;
        let mut card = Card {
            info,
            device,
            context,
            streams: [std::ptr::null_mut(); 2],
            modules: Vec::new(),
            transfers: Transfers::default(),
            library: Mutex::default(),
            state: Mutex::default(),
        };
        card.enter()?;
        card.transfers.open()?;
        // One that cannot be opened is as good as none: our own kernels do the same.
        *locked(&card.library) = Library::open().unwrap_or_default();
        for stream in &mut card.streams {
            *stream =
                result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed("stream"))?;
        }
        for (name, bytes) in modules {
            // SAFETY: the bytes are a whole module, which knows its own length, and outlive the call.
            let module = unsafe { result::module::load_data(bytes.as_ptr().cast()) };
            card.modules.push(module.map_err(failed(&format!("module {name}")))?);
        }
        Ok(card)
    }

    /// What it says of itself.
    #[must_use]
    pub fn info(&self) -> &CardInfo {
        &self.info
    }

    /// Memory that is free and that there is, in bytes.
    ///
    /// # Errors
    /// The driver's.
    pub fn memory(&self) -> Result<(usize, usize), DriverError> {
        self.enter()?;
        result::mem_get_info().map_err(failed("memory"))
    }

    fn enter(&self) -> Result<(), DriverError> {
        // SAFETY: the context is retained for as long as the card lives.
        unsafe { result::ctx::set_current(self.context) }.map_err(failed("context"))
    }

    fn stream(&self, stream: Stream) -> sys::CUstream {
        match stream {
            Stream::Compute => self.streams[0],
            Stream::Copy => self.streams[1],
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// The kernel, allowed as much shared memory as this launch wants.
    fn function(&self, launch: &Launch) -> Result<sys::CUfunction, DriverError> {
        let mut state = self.state();
        if !state.functions.contains_key(launch.kernel) {
            let handle = self.find(launch.kernel)?;
            state.functions.insert(launch.kernel, Function { handle, shared_bytes: SHARED_BYTES_FREE });
        }
        let Some(function) = state.functions.get_mut(launch.kernel) else {
            return Err(DriverError::failed(launch.kernel, "no such kernel"));
        };
        if launch.shared_bytes > function.shared_bytes {
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = i32::try_from(launch.shared_bytes).unwrap_or(i32::MAX);
            // SAFETY: the function belongs to a loaded module.
            unsafe { result::function::set_function_attribute(function.handle, attribute, bytes) }
                .map_err(failed(launch.kernel))?;
            function.shared_bytes = launch.shared_bytes;
        }
        Ok(function.handle)
    }

    fn find(&self, kernel: &str) -> Result<sys::CUfunction, DriverError> {
        for &module in &self.modules {
            let name = CString::new(kernel).map_err(|_| DriverError::failed(kernel, "holds a zero"))?;
            // SAFETY: the module is loaded.
            match unsafe { result::module::get_function(module, name) } {
                Ok(function) => return Ok(function),
                Err(result::DriverError(sys::CUresult::CUDA_ERROR_NOT_FOUND)) => {}
                Err(error) => return Err(failed(kernel)(error)),
            }
        }
        Err(DriverError::failed(kernel, "no module has such a kernel"))
    }
}

impl Driver for Card {
    fn allocate(&self, bytes: usize) -> Result<Address, DriverError> {
        self.enter()?;
        // The driver knows no empty allocation.
        // SAFETY: the context is current.
        match unsafe { result::malloc_sync(bytes.max(1)) } {
            Ok(address) => Ok(Address(address)),
            Err(result::DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                Err(DriverError::OutOfMemory { bytes })
            }
            Err(error) => Err(failed("allocate")(error)),
        }
    }

    fn free(&self, address: Address) {
        if self.enter().is_ok() {
            // SAFETY: it was allocated here and is freed once; the driver waits for what uses it. An error is one of
            // earlier work, which the next call reports.
            let _ = unsafe { result::memory_free(address.0) };
        }
    }

    fn upload(&self, stream: Stream, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        self.enter()?;
        self.transfers.upload(self.stream(stream), stream == Stream::Compute, to, bytes)
    }

    fn download(&self, stream: Stream, from: Address, bytes: &mut [u8]) -> Result<(), DriverError> {
        self.enter()?;
        self.transfers.download(self.stream(stream), stream == Stream::Compute, from, bytes)
    }

    fn begin_download(&self, from: Address, bytes: usize) -> Result<Download, DriverError> {
        self.enter()?;
        self.transfers.begin_download(self.stream(Stream::Compute), from, bytes)
    }

    fn finish_download(&self, download: Download, bytes: &mut [u8]) -> Result<(), DriverError> {
        self.enter()?;
        self.transfers.finish_download(download, bytes)
    }

    fn copy(&self, stream: Stream, from: Address, to: Address, bytes: usize) -> Result<(), DriverError> {
        if bytes == 0 {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: the caller's addresses hold as many bytes.
        unsafe { result::memcpy_dtod_async(to.0, from.0, bytes, self.stream(stream)) }.map_err(failed("copy"))
    }

    fn fill(&self, stream: Stream, at: Address, value: u8, bytes: usize) -> Result<(), DriverError> {
        if bytes == 0 {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: the caller's address holds as many bytes.
        unsafe { result::memset_d8_async(at.0, value, bytes, self.stream(stream)) }.map_err(failed("fill"))
    }

    fn launch(&self, launch: &Launch) -> Result<(), DriverError> {
        self.enter()?;
        let function = self.function(launch)?;
        let mut values: Vec<[u8; 8]> = launch.arguments.iter().map(|argument| argument.value()).collect();
        let mut pointers: Vec<*mut c_void> =
            values.iter_mut().map(|value| value.as_mut_ptr().cast()).collect();
        let mut early = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let ([x, y, z], [width, height, depth]) = (launch.grid, launch.block);
        let shape = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: width,
            blockDimY: height,
            blockDimZ: depth,
            sharedMemBytes: u32::try_from(launch.shared_bytes).unwrap_or(u32::MAX),
            hStream: self.streams[0],
            attrs: &raw mut early,
            // A capture makes of it an edge of the same kind.
            numAttrs: u32::from(launch.early && self.info.capability >= EARLY_CAPABILITY_MIN),
        };
        // SAFETY: the launchers give each kernel the arguments that it takes, as tests of every one of them with a driver
        // that checks sizes show; the driver has copied them, and the shape, when this returns.
        let launched = unsafe {
            sys::cuLaunchKernelEx(&raw const shape, function, pointers.as_mut_ptr(), std::ptr::null_mut())
        };
        launched.result().map_err(failed(launch.kernel))
    }

    fn multiply(&self, product: &Product) -> Result<bool, DriverError> {
        self.enter()?;
        match &mut *locked(&self.library) {
            Some(library) => library.multiply(product, self.stream(Stream::Compute)),
            None => Ok(false),
        }
    }

    fn record(&self, stream: Stream) -> Result<Event, DriverError> {
        self.enter()?;
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        let event = result::event::create(flags).map_err(failed("event"))?;
        // SAFETY: both were made here.
        if let Err(error) = unsafe { result::event::record(event, self.stream(stream)) } {
            // SAFETY: nobody else knows it.
            let _ = unsafe { result::event::destroy(event) };
            return Err(failed("event")(error));
        }
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.events.insert(number, event);
        Ok(Event(number))
    }

    fn wait(&self, stream: Stream, event: Event) -> Result<(), DriverError> {
        self.enter()?;
        let event = self.state().events.remove(&event.0);
        let event = event.ok_or_else(|| DriverError::failed("wait", "there is no such event"))?;
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: both were made here.
        let waited = unsafe { result::stream::wait_event(self.stream(stream), event, flags) };
        // SAFETY: nobody else knows it; the driver keeps it for as long as a stream waits.
        let _ = unsafe { result::event::destroy(event) };
        waited.map_err(failed("wait"))
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        self.enter()?;
        [Stream::Copy, Stream::Compute].into_iter().try_for_each(|stream| {
            self.transfers.finish(self.stream(stream), stream == Stream::Compute, "synchronize")
        })
    }

    fn begin_capture(&self) -> Result<(), DriverError> {
        self.enter()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is this card's.
        unsafe { result::stream::begin_capture(self.streams[0], mode) }.map_err(failed("begin capture"))
    }

    fn end_capture(&self) -> Result<Graph, DriverError> {
        self.enter()?;
        // SAFETY: the stream is this card's.
        let graph = unsafe { result::stream::end_capture(self.streams[0]) }.map_err(failed("end capture"))?;
        if graph.is_null() {
            return Err(DriverError::failed("end capture", "the capture was broken off by what it captured"));
        }
        // SAFETY: the graph is whole.
        let executable = match unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) }
        {
            Ok(executable) => executable,
            Err(error) => {
                // SAFETY: nobody else knows it.
                let _ = unsafe { result::graph::destroy(graph) };
                return Err(failed("graph")(error));
            }
        };
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.graphs.insert(number, (graph, executable));
        Ok(Graph(number))
    }

    fn launch_graph(&self, graph: Graph) -> Result<(), DriverError> {
        self.enter()?;
        let executable = self.state().graphs.get(&graph.0).map(|graph| graph.1);
        let executable =
            executable.ok_or_else(|| DriverError::failed("launch graph", "there is no such graph"))?;
        // SAFETY: both were made here; whoever captured it keeps its memory.
        unsafe { result::graph::launch(executable, self.streams[0]) }.map_err(failed("launch graph"))
    }

    fn free_graph(&self, graph: Graph) {
        let removed = self.state().graphs.remove(&graph.0);
        if let (Some((graph, executable)), Ok(())) = (removed, self.enter()) {
            // SAFETY: both were made here and are known no longer. An error is one of earlier work.
            let _ = unsafe { (result::graph::exec_destroy(executable), result::graph::destroy(graph)) };
        }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if self.enter().is_err() {
            // The driver has taken all of it back, and would not know what it is told of.
            std::mem::forget(locked(&self.library).take());
            return;
        }
        // Nothing can be done about errors here: the card is gone, or earlier work failed.
        let _ = self.synchronize();
        let state = std::mem::take(&mut *self.state());
        for (graph, executable) in state.graphs.into_values() {
            // SAFETY: both were made here.
            let _ = unsafe { (result::graph::exec_destroy(executable), result::graph::destroy(graph)) };
        }
        for event in state.events.into_values() {
            // SAFETY: it was made here.
            let _ = unsafe { result::event::destroy(event) };
        }
        for stream in self.streams.into_iter().filter(|stream| !stream.is_null()) {
            // SAFETY: it was made here; the driver finishes what is on it.
            let _ = unsafe { result::stream::destroy(stream) };
        }
        drop(locked(&self.library).take());
        self.transfers.close();
        for module in self.modules.drain(..) {
            // SAFETY: it was loaded here, and its kernels are used no longer.
            let _ = unsafe { result::module::unload(module) };
        }
        // SAFETY: it was retained when the card was opened.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_card_is_told_so() {
        // Where there is one, that it has a name is all that holds everywhere.
        match Card::list() {
            Ok(cards) => {
                assert!(cards.iter().all(|card| !card.name.is_empty()));
                let error = Card::open(cards.len(), &[]).expect_err("one too many").to_string();
                assert!(error.contains("there is no card"), "{error}");
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.starts_with("no CUDA device can be used: "), "{text}");
                assert_eq!(Card::open(0, &[]).err(), Some(error));
            }
        }
    }
}
