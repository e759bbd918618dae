//! Adapters on the device, and the launchers of `cuda/lora.cu`.

use super::driver::DriverError;
use super::memory::{Device, DeviceBuffer};
use super::{Call, size};

/// A row's adapter when it has none.
pub const NO_ADAPTER: u32 = u32::MAX;

/// The two thin matrices of one adapter for one projection.
#[derive(Debug)]
pub struct DeviceAdapter {
    /// `[rank][columns]`.
    a: DeviceBuffer<f32>,
    /// `[outputs][rank]`.
    b: DeviceBuffer<f32>,
    rank: usize,
    scale: f32,
}

impl DeviceAdapter {
    /// Copies an adapter's matrices, `a` `[rank][columns]` and `b` `[outputs][rank]`, to the device.
    ///
    /// # Errors
    /// They are not of that rank, or there is no memory.
    pub fn upload(
        device: &Device,
        rank: usize,
        scale: f32,
        a: &[f32],
        b: &[f32],
    ) -> Result<DeviceAdapter, DriverError> {
        let fits = rank > 0 && a.len().is_multiple_of(rank) && b.len().is_multiple_of(rank);
        if !fits || a.is_empty() || b.is_empty() {
            let problem = format!("{} and {} numbers are not of rank {rank}", a.len(), b.len());
            return Err(DriverError::failed("adapter", problem));
        }
        Ok(DeviceAdapter { a: device.upload(a)?, b: device.upload(b)?, rank, scale })
    }
}

/// The adapters of one projection that rows of a batch name by their number. They must outlive it.
#[derive(Debug)]
pub struct AdapterTable<'a> {
    /// Kept so that the addresses below stay valid.
    adapters: Vec<&'a DeviceAdapter>,
    a: DeviceBuffer<u64>,
    b: DeviceBuffer<u64>,
    ranks: DeviceBuffer<u32>,
    scales: DeviceBuffer<f32>,
    columns: usize,
    outputs: usize,
    rank_max: usize,
}

impl<'a> AdapterTable<'a> {
    /// A table of these adapters, all for a projection from `columns` to `outputs`.
    ///
    /// # Errors
    /// One of them is for another shape, or there is no memory.
    pub fn new(
        device: &Device,
        columns: usize,
        outputs: usize,
        adapters: Vec<&'a DeviceAdapter>,
    ) -> Result<AdapterTable<'a>, DriverError> {
        for (number, adapter) in adapters.iter().enumerate() {
            let (a, b) = (adapter.a.len() / adapter.rank, adapter.b.len() / adapter.rank);
            if (a, b) != (columns, outputs) {
                let problem =
                    format!("adapter {number} goes from {a} to {b}, not from {columns} to {outputs}");
                return Err(DriverError::failed("adapters", problem));
            }
        }
        let addresses = |of: fn(&DeviceAdapter) -> &DeviceBuffer<f32>| -> Vec<u64> {
            adapters.iter().map(|adapter| of(adapter).at(0).0).collect()
        };
        let ranks: Vec<u32> = adapters
            .iter()
            .map(|adapter| u32::try_from(adapter.rank))
            .collect::<Result<_, _>>()
            .map_err(|_| DriverError::failed("adapters", "a rank beyond 32 bits"))?;
        let scales: Vec<f32> = adapters.iter().map(|adapter| adapter.scale).collect();
        Ok(AdapterTable {
            a: device.upload(&addresses(|adapter| &adapter.a))?,
            b: device.upload(&addresses(|adapter| &adapter.b))?,
            ranks: device.upload(&ranks)?,
            scales: device.upload(&scales)?,
            columns,
            outputs,
            rank_max: adapters.iter().map(|adapter| adapter.rank).max().unwrap_or(0),
            adapters,
        })
    }

    /// Numbers of scratch that a batch of `rows` rows needs.
    #[must_use]
    pub fn scratch(&self, rows: usize) -> usize {
        rows * self.rank_max
    }

    /// Adds what each row's adapter makes of `x`, `[rows][columns]`, to `out`, `[rows][outputs]`. `rows_adapters` names
    /// the adapters: a number below [`AdapterTable::len`], or [`NO_ADAPTER`]; nothing checks that.
    ///
    /// # Errors
    /// Shapes do not fit together, or the driver's.
    pub fn add(
        &self,
        device: &Device,
        rows: usize,
        x: &DeviceBuffer<f32>,
        rows_adapters: &DeviceBuffer<u32>,
        scratch: &mut DeviceBuffer<f32>,
        out: &mut DeviceBuffer<f32>,
    ) -> Result<(), DriverError> {
        if self.adapters.is_empty() {
            return Ok(());
        }
        let shrink = Call { kernel: "lora_shrink" };
        let fits =
            |width: usize, length: usize| rows.checked_mul(width).is_some_and(|needed| needed <= length);
        let enough = fits(self.columns, x.len())
            && fits(self.outputs, out.len())
            && fits(self.rank_max, scratch.len())
            && rows <= rows_adapters.len();
        shrink.require(enough, || format!("there is no room for {rows} rows"))?;
        let arguments = vec![
            x.argument(),
            size(self.columns)?,
            rows_adapters.argument(),
            self.a.argument(),
            self.ranks.argument(),
            self.scales.argument(),
            scratch.argument(),
            size(self.rank_max)?,
        ];
        shrink.launch(device, [self.rank_max.div_ceil(4), rows, 1], 128, 0, arguments)?;
        let expand = Call { kernel: "lora_expand" };
        let arguments = vec![
            scratch.argument(),
            size(self.rank_max)?,
            rows_adapters.argument(),
            self.b.argument(),
            self.ranks.argument(),
            out.argument(),
            size(self.outputs)?,
        ];
        expand.launch(device, [self.outputs.div_ceil(128), rows, 1], 128, 0, arguments)
    }

    /// How many adapters it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.adapters.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.adapters.is_empty()
    }
}
