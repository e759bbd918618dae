//! The kernels of `kernels/cuda` from Rust: what a device is, how weights lie on it, and one safe function a kernel
//! that checks shapes before it launches.
//!
//! [`driver`] is the small trait over a CUDA driver that all of it goes through: a card's, a test's that only records,
//! or one that runs the kernels on this processor. Knows nothing of models or of when a kernel is due.

pub mod attention;
#[cfg(feature = "cuda")]
pub mod card;
pub mod cards;
pub mod driver;
pub mod gemm;
pub mod known;
pub mod limits;
pub mod lora;
pub mod matrix;
pub mod memory;
pub mod modules;
#[cfg(feature = "cuda")]
mod pinned;
pub mod planes;
pub mod products;
mod random;
pub mod reference;
pub mod rows;
pub mod sample;
pub mod seen;
pub mod split;
#[cfg(any(feature = "cuda", test))]
mod staging;
pub mod tuning;

use driver::{Argument, DriverError, Launch};
use memory::Device;

/// A kernel about to be launched: its checks, then its shape and arguments.
struct Call {
    kernel: &'static str,
}

impl Call {
    /// An error of this kernel unless `holds`.
    fn require(&self, holds: bool, problem: impl FnOnce() -> String) -> Result<(), DriverError> {
        if holds { Ok(()) } else { Err(DriverError::failed(self.kernel, problem())) }
    }

    fn launch(
        &self,
        device: &Device,
        grid: [usize; 3],
        threads: u32,
        shared_bytes: usize,
        arguments: Vec<Argument>,
    ) -> Result<(), DriverError> {
        let limits = [0x7fff_ffff, 0xffff, 0xffff];
        let fits = grid.iter().zip(limits).all(|(&blocks, limit)| blocks <= limit);
        self.require(fits, || format!("a grid of {grid:?} blocks is too large"))?;
        if grid.contains(&0) {
            return Ok(());
        }
        let grid = grid.map(|blocks| blocks as u32);
        // Every kernel begins with `grid_dependency_wait`.
        let (kernel, block, early) = (self.kernel, [threads, 1, 1], true);
        let launch = Launch { kernel, grid, block, shared_bytes, early, arguments };
        device.launch(&launch)
    }
}

/// A size as a kernel's argument.
fn size(value: usize) -> Result<Argument, DriverError> {
    let fits = u32::try_from(value).ok();
    fits.map(Argument::U32).ok_or_else(|| DriverError::failed("launch", format!("{value} is beyond 32 bits")))
}
