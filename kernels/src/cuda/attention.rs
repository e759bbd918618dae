//! The paged cache on the device, and the launchers of `cuda/rope.cu` and `cuda/attention.cu`.

use super::driver::{Argument, DriverError};
use super::memory::{Device, DeviceBuffer, optional};
use super::{Call, size};
pub use crate::attention::KvFormat;
use crate::attention::PAGE_TOKENS;
use crate::rope::Pairing;

/// Head sizes that attention has kernels for; those that are a multiple of 32 have them for 8-bit caches too.
pub const HEAD_DIMS: [usize; 5] = [64, 80, 96, 128, 256];

/// Query heads that may share a key-value head.
pub const GROUP_MAX: usize = 16;

/// Words of [`DeviceAttention::sequences`] for each.
pub const SEQUENCE_WORDS: usize = 5;

/// A slot that stores nothing: that of a row that only pads a batch.
pub const NO_SLOT: u32 = u32::MAX;

/// The shape of a layer's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Key-value heads.
    pub kv_heads: usize,
    /// The dimension of a head.
    pub head_dim: usize,
    /// How numbers are stored.
    pub format: KvFormat,
}

impl KvShape {
    /// Bytes of keys, or of values, that one page takes; nothing for a shape that no kernel takes.
    #[must_use]
    pub fn page_bytes(self) -> Option<usize> {
        let known = HEAD_DIMS.contains(&self.head_dim) && self.kv_heads > 0;
        let head = match self.format {
            KvFormat::F16 => 2 * self.head_dim,
            KvFormat::Q8_0 if self.head_dim.is_multiple_of(32) => self.head_dim + self.head_dim / 32 * 2,
            KvFormat::Q8_0 => return None,
        };
        if known { self.kv_heads.checked_mul(PAGE_TOKENS * head) } else { None }
    }
}

/// One layer's keys and values on the device.
#[derive(Debug)]
pub struct DeviceKv {
    shape: KvShape,
    pages: usize,
    keys: DeviceBuffer<u8>,
    values: DeviceBuffer<u8>,
}

impl DeviceKv {
    /// Room for `pages` pages, all zero.
    ///
    /// # Errors
    /// No kernel takes the shape, or there is no memory.
    pub fn new(device: &Device, shape: KvShape, pages: usize) -> Result<DeviceKv, DriverError> {
        let page = shape.page_bytes();
        let page = page.ok_or_else(|| {
            DriverError::failed(
                "cache",
                format!("no attention kernel takes {shape:?}; head sizes are {HEAD_DIMS:?}"),
            )
        })?;
        let bytes = page.checked_mul(pages).ok_or(DriverError::OutOfMemory { bytes: usize::MAX })?;
        Ok(DeviceKv { shape, pages, keys: device.zeros(bytes)?, values: device.zeros(bytes)? })
    }

    /// Its shape.
    #[must_use]
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Makes the `count` pages from `to` on what those from `from` on are.
    ///
    /// # Errors
    /// One of them does not exist, some are both, or the driver's.
    pub fn copy_pages(&mut self, device: &Device, from: u32, to: u32, count: u32) -> Result<(), DriverError> {
        let [from, to, count] = [from, to, count].map(|pages| pages as usize);
        if from.max(to) + count > self.pages || from.abs_diff(to) < count {
            let problem = format!("{count} pages from {from} and from {to} on, of {}", self.pages);
            return Err(DriverError::failed("copy of pages", problem));
        }
        let Some(bytes) = self.keys.len().checked_div(self.pages) else { return Ok(()) };
        let stream = super::driver::Stream::Compute;
        for buffer in [&self.keys, &self.values] {
            device.driver().copy(stream, buffer.at(from * bytes), buffer.at(to * bytes), count * bytes)?;
        }
        Ok(())
    }
}

/// Cosines and sines of every position, `[positions][2][pairs]`.
#[derive(Debug)]
pub struct DeviceRope {
    /// Which dimensions form a pair.
    pub pairing: Pairing,
    /// Pairs that are rotated.
    pub pairs: usize,
    /// The table.
    pub table: DeviceBuffer<f32>,
}

