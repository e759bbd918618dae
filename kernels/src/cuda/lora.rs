//! Adapters on the device, and the launchers of `cuda/lora.cu` and `cuda/lora_segments.cu`.

use std::sync::Arc;

use super::driver::{Argument, DriverError};
use super::memory::{Device, DeviceBuffer};
use super::rows::DeviceRows;
use super::{Call, size};

/// A row's adapter when it has none.
pub const NO_ADAPTER: u32 = u32::MAX;

/// Rows that a tile has at most, and the part of it that a block of `lora_shrink_segments` takes.
const TILE_ROWS: usize = 64;
const PART_ROWS: usize = 16;

/// Which adapter each row of a batch has, on the device: a name a row for kernels that take rows one by one, and tiles of
/// neighbours with the same for those that take many.
#[derive(Debug)]
pub struct RowAdapters {
    names: DeviceBuffer<u32>,
    /// First row, rows and adapter of each.
    tiles: DeviceBuffer<u32>,
    rows: usize,
    tile_count: usize,
    staged: Vec<u32>,
}

impl RowAdapters {
    /// Room for `rows` rows.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(device: &Device, rows: usize) -> Result<RowAdapters, DriverError> {
        let words = rows.checked_mul(3).ok_or(DriverError::OutOfMemory { bytes: usize::MAX })?;
        let (names, tiles) = (device.allocate(rows)?, device.allocate(words)?);
        Ok(RowAdapters { names, tiles, rows: 0, tile_count: 0, staged: Vec::new() })
    }

    /// Names the adapter of each row: a number below [`AdapterTables::len`], or [`NO_ADAPTER`]; nothing checks that.
    ///
    /// # Errors
    /// There is no room for as many, or the driver's.
    pub fn set(&mut self, names: &[u32]) -> Result<(), DriverError> {
        self.names.write(0, names)?;
        self.staged.clear();
        let mut first = 0;
        for run in names.chunk_by(|one, next| one == next) {
            if run[0] != NO_ADAPTER {
                for (number, tile) in run.chunks(TILE_ROWS).enumerate() {
                    // They were counted before they came.
                    self.staged.extend([(first + number * TILE_ROWS) as u32, tile.len() as u32, run[0]]);
                }
            }
            first += run.len();
        }
        (self.rows, self.tile_count) = (names.len(), self.staged.len() / 3);
        self.tiles.write(0, &self.staged)
    }
}

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

    fn columns(&self) -> usize {
        self.a.len() / self.rank
    }

    fn outputs(&self) -> usize {
        self.b.len() / self.rank
    }
}

/// An adapter's matrices for each projection of a model; nothing where it changes none.
pub type DeviceAdapters = Vec<Option<DeviceAdapter>>;

/// The adapters that rows of a batch name by their number, for every projection of a model. All of its memory is there
/// from the beginning.
#[derive(Debug)]
pub struct AdapterTables {
    projections: usize,
    slots: usize,
    /// Kept so that the addresses below stay valid.
    adapters: Vec<Arc<DeviceAdapters>>,
    /// `[projections][slots]`, like those below.
    a: DeviceBuffer<u64>,
    b: DeviceBuffer<u64>,
    ranks: DeviceBuffer<u32>,
    scales: DeviceBuffer<f32>,
    /// `[rows][rank]`
    low: DeviceBuffer<f32>,
    /// Of each projection.
    shapes: Vec<Option<Shape>>,
}

/// What the adapters of one projection have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    columns: usize,
    outputs: usize,
    rank_max: usize,
}

