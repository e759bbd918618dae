//! Adapters: rows of several in one batch, rows of none untouched, against the f64 reference.

mod common;

use std::sync::Arc;

use common::{check, numbers, unwatched_device as device};
use lockgate_kernels::cuda::lora::{AdapterTables, DeviceAdapter, NO_ADAPTER};
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
        // Of the second of three projections.
        let adapters: Vec<_> = ranks
            .iter()
            .zip(&matrices)
            .map(|(&rank, (a, b))| {
                let adapter = DeviceAdapter::upload(&device, rank, rank as f32 / 4.0, a, b);
                Arc::new(vec![None, Some(adapter.expect("memory")), None])
            })
            .collect();
        let mut tables = AdapterTables::new(&device, 3, 4, 8, 8).expect("memory");
        tables.set(&adapters).expect("they fit");
        assert_eq!(tables.len(), 3);
        // Runs of one, single ones, and none.
        let of_rows = [1, 1, 1, NO_ADAPTER, 0, 2, NO_ADAPTER, 1];
        let (x, before) = (numbers(3, of_rows.len() * columns), numbers(4, of_rows.len() * outputs));
        let mut out = device.upload(&before).expect("memory");
        let (x_there, rows_there) =
            (device.upload(&x).expect("memory"), device.upload(&of_rows).expect("memory"));
        for projection in 0..3 {
            tables.add(&device, projection, of_rows.len(), &x_there, &rows_there, &mut out).expect("it runs");
        }
        tables.set(&[]).expect("none is fine");
        tables.add(&device, 1, of_rows.len(), &x_there, &rows_there, &mut out).expect("nothing to add");
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
    let adapter = |b: &[f32]| {
        let adapter = DeviceAdapter::upload(&device, 2, 1.0, &[0.0; 8], b).expect("rank 2");
        Arc::new(vec![Some(adapter)])
    };
    let (to_three, to_four) = (adapter(&[0.0; 6]), adapter(&[0.0; 8]));
    let mut tables = AdapterTables::new(&device, 1, 2, 1, 2).expect("memory");
    let mut refused = |adapters: &[_]| tables.set(adapters).expect_err("refused").to_string();
    let error = refused(&[to_four.clone(), to_three.clone()]);
    assert!(error.contains("adapter 1 goes from 4 to 3, not from 4 to 4"), "{error}");
    assert!(refused(&[to_four.clone(), to_four.clone(), to_four.clone()]).contains("more than 2"));
    assert!(refused(&[Arc::new(Vec::new())]).contains("0 projections, not 1"));
    tables.set(std::slice::from_ref(&to_three)).expect("it fits alone");
    let (x, rows) = (device.zeros(4).expect("memory"), device.zeros(1).expect("memory"));
    let mut short = device.zeros(2).expect("memory");
    assert!(tables.add(&device, 0, 1, &x, &rows, &mut short).is_err(), "no room for three outputs");
    assert!(tables.add(&device, 1, 1, &x, &rows, &mut short).is_err(), "there is one projection");
}
