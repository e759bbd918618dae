//! Reads tensors out of a model file into the layout that a processor computes with, on all threads.
//!
//! Owns the checks that a tensor is there, of the right shape and of a type that has kernels, and that none is left
//! over. Which tensors there are is the business of the family's file under `arch`.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lockgate_kernels::formats::{self, Format};
use lockgate_kernels::matmul::{PackError, PackedMatrix, PanelMut};
use lockgate_kernels::pool::ThreadPool;
use lockgate_kernels::random::RandomWeights;

use super::config::Config;
use super::error::LoadProblem;
use crate::adapter::Module;
use crate::gguf::{Gguf, TensorInfo, TensorType};
use crate::processor::{Linear, Processor, Rotation};

/// How far loading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of weights that have been read.
    pub bytes_read: u64,
    /// Bytes of weights in all.
    pub bytes_total: u64,
}

/// Gets a [`Progress`] about every mebibyte, from any of the threads that load.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);

/// Bytes that a thread reads at a time: enough for a disk to run at full speed, little enough to stay in cache.
const BATCH_BYTES: usize = 1 << 20;

/// The tensors of a file on their way into a model, whichever processors its layers are for.
pub(crate) struct Source<'a> {
    gguf: &'a Gguf,
    config: &'a Config,
    pool: &'a ThreadPool,
    on_progress: OnProgress<'a>,
    bytes_read: AtomicU64,
    bytes_total: u64,
    used: Mutex<HashSet<&'a str>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        gguf: &'a Gguf,
        config: &'a Config,
        pool: &'a ThreadPool,
        on_progress: OnProgress<'a>,
    ) -> Self {
        let bytes_total = gguf.tensors().map(|tensor| tensor.size_bytes).fold(0, u64::saturating_add);
        let (bytes_read, used) = (AtomicU64::new(0), Mutex::default());
        Self { gguf, config, pool, on_progress, bytes_read, bytes_total, used }
    }

    /// Refuses a file with tensors that nobody asked for.
    pub(super) fn finish(&self) -> Result<(), LoadProblem> {
        let used = lock(&self.used);
        match self.gguf.tensors().find(|tensor| !used.contains(tensor.name.as_str())) {
            None => Ok(()),
            Some(tensor) => Err(LoadProblem::UnexpectedTensor {
                tensor: tensor.name.clone(),
                architecture: self.config.architecture.clone(),
            }),
        }
    }

    fn tensor(&self, name: &str, expected: &[u64]) -> Result<&'a TensorInfo, LoadProblem> {
        let tensor = find(self.gguf, name)?;
        if tensor.dimensions != expected {
            let (tensor, found) = (tensor.name.clone(), tensor.dimensions.clone());
            return Err(LoadProblem::Shape { tensor, found, expected: expected.to_vec() });
        }
        lock(&self.used).insert(&tensor.name);
        Ok(tensor)
    }

    fn report(&self, bytes: u64) {
        let bytes_read = self.bytes_read.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // An embedding that is the output as well may be read for two processors.
        let bytes_read = bytes_read.min(self.bytes_total);
        (self.on_progress)(Progress { bytes_read, bytes_total: self.bytes_total });
    }
}

/// Loads a run of a model's layers for one processor.
pub(crate) struct Loader<'a, P: Processor> {
    source: &'a Source<'a>,
    home: &'a P::Home,
    layers: Range<usize>,
}

impl<'a, P: Processor> Loader<'a, P> {
    /// Loads these layers, and with the first and last what belongs before and behind them.
    pub(super) fn new(source: &'a Source<'a>, home: &'a P::Home, layers: Range<usize>) -> Self {
        Self { source, home, layers }
    }

