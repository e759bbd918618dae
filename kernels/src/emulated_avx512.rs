//! The modules of `lib.rs` as a program: its tests, over emulated AVX-512. See `cpu/emulated.rs`.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "the library's users are not here")]

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
