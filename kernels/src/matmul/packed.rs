//! [`PackedMatrix`]: weights in the layout that the kernels read, filled panel by panel of 16 rows.

use thiserror::Error;

use super::layout::{Layout, PANEL_ROWS};
use super::pack;
use crate::formats::Format;
use crate::memory::Buffer;

/// Why a matrix cannot be made.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PackError {
    /// A row is not a whole number of blocks, or there are no rows or columns.
    #[error("a {} matrix cannot have {rows} rows of {cols} columns: columns must be a multiple of {}",
        format.name(), format.block_len())]
    Shape {
        /// The format asked for.
        format: Format,
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
    },
    /// The size overflows or the memory is not to be had.
    #[error("no memory for a {} matrix of {rows} rows and {cols} columns", format.name())]
    Memory {
        /// The format asked for.
        format: Format,
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
    },
}

/// A matrix of `rows` outputs by `cols` inputs.
pub struct PackedMatrix {
    layout: Layout,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    panel_bytes: usize,
    panels: Buffer<u8>,
}

impl PackedMatrix {
    /// A matrix of zeros, to be filled through [`Self::panels_mut`].
    ///
    /// # Errors
    /// When the shape is not one of the format, or its size cannot be had.
    pub fn new(format: Format, rows: usize, cols: usize) -> Result<PackedMatrix, PackError> {
        if rows == 0 || cols == 0 || !cols.is_multiple_of(format.block_len()) {
            return Err(PackError::Shape { format, rows, cols });
        }
        let layout = Layout::of(format);
        let memory = PackError::Memory { format, rows, cols };
        let sizes = (format.row_bytes(cols), layout.panel_bytes(cols), Self::bytes_of(format, rows, cols));
        let (Some(row_bytes), Some(panel_bytes), Some(bytes)) = sizes else { return Err(memory) };
        let Ok(panels) = Buffer::zeroed(bytes) else { return Err(memory) };
        Ok(PackedMatrix { layout, rows, cols, row_bytes, panel_bytes, panels })
    }

    /// Bytes of a matrix of a shape of the format, without making it. None when there are too many to count.
    #[must_use]
    pub fn bytes_of(format: Format, rows: usize, cols: usize) -> Option<usize> {
        Layout::of(format).panel_bytes(cols)?.checked_mul(rows.div_ceil(PANEL_ROWS))
    }

    /// The panels in order of their rows. They do not overlap, so threads may pack different ones at once.
    pub fn panels_mut(&mut self) -> impl ExactSizeIterator<Item = PanelMut<'_>> + Send {
        let (layout, rows, row_bytes) = (self.layout, self.rows, self.row_bytes);
        self.panels.chunks_exact_mut(self.panel_bytes).enumerate().map(move |(number, bytes)| {
            let first_row = number * PANEL_ROWS;
            PanelMut { layout, first_row, rows: PANEL_ROWS.min(rows - first_row), row_bytes, bytes }
        })
    }

    /// Outputs.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The format that it was stored in.
    #[must_use]
    pub fn format(&self) -> Format {
        self.layout.format
    }

    /// Bytes that one pass over the matrix reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.panels.len()
    }

    /// Row `row` as floats, the same as [`crate::formats::dequantize_row`] gives for the stored row.
    ///
    /// # Panics
    /// When there is no such row or `out` is not of as many elements as columns.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "the matrix has no such row");
        assert_eq!(out.len(), self.cols, "a row has as many elements as the matrix has columns");
        let panel = &self.panels[row / PANEL_ROWS * self.panel_bytes..][..self.panel_bytes];
        pack::unpack_row(&self.layout, panel, row % PANEL_ROWS, out);
    }

    pub(super) fn panel_bytes(&self) -> usize {
        self.panel_bytes
    }

    /// The panels from panel `first` on.
    pub(super) fn panels_from(&self, first: usize) -> &[u8] {
        &self.panels[first * self.panel_bytes..]
    }
}

/// One panel of a matrix, to be packed.
pub struct PanelMut<'a> {
    layout: Layout,
    first_row: usize,
    rows: usize,
    row_bytes: usize,
    bytes: &'a mut [u8],
}

impl PanelMut<'_> {
    /// The first of its rows.
    #[must_use]
    pub fn first_row(&self) -> usize {
        self.first_row
    }

    /// Its rows: 16, in the last panel perhaps fewer.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Fills the panel from its rows as they are stored in a file, one after the other.
    ///
    /// # Panics
    /// When `source_rows` is not exactly that many stored rows.
    pub fn pack(&mut self, source_rows: &[u8]) {
        assert_eq!(source_rows.len(), self.rows * self.row_bytes, "a panel is packed from exactly its rows");
        pack::pack(&self.layout, self.bytes, source_rows, self.row_bytes);
    }
}
