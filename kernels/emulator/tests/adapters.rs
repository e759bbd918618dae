//! Adapters: rows of several in one batch, rows of none untouched, against the f64 reference.

mod common;

use std::sync::Arc;

use common::{check, numbers, unwatched_device as device};
use lockgate_kernels::cuda::lora::{AdapterTables, DeviceAdapter, NO_ADAPTER, RowAdapters};
use lockgate_kernels::cuda::reference;
use lockgate_kernels::cuda::rows::{DeviceRows, Forms, activate};

/// What adapters add to rows, in the form of `forms`, against the f64 reference; `precision` is the share of a sum's size
/// that rounding may cost.
fn compare(number: usize, [columns, outputs]: [usize; 2], of_rows: &[u32], forms: Forms, precision: f64) {
    let device = device(number);
    let ranks = [1, 8, 5, 40];
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
    let mut tables = AdapterTables::new(&device, 3, 4, of_rows.len(), 40).expect("memory");
    tables.set(&adapters).expect("they fit");
    assert_eq!(tables.len(), 4);
    let (x, before) = (numbers(3, of_rows.len() * columns), numbers(4, of_rows.len() * outputs));
    let mut out = device.upload(&before).expect("memory");
    let mut rows = DeviceRows::new(&device, of_rows.len(), columns, forms).expect("memory");
    activate(&device, of_rows.len(), &device.upload(&x).expect("memory"), None, &mut rows).expect("it runs");
    let mut names = RowAdapters::new(&device, of_rows.len()).expect("memory");
    names.set(of_rows).expect("there is room");
    for projection in 0..3 {
        tables.add(&device, projection, &rows, &names, &mut out).expect("it runs");
    }
    tables.set(&[]).expect("none is fine");
    tables.add(&device, 1, &rows, &names, &mut out).expect("nothing to add");
    let out = out.to_vec().expect("there");
    for (row, &adapter) in of_rows.iter().enumerate() {
        let (got, before) = (&out[row * outputs..][..outputs], &before[row * outputs..][..outputs]);
        let Some((a, b)) = matrices.get(adapter as usize) else {
            assert_eq!(got, before, "row {row} has no adapter");
            continue;
        };
        let rank = ranks[adapter as usize];
        let low: Vec<(f64, f64)> = reference::gemv(a, &x[row * columns..][..columns])
            .into_iter()
            .map(|(sum, size)| (sum * rank as f64 / 4.0, size * rank as f64 / 4.0))
            .collect();
        for (at, (&got, b)) in got.iter().zip(b.chunks(rank)).enumerate() {
            let sum: f64 = b.iter().zip(&low).map(|(&b, low)| f64::from(b) * low.0).sum();
            let size: f64 = b.iter().zip(&low).map(|(&b, low)| f64::from(b.abs()) * low.1).sum();
            let context = format!("{columns} to {outputs}, row {row}, output {at}");
            check(got, f64::from(before[at]) + sum, precision * (1.0 + size), &context);
        }
    }
}

#[test]
fn each_row_gets_its_own_adapter() {
    // Runs of one, single ones, and none.
    let of_rows = [1, 1, 1, NO_ADAPTER, 0, 2, NO_ADAPTER, 1];
    let floats = Forms { floats: true, eight_bits: false, bf16: false };
    for (number, shape) in [[1, 1], [64, 130], [45, 257]].into_iter().enumerate() {
        compare(number, shape, &of_rows, floats, 1e-5);
    }
}

#[test]
fn runs_of_rows_get_their_adapters_together() {
    let bf16 = Forms { floats: false, eight_bits: false, bf16: true };
    let runs = |runs: &[(u32, usize)]| -> Vec<u32> {
        runs.iter().flat_map(|(name, rows)| std::iter::repeat_n(*name, *rows)).collect()
    };
    // A whole tile and a row, parts of tiles, single rows, and none before, between and behind.
    let long =
        runs(&[(NO_ADAPTER, 2), (3, 65), (0, 1), (NO_ADAPTER, 3), (1, 17), (2, 16), (1, 1), (NO_ADAPTER, 1)]);
    for (number, (shape, of_rows)) in [
        ([8, 1], runs(&[(1, 9)])),
        ([264, 130], long),
        ([32, 33], runs(&[(2, 1)])),
        ([160, 257], runs(&[(3, 20)])),
    ]
    .into_iter()
    .enumerate()
    {
        // Three roundings to bf16, each within 2^-9.
        compare(number, shape, &of_rows, bf16, 3.1 / 512.0);
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
    let forms = Forms { floats: true, eight_bits: false, bf16: false };
    let rows = |columns| DeviceRows::new(&device, 1, columns, forms).expect("memory");
    let mut names = RowAdapters::new(&device, 1).expect("memory");
    assert!(names.set(&[0, 0]).is_err(), "there is room for one");
    names.set(&[0]).expect("it fits");
    let (mut short, mut long) = (device.zeros(2).expect("memory"), device.zeros(3).expect("memory"));
    assert!(tables.add(&device, 0, &rows(4), &names, &mut short).is_err(), "no room for three outputs");
    assert!(tables.add(&device, 0, &rows(5), &names, &mut long).is_err(), "other columns");
    assert!(tables.add(&device, 1, &rows(4), &names, &mut long).is_err(), "there is one projection");
}
