//! Adapters: low-rank additions to a model's projections, `W · x + scale · B · (A · x)` (LoRA).
//!
//! Owns: reading them from PEFT's files (`peft`: `adapter_config.json` and safetensors) and from GGUF files
//! (`gguf`), checking them against the model that they are for (`plan`), and their weights in memory ([`Adapter`]).
//! Does not own: how a forward pass applies them (`arch::adapt`), which sequence uses which (`kv`), by what name
//! clients call them (`backend`).
//!
//! Whatever would make the answer another than the one that was trained is refused by name: an unknown module or
//! setting, a wrong shape, DoRA, biases, embeddings. Files are hostile until proven otherwise, as model files are.
//! Start at [`AdapterFile::open`].

mod config;
mod error;
mod gguf;
mod load;
mod module;
mod peft;
mod plan;
mod safetensors;

#[cfg(test)]
mod tests;

pub use error::{AdapterError, AdapterProblem};
pub use load::AdapterFile;
pub use safetensors::SafetensorsProblem;

pub(crate) use module::Module;
pub(crate) use plan::RANK_MAX;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::cuda::lora::DeviceAdapters;
use lockgate_kernels::cuda::memory::Device;
use lockgate_kernels::matmul::PackedMatrix;

use crate::model::Config;

/// What an adapter adds to one projection.
pub(crate) struct LowRank {
    /// `[rank][inputs]`
    pub(crate) a: PackedMatrix,
    /// `[outputs][rank]`, in the order in which the model's own file stores its rows.
    pub(crate) b: PackedMatrix,
    /// Of everything that it adds.
    pub(crate) scale: f32,
}

/// Says whether two adapters compute the same: a SHA-256 hash over the weights as they are computed with and their
/// scales, whatever file they came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Its first 12 hexadecimal digits, enough to tell adapters apart in a list.
    #[must_use]
    pub fn short(&self) -> String {
        self.0.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// An adapter in memory. It never changes, and belongs to models of one shape.
pub struct Adapter {
    layers: Vec<[Option<LowRank>; Module::ALL.len()]>,
    /// Of the projections of the model that it is for.
    shapes: Shapes,
    content: ContentHash,
    release: Release,
    copy: Mutex<Option<(Device, Arc<DeviceAdapters>)>>,
}

/// Tells when an adapter's last user has let go of it, so that its memory has been given back.
#[derive(Clone, Debug, Default)]
pub struct Release(Arc<(Mutex<bool>, Condvar)>);

impl Release {
    /// Whether nobody uses the adapter any more.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits for the adapter's last user, at most this long. Returns whether it is gone.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        let (released, changed) = &*self.0;
        let released = released.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(released, patience, |released| !*released);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        let (released, changed) = &*self.release.0;
        *released.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }
}

/// Outputs and inputs of each module.
type Shapes = [[usize; 2]; Module::ALL.len()];

fn shapes(config: &Config) -> Shapes {
    Module::ALL.map(|module| module.shape(config))
}

impl fmt::Debug for Adapter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Adapter");
        debug.field("content", &self.content).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Adapter {
    /// What it computes, as a hash. States of a sequence that were computed with it are of no use with another.
    #[must_use]
    pub fn content(&self) -> ContentHash {
        self.content
    }

    /// Tells when it is gone.
    #[must_use]
    pub fn release(&self) -> Release {
        self.release.clone()
    }

    /// Bytes of its weights in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let pairs = self.layers.iter().flatten().flatten();
        pairs.map(|pair| (pair.a.bytes() + pair.b.bytes()) as u64).sum()
    }

    /// Whether it can be used with a model of this shape.
    #[must_use]
    pub fn fits(&self, config: &Config) -> bool {
        self.layers.len() == config.layers && self.shapes == shapes(config)
    }

    /// The layers of the model that it is for.
    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Its copy on this device; `make` makes it where there is none. It is freed with the adapter, and with the last pass
    /// that used it.
    pub(crate) fn copy_on(
        &self,
        device: &Device,
        make: impl FnOnce() -> Result<DeviceAdapters, DriverError>,
    ) -> Result<Arc<DeviceAdapters>, DriverError> {
        let mut copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, copy)) = &*copy
            && Arc::ptr_eq(of.driver(), device.driver())
        {
            return Ok(Arc::clone(copy));
        }
        let made = Arc::new(make()?);
        *copy = Some((device.clone(), Arc::clone(&made)));
        Ok(made)
    }

    /// What it adds to a projection, if it adds anything.
    pub(crate) fn low_rank(&self, layer: usize, module: Module) -> Option<&LowRank> {
        self.layers.get(layer)?[module as usize].as_ref()
    }
}
