//! What this machine's processor can do: the instruction [`Level`] that kernels dispatch on and the number of
//! threads worth starting ([`default_threads`]).
//!
//! A `Level` other than `Scalar` can only be had from [`Level::detect`] and [`Level::available`], so holding one
//! proves that the processor has the features; kernels rely on that when they enter code compiled for them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(all(target_arch = "x86_64", feature = "emulated-avx512"))]
pub(crate) mod emulated;
pub(crate) mod plain;
pub(crate) mod simd;
mod threads;

#[cfg(test)]
mod tests;

pub use threads::default_threads;

/// What the kernels for AVX-512 are written in.
#[cfg(all(target_arch = "x86_64", feature = "emulated-avx512"))]
pub(crate) use emulated as intrinsics;
#[cfg(all(target_arch = "x86_64", not(feature = "emulated-avx512")))]
pub(crate) use std::arch::x86_64 as intrinsics;

/// Proof that a level's features were found on this processor; nobody else can make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Detected(());

/// The instruction set that a kernel is entered with. Ordered from the plainest to the widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Plain Rust, on any processor: the reference.
    Scalar,
    /// AVX2, FMA and F16C.
    Avx2(Detected),
    /// AVX-512 F, BW, DQ, VL and VNNI, besides everything of [`Level::Avx2`].
    Avx512(Detected),
}

impl Level {
    /// The widest level of this processor. Cheap: the standard library caches the detection.
    #[must_use]
    pub fn detect() -> Level {
        *Level::available().last().unwrap_or(&Level::Scalar)
    }

    /// Every level that runs on this processor, plainest first; tests compare them with each other.
    #[must_use]
    pub fn available() -> &'static [Level] {
        const LEVELS: [Level; 3] = [Level::Scalar, Level::Avx2(Detected(())), Level::Avx512(Detected(()))];
        let count = match (has_avx2(), has_avx512()) {
            (false, _) => 1,
            (true, false) => 2,
            (true, true) => 3,
        };
        &LEVELS[..count]
    }

    /// A name for reports and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Scalar => "scalar",
            Level::Avx2(_) => "avx2",
            Level::Avx512(_) if cfg!(feature = "emulated-avx512") => "avx512-vnni, emulated",
            Level::Avx512(_) => "avx512-vnni",
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    cfg!(feature = "emulated-avx512") || has_avx512_registers()
}

#[cfg(target_arch = "x86_64")]
fn has_avx512_registers() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}
