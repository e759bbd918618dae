//! What computes a model's layers: the operations of a forward pass, once for each kind of machine that has them.
//!
//! [`Processor`] says what a machine makes of a model's weights, [`Pass`] is one forward pass on it, and [`Batch`] is
//! what is computed, which is decided before and is the same for all. Families (`arch`) are written once in these
//! terms, and neither they nor the scheduler, the sampler or the block table (`kv`) know which machine it is.
//!
//! A processor owns its weights, its pages of the cache and its buffers, in its own memory. An output has one order of
//! operations on it, but two processors need not agree in the last bits.

mod batch;
pub(crate) mod cpu;
pub(crate) mod cuda;

pub(crate) use batch::{AdaptedRows, Batch, Outputs};

use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::memory::OutOfMemory;
use lockgate_kernels::rope::Pairing;

use crate::adapter::Module;
use crate::model::{LoadProblem, StoredMatrix};

/// A kind of machine that computes layers.
pub(crate) trait Processor: Sized + Send + Sync + 'static {
    /// Where a model's weights are put.
    type Home: Sync;
    /// A matrix that rows are multiplied by, or taken from.
    type Matrix: Send + Sync;
    /// Weights of a norm, or a bias.
    type Vector: Send + Sync;
    /// Cosines and sines.
    type Rope: Send + Sync;
    /// One forward pass.
    type Pass<'a>: Pass<Self>;

    /// Reads a matrix and puts it where it is computed with.
    fn matrix(home: &Self::Home, stored: &StoredMatrix<'_>) -> Result<Self::Matrix, LoadProblem>;

    /// Puts numbers where they are computed with.
    fn vector(home: &Self::Home, values: Vec<f32>) -> Result<Self::Vector, LoadProblem>;

    /// Makes the table for these angles.
    fn rope(home: &Self::Home, rotation: &Rotation) -> Result<Self::Rope, LoadProblem>;

    /// Bytes of a matrix that a pass reads.
    fn bytes(matrix: &Self::Matrix) -> u64;
}

/// Rotary positions: what is rotated, and how far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rotation {
    pub(crate) pairing: Pairing,
    /// Of each pair; the angle at a position is the product.
    pub(crate) frequencies: Vec<f64>,
    /// How many positions there are.
    pub(crate) positions: usize,
}

/// A projection: a matrix, what adapters add to its products, and perhaps a bias.
///
/// `out = weights · x (+ adapter) (+ bias)`, as one module of one layer.
pub(crate) struct Linear<P: Processor> {
    pub(crate) weights: P::Matrix,
    pub(crate) bias: Option<P::Vector>,
    pub(crate) layer: usize,
    pub(crate) module: Module,
    pub(crate) outputs: usize,
}

/// The heads of one layer's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    pub(crate) layer: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

/// Why a pass ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PassError {
    /// It was told to stop.
    Stopped,
    /// There was no memory for the attention's scratch.
    Memory(OutOfMemory),
    /// The device failed.
    Device(DriverError),
}

impl From<DriverError> for PassError {
    fn from(error: DriverError) -> Self {
        Self::Device(error)
    }
}

impl From<OutOfMemory> for PassError {
    fn from(error: OutOfMemory) -> Self {
        Self::Memory(error)
    }
}

/// A forward pass: a residual stream of one row a token, and the inputs of the next products.
///
/// All sequences of a batch, prompts and single tokens alike, are rows of the same matrices, so that each weight is
/// read once a pass. Operations come in the order in which a decoder needs them; each uses what the last one left.
pub(crate) trait Pass<P: Processor> {
    /// Fails when the pass has been told to stop.
    fn poll(&self) -> Result<(), PassError>;

    /// Begins the residual stream with the tokens' rows of `embedding`.
    fn embed(&mut self, embedding: &P::Matrix) -> Result<(), PassError>;

    /// Makes the normalised residual the inputs.
    fn normalize(&mut self, weight: &P::Vector, epsilon: f32) -> Result<(), PassError>;

    /// Projects the inputs to queries, keys and values.
    fn project_heads(&mut self, heads: Heads, projections: [&Linear<P>; 3]) -> Result<(), PassError>;

    /// Rotates queries and keys, and puts keys and values into the cache.
    fn rotate_and_keep(&mut self, heads: Heads, rope: &P::Rope) -> Result<(), PassError>;

    /// Makes what the queries attend to the inputs.
    fn attend(&mut self, heads: Heads) -> Result<(), PassError>;

    /// Makes `silu(gate · inputs) ⊙ up · inputs` the inputs.
    fn project_gated(&mut self, gate: &Linear<P>, up: &Linear<P>) -> Result<(), PassError>;

    /// Adds a projection of the inputs to the residual.
    fn add_projection(&mut self, projection: &Linear<P>) -> Result<(), PassError>;

    /// Drops the rows from which nothing is wanted: behind the last attention nobody looks at them any more.
    fn keep_wanted(&mut self) -> Result<(), PassError>;

    /// The last norm. The states that are wanted are set aside; the rows whose logits are wanted become the inputs of
    /// [`Self::project_logits`].
    fn normalize_output(&mut self, weight: &P::Vector, epsilon: f32) -> Result<(), PassError>;

    /// Turns the inputs into logits.
    fn project_logits(&mut self, output: &P::Matrix) -> Result<(), PassError>;

    /// Chooses tokens by the logits of the rows whose consumers want that ([`Batch::choices`]), as the sampler does.
    /// Not the families' concern: it comes behind them, and only where logits were computed.
    fn choose(&mut self) -> Result<(), PassError>;
}
