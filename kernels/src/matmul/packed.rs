//! [`PackedMatrix`]: weights in the layout that the kernels read, filled panel by panel of 16 rows.

use thiserror::Error;

use crate::formats::{self, Format};

/// Rows of a panel.
pub(crate) const PANEL_ROWS: usize = 16;

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
    format: Format,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: Vec<u8>,
}

impl PackedMatrix {
    /// A matrix of zero bytes, to be filled through [`Self::panels_mut`].
    ///
    /// # Errors
    /// When the shape is not one of the format, or its size cannot be had.
    pub fn new(format: Format, rows: usize, cols: usize) -> Result<PackedMatrix, PackError> {
        if rows == 0 || cols == 0 || !cols.is_multiple_of(format.block_len()) {
            return Err(PackError::Shape { format, rows, cols });
        }
        let memory = PackError::Memory { format, rows, cols };
        let Some(row_bytes) = format.row_bytes(cols) else { return Err(memory) };
        let Some(size) = row_bytes.checked_mul(rows) else { return Err(memory) };
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(size).is_err() {
            return Err(memory);
        }
        bytes.resize(size, 0);
        Ok(PackedMatrix { format, rows, cols, row_bytes, bytes })
    }

    /// The panels in order of their rows. They do not overlap, so threads may pack different ones at once.
    pub fn panels_mut(&mut self) -> impl ExactSizeIterator<Item = PanelMut<'_>> + Send {
        let row_bytes = self.row_bytes;
        let panels = self.bytes.chunks_mut(row_bytes * PANEL_ROWS).enumerate();
        panels.map(move |(number, bytes)| {
            let rows = bytes.len() / row_bytes;
            PanelMut { first_row: number * PANEL_ROWS, rows, row_bytes, bytes }
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
        self.format
    }

    /// Bytes that one pass over the matrix reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Row `row` as floats, the same as [`formats::dequantize_row`] gives for the stored row.
    ///
    /// # Panics
    /// When there is no such row or `out` is not of as many elements as columns.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        formats::dequantize_row(self.format, self.row(row), out);
    }

    pub(super) fn row(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.row_bytes..][..self.row_bytes]
    }
}

/// One panel of a matrix, to be packed.
pub struct PanelMut<'a> {
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
        self.bytes.copy_from_slice(source_rows);
    }
}