impl AdapterTables {
    /// Room for `slots` adapters of `projections` projections, and for products of `rows` rows with ranks up to
    /// `rank_max`.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(
        device: &Device,
        projections: usize,
        slots: usize,
        rows: usize,
        rank_max: usize,
    ) -> Result<AdapterTables, DriverError> {
        let too_many = DriverError::OutOfMemory { bytes: usize::MAX };
        let length = projections.checked_mul(slots).ok_or(too_many.clone())?;
        Ok(AdapterTables {
            projections,
            slots,
            adapters: Vec::new(),
            a: device.allocate(length)?,
            b: device.allocate(length)?,
            ranks: device.allocate(length)?,
            scales: device.allocate(length)?,
            low: device.allocate(rows.checked_mul(rank_max).ok_or(too_many)?)?,
            shapes: vec![None; projections],
        })
    }

    /// Makes these the adapters with the numbers from 0 on. Nothing is copied where they are already.
    ///
    /// # Errors
    /// They are more than there are slots, of other projections, or of different shapes; or the driver's.
    pub fn set(&mut self, adapters: &[Arc<DeviceAdapters>]) -> Result<(), DriverError> {
        let same = self.adapters.len() == adapters.len()
            && self.adapters.iter().zip(adapters).all(|(old, new)| Arc::ptr_eq(old, new));
        if same {
            return Ok(());
        }
        let refuse = |problem: String| Err(DriverError::failed("adapters", problem));
        if adapters.len() > self.slots {
            return refuse(format!("{} at once, more than {}", adapters.len(), self.slots));
        }
        let length = self.projections * self.slots;
        let (mut a, mut b) = (vec![0; length], vec![0; length]);
        let (mut ranks, mut scales) = (vec![0; length], vec![0.0; length]);
        let mut shapes: Vec<Option<Shape>> = vec![None; self.projections];
        for (slot, adapter) in adapters.iter().enumerate() {
            if adapter.len() != self.projections {
                return refuse(format!("of {} projections, not {}", adapter.len(), self.projections));
            }
            for (projection, pair) in adapter.iter().enumerate() {
                let Some(pair) = pair else { continue };
                let (columns, outputs) = (pair.columns(), pair.outputs());
                let shape = shapes[projection].get_or_insert(Shape { columns, outputs, rank_max: 0 });
                if (shape.columns, shape.outputs) != (columns, outputs) {
                    return refuse(format!(
                        "adapter {slot} goes from {columns} to {outputs}, not from {} to {}",
                        shape.columns, shape.outputs
                    ));
                }
                shape.rank_max = shape.rank_max.max(pair.rank);
                let at = projection * self.slots + slot;
                (a[at], b[at]) = (pair.a.at(0).0, pair.b.at(0).0);
                let rank = u32::try_from(pair.rank);
                ranks[at] = rank.map_err(|_| DriverError::failed("adapters", "a rank beyond 32 bits"))?;
                scales[at] = pair.scale;
            }
        }
        // Until all is written nothing may be used.
        self.shapes.fill(None);
        self.adapters.clear();
        if !adapters.is_empty() {
            self.a.write(0, &a)?;
            self.b.write(0, &b)?;
            self.ranks.write(0, &ranks)?;
            self.scales.write(0, &scales)?;
        }
        self.adapters = adapters.to_vec();
        self.shapes = shapes;
        Ok(())
    }

    /// Adds what each row's adapter makes of `x` to `out`, `[rows][outputs]`, in one projection: row by row where `x` is
    /// there in single precision alone, and tile by tile, rounded, where it is there in bf16.
    ///
    /// # Errors
    /// Shapes do not fit together, or the driver's.
    pub fn add(
        &mut self,
        device: &Device,
        projection: usize,
        x: &DeviceRows,
        rows: &RowAdapters,
        out: &mut DeviceBuffer<f32>,
    ) -> Result<(), DriverError> {
        let tiled = x.bf16();
        let kernels = match tiled {
            Some(_) => ["lora_shrink_segments", "lora_expand_segments"],
            None => ["lora_shrink", "lora_expand"],
        };
        let [shrink, expand] = kernels.map(|kernel| Call { kernel });
        shrink.require(projection < self.projections, || format!("there is no projection {projection}"))?;
        let Some(Shape { columns, outputs, rank_max }) = self.shapes[projection] else { return Ok(()) };
        let count = rows.rows;
        let fits =
            |width: usize, length: usize| count.checked_mul(width).is_some_and(|needed| needed <= length);
        let enough = count <= x.rows() && fits(outputs, out.len()) && fits(rank_max, self.low.len());
        shrink.require(enough, || format!("there is no room for {count} rows"))?;
        shrink.require(columns == x.cols(), || format!("{columns} columns, not {}", x.cols()))?;
        let first = projection * self.slots;
        let of = |address: super::driver::Address| Argument::Pointer(address);
        let (x, names) = match (tiled, x.floats()) {
            (Some(x), _) => {
                shrink.require(columns.is_multiple_of(8), || format!("{columns} are no whole vectors"))?;
                (x.argument(), rows.tiles.argument())
            }
            (None, Some(x)) => (x.argument(), rows.names.argument()),
            (None, None) => return shrink.require(false, || "the rows are there in neither form".to_owned()),
        };
        let arguments = vec![
            x,
            size(columns)?,
            names,
            of(self.a.at(first)),
            of(self.ranks.at(first)),
            of(self.scales.at(first)),
            self.low.argument(),
            size(rank_max)?,
        ];
        let grid = match tiled {
            Some(_) => [rank_max.div_ceil(16), rows.tile_count * (TILE_ROWS / PART_ROWS), 1],
            None => [rank_max.div_ceil(4), count, 1],
        };
        shrink.launch(device, grid, 128, 0, arguments)?;
        let arguments = vec![
            self.low.argument(),
            size(rank_max)?,
            names,
            of(self.b.at(first)),
            of(self.ranks.at(first)),
            out.argument(),
            size(outputs)?,
        ];
        let across = if tiled.is_some() { rows.tile_count } else { count };
        expand.launch(device, [outputs.div_ceil(128), across, 1], 128, 0, arguments)
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
