//! Adapters: rows of several in one batch, rows of none untouched, against the f64 reference.

mod common;

use common::{check, numbers, unwatched_device as device};
use lockgate_kernels::cuda::lora::{AdapterTable, DeviceAdapter, NO_ADAPTER};
use lockgate_kernels::cuda::reference;

#[test]
fn each_row_gets_its_own_adapter() {
    for (number, (columns, outputs)) in [(1, 1), (64, 130), (45, 257)].into_iter().enumerate() {
        let device = device(number);
        let ranks = [1, 8, 5];
        let matrices: Vec<(Vec<f32>, Vec<f32>)> = ranks
            .iter()
            .map(|rank| (numbers(*rank as u64, rank * columns), numbers(*rank as u64 + 50, outputs * rank)))
            .collect();
        let adapters: Vec<DeviceAdapter> = ranks
            .iter()
            .zip(&matrices)
            .map(|(&rank, (a, b))| {
                DeviceAdapter::upload(&device, rank, rank as f32 / 4.0, a, b).expect("memory")
            })
            .collect();
        let table =
            AdapterTable::new(&device, columns, outputs, adapters.iter().collect()).expect("they fit");
        assert_eq!(table.len(), 3);
        // Runs of one, single ones, and none.
        let of_rows = [1, 1, 1, NO_ADAPTER, 0, 2, NO_ADAPTER, 1];
        let (x, before) = (numbers(3, of_rows.len() * columns), numbers(4, of_rows.len() * outputs));
        let mut out = device.upload(&before).expect("memory");
        let mut scratch = device.allocate(table.scratch(of_rows.len())).expect("memory");
        let (x_there, rows_there) =
            (device.upload(&x).expect("memory"), device.upload(&of_rows).expect("memory"));
        table.add(&device, of_rows.len(), &x_there, &rows_there, &mut scratch, &mut out).expect("it runs");
        let out = out.to_vec().expect("there");
        for (row, &adapter) in of_rows.iter().enumerate() {
            let (got, before) = (&out[row * outputs..][..outputs], &before[row * outputs..][..outputs]);
            let Some((a, b)) = matrices.get(adapter as usize) else {
                assert_eq!(got, before, "row {row} has no adapter");
                continue;
            };
            let rank = ranks[adapter as usize];
            let low: Vec<f64> = reference::gemv(a, &x[row * columns..][..columns])
                .into_iter()
                .map(|(sum, _)| sum * rank as f64 / 4.0)
                .collect();
            for (at, (&got, b)) in got.iter().zip(b.chunks(rank)).enumerate() {
                let sum: f64 = b.iter().zip(&low).map(|(&b, low)| f64::from(b) * low).sum();
                let size: f64 = low.iter().map(|low| low.abs()).sum();
                let context = format!("{columns} to {outputs}, row {row}, output {at}");
                check(got, f64::from(before[at]) + sum, 1e-5 * (1.0 + size), &context);
            }
        }
    }
}

#[test]
fn adapters_of_other_shapes_are_refused() {
    let device = device(0);
    assert!(DeviceAdapter::upload(&device, 3, 1.0, &[0.0; 8], &[0.0; 6]).is_err());
    let adapter = DeviceAdapter::upload(&device, 2, 1.0, &[0.0; 8], &[0.0; 6]).expect("rank 2, 4 to 3");
    let error = AdapterTable::new(&device, 4, 4, vec![&adapter]).expect_err("it goes to 3");
    assert!(error.to_string().contains("adapter 0 goes from 4 to 3, not from 4 to 4"), "{error}");
}
