//! Adapters' matrices on a card: copied once, freed with the adapter.

use std::sync::Arc;

use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::cuda::lora::{DeviceAdapter, DeviceAdapters};
use lockgate_kernels::cuda::memory::Device;
use lockgate_kernels::matmul::PackedMatrix;

use crate::adapter::{Adapter, LowRank, Module};

/// The number of a module's projection among all of a model.
pub(super) fn projection(layer: usize, module: Module) -> usize {
    layer * Module::ALL.len() + module as usize
}

/// The copy of an adapter's matrices of the layers from `first_layer` on, made if this device has none.
pub(super) fn prepare(
    device: &Device,
    adapter: &Adapter,
    first_layer: usize,
) -> Result<Arc<DeviceAdapters>, DriverError> {
    adapter.copy_on(device, || {
        let modules = |layer: usize| Module::ALL.map(|module| (layer, module));
        let copies = (0..adapter.layers()).flat_map(modules).map(|(layer, module)| {
            let pair = adapter.low_rank(layer, module).filter(|_| layer >= first_layer);
            pair.map(|pair| copy(device, pair)).transpose()
        });
        copies.collect()
    })
}

fn copy(device: &Device, pair: &LowRank) -> Result<DeviceAdapter, DriverError> {
    DeviceAdapter::upload(device, pair.a.rows(), pair.scale, &numbers(&pair.a), &numbers(&pair.b))
}

fn numbers(matrix: &PackedMatrix) -> Vec<f32> {
    let mut all = vec![0.0; matrix.rows() * matrix.cols()];
    for (row, out) in all.chunks_exact_mut(matrix.cols()).enumerate() {
        matrix.dequantize_row(row, out);
    }
    all
}