    /// The hyperparameters.
    pub(crate) fn config(&self) -> &'a Config {
        self.source.config
    }

    /// The layers to be loaded.
    pub(crate) fn layers(&self) -> Range<usize> {
        self.layers.clone()
    }

    /// Whether the first layer is among them.
    pub(crate) fn begins(&self) -> bool {
        self.layers.start == 0
    }

    /// Whether the last layer is among them.
    pub(crate) fn ends(&self) -> bool {
        self.layers.end == self.source.config.layers
    }

    /// The matrix `name` with `rows` outputs and `columns` inputs.
    pub(crate) fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<P::Matrix, LoadProblem> {
        let tensor = self.source.tensor(name, &[columns as u64, rows as u64])?;
        let format = format_of(tensor)?;
        P::matrix(self.home, &StoredMatrix { source: self.source, tensor, format, rows, columns })
    }

    /// The matrix `name`, if the file has it.
    pub(crate) fn optional_matrix(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Option<P::Matrix>, LoadProblem> {
        self.source.gguf.tensor(name).map(|_| self.matrix(name, rows, columns)).transpose()
    }

    /// A module's weight, and its bias where the family has one.
    pub(crate) fn linear(
        &self,
        layer: usize,
        module: Module,
        biased: bool,
    ) -> Result<Linear<P>, LoadProblem> {
        let [outputs, inputs] = module.shape(self.config());
        let name = format!("blk.{layer}.{}", module.gguf_name());
        let weights = self.matrix(&format!("{name}.weight"), outputs, inputs)?;
        let bias = biased.then(|| self.vector(&format!("{name}.bias"), outputs)).transpose()?;
        Ok(Linear { weights, bias, layer, module, outputs })
    }

    /// The vector `name` of `length` finite numbers.
    pub(crate) fn vector(&self, name: &str, length: usize) -> Result<P::Vector, LoadProblem> {
        P::vector(self.home, self.numbers(name, length)?)
    }

    /// The table of these angles.
    pub(crate) fn rope(&self, rotation: &Rotation) -> Result<P::Rope, LoadProblem> {
        P::rope(self.home, rotation)
    }

    /// The finite numbers of the vector `name`, if the file has it.
    pub(crate) fn optional_numbers(
        &self,
        name: &str,
        length: usize,
    ) -> Result<Option<Vec<f32>>, LoadProblem> {
        self.source.gguf.tensor(name).map(|_| self.numbers(name, length)).transpose()
    }

    /// Passes over the tensor `name`, whose content the model does not need.
    pub(crate) fn ignore(&self, name: &str) {
        if let Some(tensor) = self.source.gguf.tensor(name) {
            lock(&self.source.used).insert(&tensor.name);
        }
    }

    fn numbers(&self, name: &str, length: usize) -> Result<Vec<f32>, LoadProblem> {
        let tensor = self.source.tensor(name, &[length as u64])?;
        let format = format_of(tensor)?;
        let mut bytes = vec![0; tensor.size_bytes as usize];
        self.source.gguf.read_data(tensor, 0, &mut bytes)?;
        let mut values = vec![0.0; length];
        formats::dequantize_row(format, &bytes, &mut values);
        // There are few of these numbers and each reaches every output, so that checking them is worth it.
        if let Some(element) = values.iter().position(|value| !value.is_finite()) {
            let found = values[element];
            return Err(LoadProblem::NotFinite { tensor: tensor.name.clone(), element, found });
        }
        self.source.report(bytes.len() as u64);
        Ok(values)
    }
}

