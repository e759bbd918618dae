//! What a card can do at most, measured on it: the bytes that it moves and the bf16 products that it makes a second.
//! Figures of kernels and models are set beside these, as those of the processor are beside [`crate::bandwidth`] and
//! [`crate::peak`].

use std::time::Instant;

use super::driver::{Argument, DriverError, Stream};
use super::memory::{Device, DeviceBuffer};
use super::{Call, size};

/// Threads of a block of `peak_bf16`.
const THREADS: usize = 128;
/// Tiles that each of its warps keeps.
const TILES: usize = 8;
/// Operations of one product of tiles: 16 x 8 sums of 16 products.
const TILE_OPERATIONS: usize = 2 * 16 * 8 * 16;

/// How much is done to measure a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Bytes that are copied at once, beyond any cache.
    pub copy_bytes: usize,
    /// Blocks of products: several for each multiprocessor of any card.
    pub blocks: usize,
    /// Products of each warp, in eights.
    pub steps: usize,
    /// How often each is done; the fastest counts.
    pub rounds: usize,
}

impl Effort {
    /// Enough for a card: a few milliseconds a round.
    pub const CARD: Effort = Effort { copy_bytes: 1 << 30, blocks: 4096, steps: 4096, rounds: 10 };
}

/// The limits of a card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CardLimits {
    /// Bytes a second that a copy within the card's memory reads and writes, both counted.
    pub copy_bytes_per_second: f64,
    /// Operations a second of bf16 products by `mma.sync`, two for each product and its sum.
    pub matrix_operations_per_second: f64,
}

impl CardLimits {
    /// Measures them. The card should have nothing else to do.
    ///
    /// # Errors
    /// There is not enough memory for two copies, or the driver's.
    pub fn measure(device: &Device, effort: Effort) -> Result<CardLimits, DriverError> {
        let (from, to) = (device.zeros::<u8>(effort.copy_bytes)?, device.zeros::<u8>(effort.copy_bytes)?);
        let copy = fastest(device, effort.rounds, || {
            device.driver().copy(Stream::Compute, from.at(0), to.at(0), effort.copy_bytes)
        })?;
        let mut out = device.allocate(effort.blocks * THREADS)?;
        let products = fastest(device, effort.rounds, || products(device, 1.0, 1.0, effort.steps, &mut out))?;
        let operations = effort.blocks * THREADS / 32 * TILES * effort.steps * TILE_OPERATIONS;
        Ok(CardLimits {
            copy_bytes_per_second: 2.0 * effort.copy_bytes as f64 / copy,
            matrix_operations_per_second: operations as f64 / products,
        })
    }
}

/// The least time of several rounds, in seconds, after one that does not count.
fn fastest(
    device: &Device,
    rounds: usize,
    mut work: impl FnMut() -> Result<(), DriverError>,
) -> Result<f64, DriverError> {
    let mut least = f64::INFINITY;
    for round in 0..=rounds {
        device.driver().synchronize()?;
        let begin = Instant::now();
        work()?;
        device.driver().synchronize()?;
        if round > 0 {
            least = least.min(begin.elapsed().as_secs_f64());
        }
    }
    Ok(least)
}

/// Sums of products of `a` and `b`, rounded to bf16, 16 in each of `steps` steps and eight tiles; one a number of `out`,
/// which has whole blocks of 128.
///
/// # Errors
/// `out` has no whole blocks, or the driver's.
pub fn products(
    device: &Device,
    a: f32,
    b: f32,
    steps: usize,
    out: &mut DeviceBuffer<f32>,
) -> Result<(), DriverError> {
    let call = Call { kernel: "peak_bf16" };
    call.require(out.len().is_multiple_of(THREADS), || {
        format!("{} outputs are no whole blocks of {THREADS}", out.len())
    })?;
    let arguments = vec![out.argument(), Argument::F32(a), Argument::F32(b), size(steps)?];
    call.launch(device, [out.len() / THREADS, 1, 1], THREADS as u32, 0, arguments)
}