/// The heads of a batch's rows before attention.
#[derive(Debug)]
pub struct Heads<'a> {
    /// How many rows there are.
    pub rows: usize,
    /// Query heads.
    pub heads: usize,
    /// `[rows][heads][head_dim]`.
    pub q: &'a DeviceBuffer<f32>,
    /// `[rows][kv_heads][head_dim]`.
    pub k: &'a DeviceBuffer<f32>,
    /// `[rows][kv_heads][head_dim]`.
    pub v: &'a DeviceBuffer<f32>,
    /// Weights of the norm of each query head and key head, where the model has them.
    pub norms: Option<(&'a DeviceBuffer<f32>, &'a DeviceBuffer<f32>)>,
    /// What the norms add below the root.
    pub epsilon: f32,
    /// The position of each row; all must be in the table, which nothing checks.
    pub positions: &'a DeviceBuffer<u32>,
    /// Where each row's keys and values go: page · 16 + place in it, or [`NO_SLOT`]; all must exist, which nothing
    /// checks.
    pub slots: &'a DeviceBuffer<u32>,
}

/// Norms, rotates and rounds queries, and puts keys and values into the cache. Positions and slots are on the device,
/// where only the kernel sees them: whoever writes them there keeps them in range.
///
/// # Errors
/// Shapes do not fit together, or the driver's.
pub fn rope_and_keep(
    device: &Device,
    heads: &Heads<'_>,
    rope: &DeviceRope,
    cache: &mut DeviceKv,
    queries: &mut DeviceBuffer<u16>,
) -> Result<(), DriverError> {
    let call = Call { kernel: "rope_and_keep" };
    let KvShape { kv_heads, head_dim, format } = cache.shape;
    let has = |length: usize, heads_each: usize| {
        heads.rows.checked_mul(heads_each * head_dim).is_some_and(|needed| needed <= length)
    };
    let enough = has(heads.q.len(), heads.heads)
        && has(queries.len(), heads.heads)
        && has(heads.k.len(), kv_heads)
        && has(heads.v.len(), kv_heads)
        && heads.rows <= heads.positions.len().min(heads.slots.len());
    call.require(enough, || format!("there is no room for {} rows", heads.rows))?;
    let pairs_fit = rope.pairs > 0 && 2 * rope.pairs <= head_dim && !rope.table.is_empty();
    call.require(pairs_fit && rope.table.len().is_multiple_of(2 * rope.pairs), || {
        format!("{} pairs in heads of {head_dim}", rope.pairs)
    })?;
    let norms_fit = heads.norms.is_none_or(|(q, k)| q.len() == head_dim && k.len() == head_dim);
    call.require(norms_fit, || format!("a norm of a head does not have {head_dim} weights"))?;
    let arguments = vec![
        heads.q.argument(),
        heads.k.argument(),
        heads.v.argument(),
        optional(heads.norms.map(|norms| norms.0)),
        optional(heads.norms.map(|norms| norms.1)),
        Argument::F32(heads.epsilon),
        rope.table.argument(),
        size(rope.pairs)?,
        Argument::U32((rope.pairing == Pairing::Interleaved).into()),
        heads.positions.argument(),
        heads.slots.argument(),
        size(heads.heads)?,
        size(kv_heads)?,
        size(head_dim)?,
        queries.argument(),
        cache.keys.argument(),
        cache.values.argument(),
        Argument::U32((format == KvFormat::Q8_0).into()),
    ];
    let warps = (heads.heads + 2 * kv_heads).div_ceil(4);
    call.launch(device, [warps, heads.rows, 1], 128, 0, arguments)
}

/// A batch's attention in one layer.
#[derive(Debug)]
pub struct DeviceAttention<'a> {
    /// Query heads.
    pub heads: usize,
    /// Rows of the batch: what the sequences name is below.
    pub rows: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Scores are kept within this by a hyperbolic tangent; 0 leaves them.
    pub cap: f32,
    /// Tokens that a row sees, its own included; 0 means all.
    pub window: usize,
    /// Rotated queries, `[rows][heads][head_dim]` in f16.
    pub queries: &'a DeviceBuffer<u16>,
    /// For each sequence its first row, rows, the position of its first row, the first of its page table in `pages`, and,
    /// for a decode, the [tokens of a part](super::split::Splitting::part_tokens) of it. What they say must be so, which
    /// nothing checks.
    pub sequences: &'a DeviceBuffer<u32>,
    /// Page tables.
    pub pages: &'a DeviceBuffer<u32>,
    /// Sequences.
    pub count: usize,
    /// Rows of the sequence that has the most.
    pub rows_max: usize,
    /// For a decode, as many [parts](super::split::Splitting::parts) as the sequence that has the most, or more.
    pub parts: usize,
}

