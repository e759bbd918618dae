//! Numeric kernels of the engine: one module an operation, with its contract (shapes, units, tolerance) and a
//! naive reference; the SIMD versions are chosen at run time by [`cpu::Level`].
//!
//! Promises that every operation keeps: an output has one order of floating-point operations, so it does not
//! depend on batch, chunk or thread count; a wrong shape is refused before any memory is touched.
//! Knows nothing of models, files or requests.
//!
//! Unsafe code is denied by the workspace and allowed module by module here, each with its reason.

pub mod activation;
pub mod attention;
pub mod bandwidth;
pub mod cpu;
pub mod cuda;
pub mod disjoint;
pub mod formats;
pub mod matmul;
pub mod memory;
pub mod norm;
pub mod peak;
pub mod pool;
pub mod random;
pub mod rope;

#[cfg(test)]
mod test_support;
