//! [`Element`]: the type of a cached number, over which attention is written once.

use super::pages::{Head, KvPages};
use crate::cpu::simd::{LANES, Simd};
use crate::memory::Number;

/// Dimensions that share a scale.
pub(super) const SCALED_DIMENSIONS: usize = 32;

/// A number in a page.
pub(super) trait Element: Number + Sync + 'static {
    /// Whether it is to be multiplied by its token's and dimensions' scale, which is exact in single precision.
    const SCALED: bool;

    /// A head of a page, by its place among all heads of all pages, which have numbers of this type.
    fn head(pages: &KvPages, place: usize) -> Head<'_, Self>;

    /// Must be marked `#[inline(always)]`.
    fn load<S: Simd>(simd: S, from: &[Self; LANES]) -> S::F32;
}
