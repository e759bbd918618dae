//! The CUDA kernels of `kernels/cuda`, compiled by the host's C++ compiler and run thread by thread, so that they can
//! be proved where there is no card: [`Emulator`] is a driver like a card's. [`Recorder`] is one that runs nothing and checks
//! what it is asked for, [`Probe`] one in front of another that counts, and that can be lost.
//!
//! What it finds, with the kernel, block and thread: accesses outside of buffers and shared arrays, misaligned
//! vectors, races on shared memory, barriers that threads miss, shuffles that lanes miss, copies that were not waited
//! for. Fresh memory is all ones (NaN in every float format), and schedules of threads vary by [`Schedule`].
//! What it cannot find: speed, bank conflicts, registers, races between blocks, anything of wgmma and TMA.
//!
//! The machine is C++ in `native/`; `include/intrinsics.cuh` is what kernels see of it. Used by tests only.

mod card;
mod driver;
mod native;
mod probe;
mod record;
mod recorder;

pub use card::card;
pub use driver::Emulator;
pub use native::{Kernel, Schedule, kernels};
pub use probe::{Counts, Probe};
pub use recorder::{Operation, Recorder};
