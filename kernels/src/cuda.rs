//! The kernels of `kernels/cuda` from Rust: what a device is, how weights lie on it, and one safe function a kernel
//! that checks shapes before it launches.
//!
//! [`driver`] is the small trait over a CUDA driver that all of it goes through: a card's, a test's that only records,
//! or one that runs the kernels on this processor. Knows nothing of models or of when a kernel is due.

pub mod driver;
