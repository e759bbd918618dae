//! [`Activations`]: the inputs of one or more products, kept with what the kernels derive from them.

use crate::cpu::Level;
use crate::pool::ThreadPool;

/// A reusable buffer of `rows` x `cols` inputs. Their quantized forms are made when a product first needs them, once
/// for every [`Activations::set`].
#[derive(Default)]
pub struct Activations {
    rows: usize,
    cols: usize,
    values: Vec<f32>,
}

impl Activations {
    /// An empty one: no rows.
    #[must_use]
    pub fn new() -> Activations {
        Activations::default()
    }

    /// Replaces the contents by a copy of `values`, row-major.
    ///
    /// # Panics
    /// When `values` is not of `rows` x `cols` elements.
    pub fn set(&mut self, pool: &ThreadPool, level: Level, rows: usize, cols: usize, values: &[f32]) {
        let _ = (pool, level);
        assert_eq!(Some(values.len()), rows.checked_mul(cols), "activations must be rows x columns");
        (self.rows, self.cols) = (rows, cols);
        self.values.clear();
        self.values.extend_from_slice(values);
    }

    /// Tokens.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of a token.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }
}
