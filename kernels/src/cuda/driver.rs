//! [`Driver`]: the few operations of a CUDA driver that the launchers need. Two streams (compute and copies), events
//! between them, and one graph at a time under capture; memory is named by its address on the device.

use std::fmt;

use thiserror::Error;

/// An address on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u64);

impl Address {
    /// The address `bytes` further on.
    #[must_use]
    pub fn offset(self, bytes: usize) -> Address {
        Address(self.0 + bytes as u64)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#x}", self.0)
    }
}

/// A stream: what is put on one happens in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Kernels, and copies between them.
    Compute,
    /// Copies that overlap with kernels.
    Copy,
}

/// A point in a stream that another can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event(pub u64);

/// A copy from the device that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Download(pub u64);

/// Captured launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Graph(pub u64);

/// One argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// Device memory.
    Pointer(Address),
    /// An optional array that is not there.
    Null,
    /// An unsigned number.
    U32(u32),
    /// An unsigned number of 64 bits.
    U64(u64),
    /// A number.
    F32(f32),
}

impl Argument {
    /// Its size in the kernel's parameters, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Argument::U32(_) | Argument::F32(_) => 4,
            Argument::Pointer(_) | Argument::Null | Argument::U64(_) => 8,
        }
    }

    /// Its value as the kernel reads it, in the first [`Argument::bytes`] bytes.
    #[must_use]
    pub fn value(&self) -> [u8; 8] {
        let word = match *self {
            Argument::Pointer(address) => address.0,
            Argument::Null => 0,
            Argument::U32(value) => u64::from(value),
            Argument::U64(value) => value,
            Argument::F32(value) => u64::from(value.to_bits()),
        };
        word.to_le_bytes()
    }
}

/// A kernel's launch on the compute stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The kernel's name in its module.
    pub kernel: &'static str,
    /// Blocks in each dimension.
    pub grid: [u32; 3],
    /// Threads of a block in each dimension.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: usize,
    /// Whether it may begin before what is in front of it on the stream is done, where the device can do that: it waits
    /// itself, before it touches memory.
    pub early: bool,
    /// The arguments, in the order of the kernel's parameters.
    pub arguments: Vec<Argument>,
}

/// A product of matrices in bf16 with sums in single precision: `out[row][output] (+)= x[row] · weights[output]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// `[rows][columns]`, bf16.
    pub x: Address,
    /// `[outputs][columns]`, bf16.
    pub weights: Address,
    /// `[rows][outputs]`, single precision.
    pub out: Address,
    /// Rows of activations.
    pub rows: usize,
    /// Rows of weights.
    pub outputs: usize,
    /// Columns of both.
    pub columns: usize,
    /// Whether it is added to what `out` holds.
    pub add: bool,
}

/// Why the device did not do something.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DriverError {
    /// There is no driver, or it is of no use here.
    #[error("no CUDA device can be used: {0}")]
    Unavailable(String),
    /// Not enough memory on the device.
    #[error("the device has no {bytes} bytes of memory left")]
    OutOfMemory {
        /// How many were wanted.
        bytes: usize,
    },
    /// The driver reported an error, or a check found one.
    #[error("{operation}: {problem}")]
    Failed {
        /// What was asked for.
        operation: String,
        /// What the driver said.
        problem: String,
    },
}

impl DriverError {
    /// An error of `operation`.
    pub fn failed(operation: impl Into<String>, problem: impl Into<String>) -> DriverError {
        DriverError::Failed { operation: operation.into(), problem: problem.into() }
    }
}

/// A CUDA driver with one device, as far as the launchers need it. Operations on a stream return before they are done,
/// unless they say otherwise.
///
/// Addresses that a caller gives must come from [`Driver::allocate`] and lie within what it allocated: on a card nobody
/// checks that. [`super::memory`] keeps it so; nothing else calls these functions.
pub trait Driver: fmt::Debug + Send + Sync {
    /// Allocates device memory, aligned to 256 bytes, with undefined contents.
    ///
    /// # Errors
    /// There is not enough.
    fn allocate(&self, bytes: usize) -> Result<Address, DriverError>;

    /// Frees what [`Driver::allocate`] returned, once all that was asked for before is done.
    fn free(&self, address: Address);

    /// Copies to the device; `bytes` may be changed as soon as this returns.
    ///
    /// # Errors
    /// The driver's.
    fn upload(&self, stream: Stream, to: Address, bytes: &[u8]) -> Result<(), DriverError>;

    /// Copies from the device; done when this returns, and with it all that was on the stream before.
    ///
    /// # Errors
    /// The driver's.
    fn download(&self, stream: Stream, from: Address, bytes: &mut [u8]) -> Result<(), DriverError>;

    /// Begins a copy of few bytes from the device, behind all that is on the compute stream by now.
    ///
    /// # Errors
    /// There are too many bytes, or the driver's.
    fn begin_download(&self, from: Address, bytes: usize) -> Result<Download, DriverError>;

    /// Waits for such a copy, which is used up by it, and for nothing that was asked for since.
    ///
    /// # Errors
    /// There is none, it is of another length, or the driver's.
    fn finish_download(&self, download: Download, bytes: &mut [u8]) -> Result<(), DriverError>;

    /// Copies within the device.
    ///
    /// # Errors
    /// The driver's.
    fn copy(&self, stream: Stream, from: Address, to: Address, bytes: usize) -> Result<(), DriverError>;

    /// Sets bytes of the device.
    ///
    /// # Errors
    /// The driver's.
    fn fill(&self, stream: Stream, at: Address, value: u8, bytes: usize) -> Result<(), DriverError>;

    /// Launches a kernel on the compute stream.
    ///
    /// # Errors
    /// The driver's, or that there is no such kernel.
    fn launch(&self, launch: &Launch) -> Result<(), DriverError>;

    /// Multiplies on the compute stream by the vendor's library, whose matrices begin at multiples of 256 bytes. Whether
    /// that was done: not every device has such a library, nor is every shape for it.
    ///
    /// # Errors
    /// The library's.
    fn multiply(&self, product: &Product) -> Result<bool, DriverError>;

    /// Marks this point of the stream.
    ///
    /// # Errors
    /// The driver's.
    fn record(&self, stream: Stream) -> Result<Event, DriverError>;

    /// Has the stream wait for a mark, which is used up by it.
    ///
    /// # Errors
    /// The driver's.
    fn wait(&self, stream: Stream, event: Event) -> Result<(), DriverError>;

    /// Waits until both streams are done.
    ///
    /// # Errors
    /// The driver's, and those of kernels that failed since.
    fn synchronize(&self) -> Result<(), DriverError>;

    /// From here on, work on the compute stream is written down and not done.
    ///
    /// # Errors
    /// A capture is going on, or the driver's.
    fn begin_capture(&self) -> Result<(), DriverError>;

    /// Ends the capture.
    ///
    /// # Errors
    /// None is going on, or the driver's.
    fn end_capture(&self) -> Result<Graph, DriverError>;

    /// Launches a graph on the compute stream.
    ///
    /// # Errors
    /// The driver's.
    fn launch_graph(&self, graph: Graph) -> Result<(), DriverError>;

    /// Forgets a graph.
    fn free_graph(&self, graph: Graph);
}
