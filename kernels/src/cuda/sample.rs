//! Launchers of `cuda/sample.cu`: from logits to tokens and log-probabilities on the device.

use super::driver::DriverError;
use super::memory::{Device, DeviceBuffer};
use super::{Call, size};

/// What a row becomes whose every logit is impossible: no token.
pub const NO_TOKEN: u32 = u32::MAX;

/// How each row of a batch is drawn, one number a row.
#[derive(Debug)]
pub struct Draws<'a> {
    /// What logits are divided by; 0 takes the greatest.
    pub temperatures: &'a DeviceBuffer<f32>,
    /// The most likely tokens that are kept, at least one; the vocabulary's size or more keeps all.
    pub top_ks: &'a DeviceBuffer<u32>,
    /// The mass that is kept, of what top-k left.
    pub top_ps: &'a DeviceBuffer<f32>,
    /// The least share of the greatest weight.
    pub min_ps: &'a DeviceBuffer<f32>,
    /// The draws, in [0, 1).
    pub points: &'a DeviceBuffer<f64>,
}

/// The logits of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// `[rows][vocabulary]`.
    pub logits: &'a DeviceBuffer<f32>,
    /// Rows of the batch.
    pub rows: usize,
    /// Logits of a row.
    pub vocabulary: usize,
}

impl Rows<'_> {
    fn check(&self, call: &Call, out: usize) -> Result<(), DriverError> {
        let needed = self.rows.checked_mul(self.vocabulary);
        let enough = self.vocabulary > 0 && needed.is_some_and(|needed| needed <= self.logits.len());
        call.require(enough && self.rows <= out, || {
            format!("there is no room for {} rows of {}", self.rows, self.vocabulary)
        })
    }
}

/// Writes the first of each row's greatest logits to `tokens`, or [`NO_TOKEN`].
///
/// # Errors
/// Shapes do not fit together, or the driver's.
pub fn argmax(device: &Device, rows: Rows<'_>, tokens: &mut DeviceBuffer<u32>) -> Result<(), DriverError> {
    let call = Call { kernel: "argmax" };
    rows.check(&call, tokens.len())?;
    let arguments = vec![rows.logits.argument(), size(rows.vocabulary)?, tokens.argument()];
    call.launch(device, [rows.rows, 1, 1], 512, 0, arguments)
}

/// Draws a token for each row, or writes [`NO_TOKEN`].
///
/// # Errors
/// Shapes do not fit together, or the driver's.
pub fn sample(
    device: &Device,
    rows: Rows<'_>,
    draws: &Draws<'_>,
    tokens: &mut DeviceBuffer<u32>,
) -> Result<(), DriverError> {
    let call = Call { kernel: "sample" };
    let parameters = [draws.temperatures.len(), draws.top_ps.len(), draws.min_ps.len(), draws.top_ks.len()];
    let shortest = parameters.into_iter().fold(draws.points.len().min(tokens.len()), usize::min);
    rows.check(&call, shortest)?;
    let arguments = vec![
        rows.logits.argument(),
        size(rows.vocabulary)?,
        draws.temperatures.argument(),
        draws.top_ks.argument(),
        draws.top_ps.argument(),
        draws.min_ps.argument(),
        draws.points.argument(),
        tokens.argument(),
    ];
    call.launch(device, [rows.rows, 1, 1], 512, 0, arguments)
}

/// Writes, for each row, the greatest logit and the logarithm of the sum of e^(logit − greatest): a token's
/// log-probability is its logit less both.
///
/// # Errors
/// Shapes do not fit together, or the driver's.
pub fn log_normaliser(
    device: &Device,
    rows: Rows<'_>,
    out: &mut DeviceBuffer<f32>,
) -> Result<(), DriverError> {
    let call = Call { kernel: "log_normaliser" };
    rows.check(&call, out.len() / 2)?;
    let arguments = vec![rows.logits.argument(), size(rows.vocabulary)?, out.argument()];
    call.launch(device, [rows.rows, 1, 1], 512, 0, arguments)
}
