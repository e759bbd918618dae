//! Measures how fast this machine reads memory: the limit of every decode step, which `lockgate doctor` shows and
//! which benches set their figures beside. What it can compute is in [`crate::peak`].

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use crate::cpu::Level;
use crate::cpu::simd::{Enter, LANES, Operation, Simd};
use crate::memory::{Buffer, OutOfMemory};
use crate::pool::ThreadPool;

#[cfg(test)]
mod tests;

const MEBIBYTE: usize = 1 << 20;

/// How many bytes to read so that the last cache cannot hide the memory: four times its size where the system tells
/// it, at least 256 MiB and at most 2 GiB.
#[must_use]
pub fn probe_bytes() -> usize {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    probe_bytes_of(&read)
}

fn probe_bytes_of(read: &dyn Fn(&Path) -> Option<String>) -> usize {
    // Caches are numbered from the smallest; those of level 3 or 4 are the last ones on all machines seen.
    let sizes = (0..8).filter_map(|index| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
        parse_size(&read(Path::new(&path))?)
    });
    (4 * sizes.max().unwrap_or(0)).clamp(256 * MEBIBYTE, 2048 * MEBIBYTE)
}

/// Parses the kernel's cache sizes: `32768K`, `32M`.
fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix('K') {
        Some(number) => (number, 1024),
        None => (text.strip_suffix('M')?, MEBIBYTE),
    };
    let size: usize = number.parse().ok()?;
    size.checked_mul(unit).filter(|&size| size <= 4096 * MEBIBYTE)
}

/// Reads `bytes` of memory on all threads of the pool, several times, and returns the median speed in GB/s
/// (10⁹ bytes a second).
///
/// # Errors
/// When there is no memory for it.
pub fn read_bandwidth(pool: &ThreadPool, level: Level, bytes: usize) -> Result<f64, OutOfMemory> {
    const PASSES: usize = 7;
    // Whole vectors for every thread.
    let part = bytes.div_ceil(size_of::<f32>() * LANES * pool.threads()).max(1) * LANES;
    let mut memory = Buffer::<f32>::zeroed(part * pool.threads())?;
    // Written by the threads that will read it, as weights are.
    pool.for_rows(&mut memory, part, 1, &|_, rows| rows.fill(1.0));
    let mut speeds: Vec<f64> = (0..PASSES)
        .map(|_| {
            let start = Instant::now();
            pool.run(&|thread| {
                black_box(level.enter(Read { memory: &memory[thread * part..][..part] }));
            });
            size_of_val(&*memory) as f64 / start.elapsed().as_secs_f64().max(1e-9) / 1e9
        })
        .collect();
    speeds.sort_by(f64::total_cmp);
    Ok(speeds[PASSES / 2])
}

/// Sums the memory, so that all of it must be read.
struct Read<'a> {
    memory: &'a [f32],
}

impl Operation for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let mut sums = [simd.splat(0.0); 4];
        let (vectors, _) = self.memory.as_chunks::<LANES>();
        let (fours, rest) = vectors.as_chunks::<4>();
        for four in fours {
            for index in 0..4 {
                sums[index] = simd.add(sums[index], simd.load(&four[index]));
            }
        }
        for vector in rest {
            sums[0] = simd.add(sums[0], simd.load(vector));
        }
        simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])))
    }
}