impl DeviceAttention<'_> {
    fn check(&self, call: &Call, shape: KvShape, out: &DeviceBuffer<f32>) -> Result<usize, DriverError> {
        let divides = self.heads > 0 && self.heads.is_multiple_of(shape.kv_heads);
        call.require(divides, || format!("{} query heads cannot share {}", self.heads, shape.kv_heads))?;
        let group = self.heads / shape.kv_heads;
        call.require(group <= GROUP_MAX, || format!("{group} heads share one, more than {GROUP_MAX}"))?;
        let width = self.heads * shape.head_dim;
        let fits = |length: usize| self.rows.checked_mul(width).is_some_and(|needed| needed <= length);
        call.require(fits(self.queries.len()) && fits(out.len()), || {
            format!("there is no room for {} rows of {width}", self.rows)
        })?;
        call.require(self.sequences.len() >= SEQUENCE_WORDS * self.count, || {
            format!("fewer than {} sequences", self.count)
        })?;
        Ok(group)
    }

    fn arguments(&self, cache: &DeviceKv, out: &DeviceBuffer<f32>) -> Vec<Argument> {
        let queries = self.queries.argument();
        let (sequences, pages) = (self.sequences.argument(), self.pages.argument());
        vec![queries, cache.keys.argument(), cache.values.argument(), sequences, pages, out.argument()]
    }
}

/// Bytes of shared memory: the queries' tiles, then of each of four warps a page of keys and one of values in f16, or, where
/// pages in 8 bits are staged, a page of either and both as they are stored.
fn shared_bytes(shape: KvShape, query_tiles: usize) -> usize {
    let KvShape { head_dim, format, .. } = shape;
    let wide = PAGE_TOKENS * (head_dim + 8) * 2;
    let warp = match format {
        KvFormat::Q8_0 if query_tiles == 1 || head_dim <= 128 => {
            wide + 2 * PAGE_TOKENS * (head_dim + head_dim / 32 * 2)
        }
        KvFormat::F16 | KvFormat::Q8_0 => 2 * wide,
    };
    query_tiles * wide + 4 * warp
}

/// Numbers of scratch that a decode of `rows` rows in so many parts needs.
#[must_use]
pub fn decode_scratch(rows: usize, heads: usize, head_dim: usize, parts: usize) -> usize {
    if parts <= 1 { 0 } else { rows * heads * parts * (head_dim + 2) }
}

/// Attention for few rows a sequence: rows · heads sharing one must be at most 16. Each part of a sequence has a block of
/// its own; where there is more than one, they are merged by a second launch.
///
/// # Errors
/// Shapes do not fit together, no kernel takes them, or the driver's.
pub fn decode(
    device: &Device,
    job: &DeviceAttention<'_>,
    cache: &DeviceKv,
    scratch: &mut DeviceBuffer<f32>,
    out: &mut DeviceBuffer<f32>,
) -> Result<(), DriverError> {
    let shape = cache.shape;
    let call = Call { kernel: decode_kernel(shape)? };
    let group = job.check(&call, shape, out)?;
    call.require(group * job.rows_max <= 16, || {
        format!("{} rows of {group} heads that share one are more than 16", job.rows_max)
    })?;
    call.require(job.parts > 0, || "a decode in no parts".to_owned())?;
    let needed = decode_scratch(job.rows, job.heads, shape.head_dim, job.parts);
    call.require(scratch.len() >= needed, || {
        format!("a scratch of {} where {needed} are needed", scratch.len())
    })?;
    let mut arguments = job.arguments(cache, out);
    arguments.extend([scratch.argument(), size(job.heads)?, size(shape.kv_heads)?]);
    arguments.extend([Argument::F32(job.scale), Argument::F32(job.cap), size(job.window)?]);
    arguments.push(size(job.parts)?);
    let grid = [job.parts, shape.kv_heads, job.count];
    call.launch(device, grid, 128, shared_bytes(shape, 1), arguments)?;
    if job.parts == 1 {
        return Ok(());
    }
    let merge = Call { kernel: "attention_merge" };
    let arguments = vec![
        scratch.argument(),
        job.sequences.argument(),
        out.argument(),
        size(job.heads)?,
        size(shape.head_dim)?,
        size(job.window)?,
        size(job.parts)?,
    ];
    merge.launch(device, [job.heads, job.rows_max, job.count], 128, 0, arguments)
}

