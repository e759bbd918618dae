//! The buffers of passes on a card, all of them made at once for the largest pass that may come.

use lockgate_kernels::cuda::attention::{SEQUENCE_WORDS, decode_scratch};
use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::cuda::known::KnownWords;
use lockgate_kernels::cuda::lora::{AdapterTables, RowAdapters};
use lockgate_kernels::cuda::memory::{Device, DeviceBuffer};
use lockgate_kernels::cuda::products::BATCH_MAX;
use lockgate_kernels::cuda::rows::{DeviceRows, Forms};
use lockgate_kernels::cuda::sample::Draws;
use lockgate_kernels::cuda::split::Splitting;

use super::plan::Extent;
use crate::adapter::{Module, RANK_MAX};
use crate::kv::BLOCK_TOKENS;
use crate::model::Config;

/// Rows that a decode's parts have room for, and the most memory that those may take.
const DECODE_ROWS_MAX: usize = 128;
const DECODE_BYTES_MAX: usize = 256 << 20;
/// Biases that all choices of a pass have room for, and as many tokens that sequences have seen: each takes 12 bytes.
const ADJUSTMENTS_MAX: usize = 1 << 16;

pub(super) struct Buffers {
    /// What each row is: one entry a row.
    pub(super) tokens: KnownWords,
    pub(super) positions: KnownWords,
    pub(super) slots: KnownWords,
    pub(super) row_adapters: RowAdapters,
    /// The wanted rows, in the order in which they are kept.
    pub(super) order: KnownWords,
    pub(super) kept_adapters: RowAdapters,
    /// Sequences of few rows, those of many, and the page tables of both.
    pub(super) decoding: KnownWords,
    pub(super) prefilling: KnownWords,
    pub(super) pages: KnownWords,
    /// The residual stream, and what is kept of it for the last layer's end.
    pub(super) residual: DeviceBuffer<f32>,
    pub(super) kept: DeviceBuffer<f32>,
    /// The inputs of products: behind a norm, attention and the gate.
    pub(super) normalized: Inputs,
    pub(super) attended_rows: Inputs,
    pub(super) gated: Inputs,
    pub(super) queries: DeviceBuffer<f32>,
    pub(super) keys: DeviceBuffer<f32>,
    pub(super) values: DeviceBuffer<f32>,
    /// Rotated, in half precision.
    pub(super) rotated: DeviceBuffer<u16>,
    pub(super) attended: DeviceBuffer<f32>,
    /// Parts of sequences in a decode, for as many rows.
    pub(super) parts: DeviceBuffer<f32>,
    pub(super) parts_rows: usize,
    pub(super) gate: DeviceBuffer<f32>,
    pub(super) up: DeviceBuffer<f32>,
    pub(super) logits: DeviceBuffer<f32>,
    pub(super) draws: Draws,
    pub(super) adapters: AdapterTables,
}

impl Buffers {
    pub(super) fn new(device: &Device, config: &Config, extent: Extent) -> Result<Self, DriverError> {
        let Extent { rows, wanted, context } = extent;
        let width = config.heads * config.head_dim;
        let kv_width = config.kv_heads * config.head_dim;
        let parts = Splitting::new(device.multiprocessors(), config.kv_heads).parts_max(context);
        let per_row = decode_scratch(1, config.heads, config.head_dim, parts) * size_of::<f32>();
        let parts_rows = match DECODE_BYTES_MAX.checked_div(per_row) {
            None => rows,
            Some(affordable) => affordable.clamp(BATCH_MAX, DECODE_ROWS_MAX).min(rows),
        };
        let indices = |count: usize| KnownWords::new(device, count);
        let numbers = |rows: usize, width: usize| {
            let length = rows.checked_mul(width).ok_or(DriverError::OutOfMemory { bytes: usize::MAX })?;
            device.allocate::<f32>(length)
        };
        Ok(Self {
            tokens: indices(rows)?,
            positions: indices(rows)?,
            slots: indices(rows)?,
            row_adapters: RowAdapters::new(device, rows)?,
            order: indices(wanted)?,
            kept_adapters: RowAdapters::new(device, wanted)?,
            decoding: indices(SEQUENCE_WORDS * rows)?,
            prefilling: indices(SEQUENCE_WORDS * rows)?,
            pages: indices(rows.saturating_mul(context.div_ceil(BLOCK_TOKENS)))?,
            residual: numbers(rows, config.hidden)?,
            kept: numbers(wanted, config.hidden)?,
            normalized: Inputs::new(device, rows, config.hidden, true)?,
            attended_rows: Inputs::new(device, rows, width, false)?,
            gated: Inputs::new(device, rows, config.feed_forward, false)?,
            queries: numbers(rows, width)?,
            keys: numbers(rows, kv_width)?,
            values: numbers(rows, kv_width)?,
            rotated: device.allocate(rows * width)?,
            attended: numbers(rows, width)?,
            parts: device.allocate(decode_scratch(parts_rows, config.heads, config.head_dim, parts))?,
            parts_rows,
            gate: numbers(rows, config.feed_forward)?,
            up: numbers(rows, config.feed_forward)?,
            logits: numbers(wanted, config.vocabulary)?,
            draws: Draws::new(device, wanted, wanted.saturating_mul(config.vocabulary).min(ADJUSTMENTS_MAX))?,
            adapters: AdapterTables::new(
                device,
                config.layers * Module::ALL.len(),
                rows,
                rows,
                RANK_MAX as usize,
            )?,
        })
    }
}

/// Rows that are multiplied next: few of them in the forms that read weights once for each, many as matrices want them.
pub(super) struct Inputs {
    few: DeviceRows,
    many: DeviceRows,
    is_few: bool,
}

impl Inputs {
    /// `handed_out` where they are read back, in single precision.
    fn new(device: &Device, rows: usize, columns: usize, handed_out: bool) -> Result<Self, DriverError> {
        let eight_bits = columns.is_multiple_of(32);
        let few = Forms { floats: true, eight_bits, bf16: false };
        // Which form a product takes is the device's choice, format by format.
        let many = Forms { floats: handed_out, eight_bits, bf16: true };
        Ok(Self {
            few: DeviceRows::new(device, rows.min(BATCH_MAX), columns, few)?,
            many: DeviceRows::new(device, rows, columns, many)?,
            is_few: true,
        })
    }

    /// Where `rows` rows are to be written.
    pub(super) fn of(&mut self, rows: usize) -> &mut DeviceRows {
        self.is_few = rows <= self.few.rows();
        if self.is_few { &mut self.few } else { &mut self.many }
    }

    /// What was written last.
    pub(super) fn written(&self) -> &DeviceRows {
        if self.is_few { &self.few } else { &self.many }
    }

    /// Whether that was few rows.
    pub(super) fn is_few(&self) -> bool {
        self.is_few
    }

    /// What was written last, in single precision.
    pub(super) fn floats(&self) -> Result<&DeviceBuffer<f32>, DriverError> {
        let missing = || DriverError::failed("inputs", "they are not there in single precision");
        self.written().floats().ok_or_else(missing)
    }
}