/// A matrix that is still in the file.
pub(crate) struct StoredMatrix<'a> {
    source: &'a Source<'a>,
    tensor: &'a TensorInfo,
    pub(crate) format: Format,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl StoredMatrix<'_> {
    /// Why it cannot be packed.
    pub(crate) fn problem(&self, reason: PackError) -> LoadProblem {
        LoadProblem::Pack { tensor: self.tensor.name.clone(), reason }
    }

    /// The rule by which it may be made in the place of being read. Who follows it reports that as read.
    pub(crate) fn rule(&self) -> Option<RandomWeights> {
        self.source.gguf.rule(self.tensor)
    }

    /// Reports it as read.
    pub(crate) fn made(&self) {
        self.source.report(self.tensor.size_bytes);
    }

    /// Its rows as they are stored, read on all threads.
    pub(crate) fn read(&self) -> Result<Vec<u8>, LoadProblem> {
        let (source, tensor) = (self.source, self.tensor);
        let mut bytes = vec![0; tensor.size_bytes as usize];
        let batches = Mutex::new(bytes.chunks_mut(BATCH_BYTES).enumerate());
        let failure = Mutex::new(None);
        source.pool.run(&|_thread| {
            loop {
                let Some((number, batch)) = lock(&batches).next() else { return };
                let read = source.gguf.read_data(tensor, (number * BATCH_BYTES) as u64, batch);
                match read {
                    Ok(()) => source.report(batch.len() as u64),
                    Err(error) => {
                        *lock(&failure) = Some(error);
                        return;
                    }
                }
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(bytes),
            Some(error) => Err(error.into()),
        }
    }

    /// Reads it into `matrix`, which has its shape, on all threads.
    pub(crate) fn fill(&self, matrix: &mut PackedMatrix) -> Result<(), LoadProblem> {
        let (source, tensor) = (self.source, self.tensor);
        let row_bytes = (tensor.size_bytes / self.rows as u64) as usize;
        let panels = Mutex::new(matrix.panels_mut());
        let failure = Mutex::new(None);
        let failed = AtomicBool::new(false);
        source.pool.run(&|_thread| {
            let mut bytes = Vec::new();
            while !failed.load(Ordering::Relaxed) {
                let batch = take_batch(&mut *lock(&panels), row_bytes);
                let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return };
                let (start, end) =
                    (first.first_row() * row_bytes, (last.first_row() + last.rows()) * row_bytes);
                bytes.resize(end - start, 0);
                if let Err(error) = source.gguf.read_data(tensor, start as u64, &mut bytes) {
                    *lock(&failure) = Some(error);
                    failed.store(true, Ordering::Relaxed);
                    return;
                }
                let mut rest = bytes.as_slice();
                for mut panel in batch {
                    let (own, after) = rest.split_at(panel.rows() * row_bytes);
                    panel.pack(own);
                    rest = after;
                }
                source.report(bytes.len() as u64);
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(error) => Err(error.into()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic of another thread ends the load as soon as the pool's run returns.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Consecutive panels of about [`BATCH_BYTES`], at least one while there are any.
fn take_batch<'m>(panels: &mut impl Iterator<Item = PanelMut<'m>>, row_bytes: usize) -> Vec<PanelMut<'m>> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while bytes < BATCH_BYTES {
        let Some(panel) = panels.next() else { break };
        bytes += panel.rows() * row_bytes;
        batch.push(panel);
    }
    batch
}

pub(super) fn find<'a>(gguf: &'a Gguf, name: &str) -> Result<&'a TensorInfo, LoadProblem> {
    let missing = || LoadProblem::File(crate::gguf::Problem::MissingTensor { tensor: name.to_owned() });
    gguf.tensor(name).ok_or_else(missing)
}

/// What a tensor takes once it is loaded.
pub(super) fn packed_bytes(tensor: &TensorInfo) -> u64 {
    if tensor.rows() == 1 {
        return tensor.elements().saturating_mul(size_of::<f32>() as u64);
    }
    // Whatever loads it refuses it by name.
    let Some(format) = computed(tensor.tensor_type) else { return tensor.size_bytes };
    let size = |count: u64| usize::try_from(count).ok();
    let bytes = size(tensor.rows())
        .zip(size(tensor.columns()))
        .and_then(|(rows, columns)| PackedMatrix::bytes_of(format, rows, columns));
    bytes.map_or(u64::MAX, |bytes| bytes as u64)
}

/// The kernels' format of a tensor.
pub(crate) fn format_of(tensor: &TensorInfo) -> Result<Format, LoadProblem> {
    computed(tensor.tensor_type).ok_or_else(|| {
        let (tensor, found) = (tensor.name.clone(), tensor.tensor_type.name());
        LoadProblem::Format { tensor, found, known: &Format::ALL }
    })
}

/// The kernels' format of a stored type; nothing for those that they do not compute with.
pub(super) fn computed(tensor_type: TensorType) -> Option<Format> {
    Some(match tensor_type {
        TensorType::F32 => Format::F32,
        TensorType::F16 => Format::F16,
        TensorType::BF16 => Format::Bf16,
        TensorType::Q8_0 => Format::Q8_0,
        TensorType::Q4_0 => Format::Q4_0,
        TensorType::Q4_1 => Format::Q4_1,
        TensorType::Q5_0 => Format::Q5_0,
        TensorType::Q5_1 => Format::Q5_1,
        TensorType::MXFP4 => Format::Mxfp4,
        TensorType::Q4_K => Format::Q4K,
        TensorType::Q5_K => Format::Q5K,
        TensorType::Q6_K => Format::Q6K,
        _ => return None,
    })
}