/// Attention for any number of rows a sequence.
///
/// # Errors
/// Shapes do not fit together, no kernel takes them, or the driver's.
pub fn prefill(
    device: &Device,
    job: &DeviceAttention<'_>,
    cache: &DeviceKv,
    out: &mut DeviceBuffer<f32>,
) -> Result<(), DriverError> {
    let shape = cache.shape;
    let call = Call { kernel: prefill_kernel(shape)? };
    let group = job.check(&call, shape, out)?;
    let mut arguments = job.arguments(cache, out);
    arguments.extend([size(job.heads)?, size(shape.kv_heads)?, Argument::F32(job.scale)]);
    arguments.extend([Argument::F32(job.cap), size(job.window)?]);
    let tiles = (job.rows_max * group).div_ceil(64);
    call.launch(device, [tiles, shape.kv_heads, job.count], 128, shared_bytes(shape, 4), arguments)
}

fn decode_kernel(shape: KvShape) -> Result<&'static str, DriverError> {
    Ok(match (shape.format, shape.head_dim) {
        (KvFormat::F16, 64) => "attention_decode_64_f16",
        (KvFormat::F16, 80) => "attention_decode_80_f16",
        (KvFormat::F16, 96) => "attention_decode_96_f16",
        (KvFormat::F16, 128) => "attention_decode_128_f16",
        (KvFormat::F16, 256) => "attention_decode_256_f16",
        (KvFormat::Q8_0, 64) => "attention_decode_64_q8_0",
        (KvFormat::Q8_0, 96) => "attention_decode_96_q8_0",
        (KvFormat::Q8_0, 128) => "attention_decode_128_q8_0",
        (KvFormat::Q8_0, 256) => "attention_decode_256_q8_0",
        _ => return Err(DriverError::failed("attention", format!("no kernel takes {shape:?}"))),
    })
}

fn prefill_kernel(shape: KvShape) -> Result<&'static str, DriverError> {
    Ok(match (shape.format, shape.head_dim) {
        (KvFormat::F16, 64) => "attention_prefill_64_f16",
        (KvFormat::F16, 80) => "attention_prefill_80_f16",
        (KvFormat::F16, 96) => "attention_prefill_96_f16",
        (KvFormat::F16, 128) => "attention_prefill_128_f16",
        (KvFormat::F16, 256) => "attention_prefill_256_f16",
        (KvFormat::Q8_0, 64) => "attention_prefill_64_q8_0",
        (KvFormat::Q8_0, 96) => "attention_prefill_96_q8_0",
        (KvFormat::Q8_0, 128) => "attention_prefill_128_q8_0",
        (KvFormat::Q8_0, 256) => "attention_prefill_256_q8_0",
        _ => return Err(DriverError::failed("attention", format!("no kernel takes {shape:?}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a block may have on the smallest of the cards that kernels are built for (8.6, 8.9 and 12.0).
    const SHARED_BYTES_MAX: usize = 99 << 10;

    #[test]
    fn every_card_has_room_for_every_shape() {
        for head_dim in HEAD_DIMS {
            for format in [KvFormat::F16, KvFormat::Q8_0] {
                let shape = KvShape { kv_heads: 1, head_dim, format };
                for query_tiles in [1, 4].into_iter().filter(|_| shape.page_bytes().is_some()) {
                    let bytes = shared_bytes(shape, query_tiles);
                    assert!(bytes <= SHARED_BYTES_MAX, "{shape:?}, {query_tiles} tiles: {bytes}");
                }
            }
        }
    }
}
