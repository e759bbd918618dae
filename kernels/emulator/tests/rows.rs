//! Norms, activations, embeddings, rotation and the cache's contents, against their references.

mod common;

use common::{check, device, half, numbers};
use half::{bf16, f16};
use lockgate_kernels::cuda::matrix::{DeviceMatrix, MatrixFormat};
use lockgate_kernels::cuda::reference;
use lockgate_kernels::cuda::rows::{DeviceRows, Forms, activate, embed, gather, rms_norm};
use lockgate_kernels::formats::{Format, dequantize_row, quantize_row};

const ALL_FORMS: Forms = Forms { floats: true, eight_bits: true, bf16: true };

/// The forms of rows say the same: bf16 rounds the floats, and so do 8 bits, exactly as the processor's kernels do.
fn check_forms(rows: &DeviceRows, cols: usize) -> Vec<f32> {
    let floats = rows.floats().expect("wanted").to_vec().expect("there");
    let rounded = rows.bf16().expect("wanted").to_vec().expect("there");
    for (float, rounded) in floats.iter().zip(rounded) {
        let (expected, got) = (bf16::from_f32(*float), bf16::from_bits(rounded));
        assert!(expected == got || float.is_nan() && got.is_nan(), "{float} in bf16 is {got}");
    }
    let (values, scales) = rows.eight_bits().expect("wanted");
    let (values, scales) = (values.to_vec().expect("there"), scales.to_vec().expect("there"));
    assert!(cols.is_multiple_of(32));
    for (group, floats) in floats.chunks(32).enumerate() {
        let expected = quantize(floats);
        assert_eq!(values[group * 32..][..32], expected.0, "{floats:?}");
        let sum: i32 = expected.0.iter().map(|&value| i32::from(value)).sum();
        let (scale, scaled) = (scales[2 * group], scales[2 * group + 1]);
        assert!(scale == expected.1 || scale.is_nan() && expected.1.is_nan(), "{scale}, not {}", expected.1);
        assert!(scaled == expected.1 * sum as f32 || scale.is_nan(), "{scaled}");
    }
    floats
}

fn quantize(block: &[f32]) -> (Vec<i8>, f32) {
    let greatest = f32::from_bits(block.iter().map(|x| x.abs().to_bits()).max().unwrap_or(0));
    if !greatest.is_finite() || greatest < 1e-30 {
        return (vec![0; block.len()], if greatest.is_finite() { 0.0 } else { f32::NAN });
    }
    let inverse = 127.0 / greatest;
    (block.iter().map(|x| (x * inverse).round_ties_even() as i8).collect(), greatest / 127.0)
}

#[test]
fn a_norm_adds_the_delta_and_has_all_forms() {
    for (number, (rows, cols)) in [(1, 32), (3, 96), (2, 576), (1, 2048)].into_iter().enumerate() {
        for with_delta in [false, true] {
            let device = device(number);
            let (x, delta) = (numbers(1, rows * cols), numbers(2, rows * cols));
            let weight = numbers(3, cols);
            let mut x_there = device.upload(&x).expect("memory");
            let delta_there = device.upload(&delta).expect("memory");
            let weight_there = device.upload(&weight).expect("memory");
            let mut out = DeviceRows::new(&device, rows, cols, ALL_FORMS).expect("memory");
            let given = with_delta.then_some(&delta_there);
            rms_norm(&device, rows, &mut x_there, given, &weight_there, 1e-5, &mut out).expect("it runs");
            let sums: Vec<f32> = match with_delta {
                true => x.iter().zip(&delta).map(|(x, delta)| x + delta).collect(),
                false => x,
            };
            assert_eq!(x_there.to_vec().expect("there"), sums);
            let got = check_forms(&out, cols);
            for (row, got) in sums.chunks(cols).zip(got.chunks(cols)) {
                for (expected, &got) in reference::rms_norm(row, &weight, 1e-5).into_iter().zip(got) {
                    check(got, expected, 1e-6 * expected.abs() + 1e-9, &format!("{rows} x {cols}"));
                }
            }
        }
    }
}

#[test]
fn a_norm_of_a_width_that_is_no_multiple_of_32_has_floats() {
    let device = device(2);
    let (x, weight) = (numbers(1, 3 * 45), numbers(2, 45));
    let mut x_there = device.upload(&x).expect("memory");
    let weight_there = device.upload(&weight).expect("memory");
    let forms = Forms { floats: true, eight_bits: false, bf16: false };
    let mut out = DeviceRows::new(&device, 3, 45, forms).expect("memory");
    rms_norm(&device, 3, &mut x_there, None, &weight_there, 1e-6, &mut out).expect("it runs");
    let got = out.floats().expect("wanted").to_vec().expect("there");
    for (row, got) in x.chunks(45).zip(got.chunks(45)) {
        for (expected, &got) in reference::rms_norm(row, &weight, 1e-6).into_iter().zip(got) {
            check(got, expected, 1e-6 * expected.abs() + 1e-9, &"45 wide");
        }
    }
    assert!(DeviceRows::new(&device, 3, 45, ALL_FORMS).is_err());
}

#[test]
fn gates_open_and_close() {
    for (number, (rows, cols)) in [(1, 32), (2, 160), (3, 1536)].into_iter().enumerate() {
        let device = device(number);
        let mut gate = numbers(1, rows * cols);
        gate.iter_mut().for_each(|gate| *gate *= 8.0);
        let up = numbers(2, rows * cols);
        let (gate_there, up_there) =
            (device.upload(&gate).expect("memory"), device.upload(&up).expect("memory"));
        let mut out = DeviceRows::new(&device, rows, cols, ALL_FORMS).expect("memory");
        activate(&device, rows, &gate_there, Some(&up_there), &mut out).expect("it runs");
        for ((&got, &gate), &up) in check_forms(&out, cols).iter().zip(&gate).zip(&up) {
            let expected = reference::swiglu(f64::from(gate), f64::from(up));
            check(got, expected, 1e-6 * expected.abs() + 1e-9, &format!("silu({gate}) * {up}"));
        }
        activate(&device, rows, &gate_there, None, &mut out).expect("it runs");
        assert_eq!(check_forms(&out, cols), gate);
    }
}

#[test]
fn values_that_no_scale_covers_are_told_by_it() {
    let device = device(1);
    let mut x = numbers(5, 160);
    (x[3], x[40]) = (f32::NAN, f32::NEG_INFINITY);
    x[64..96].fill(1e-31);
    x[96..128].fill(0.0);
    let there = device.upload(&x).expect("memory");
    let mut out = DeviceRows::new(&device, 1, 160, ALL_FORMS).expect("memory");
    activate(&device, 1, &there, None, &mut out).expect("it runs");
    check_forms(&out, 160);
    let scales = out.eight_bits().expect("wanted").1.to_vec().expect("there");
    assert!(scales[0].is_nan() && scales[2].is_nan());
    assert_eq!(scales[4..8], [0.0; 4]);
    assert!(scales[8] > 0.0);
}

#[test]
fn gathered_rows_are_the_rows() {
    let device = device(0);
    let (cols, table) = (130, numbers(3, 4 * 130));
    let there = device.upload(&table).expect("memory");
    let indices = device.upload(&[3_u32, 0, 3, 4]).expect("memory");
    let mut out = device.allocate(4 * cols).expect("memory");
    gather(&device, 4, cols, &there, &indices, &mut out).expect("it runs");
    let out = out.to_vec().expect("there");
    for (got, row) in out.chunks(cols).zip([3, 0, 3]) {
        assert_eq!(got, &table[row * cols..][..cols]);
    }
    assert!(out[3 * cols..].iter().all(|value| value.is_nan()), "there is no row 4");
    let mut short = device.allocate(cols).expect("memory");
    assert!(gather(&device, 2, cols, &there, &indices, &mut short).is_err());
}

#[test]
fn embeddings_are_the_rows_of_the_table() {
    let tokens = [3_u32, 0, 10, 3, 11, u32::MAX];
    for format in Format::ALL {
        let (rows, cols) = (11, format.block_len().max(96));
        let row_bytes = format.row_bytes(cols).expect("whole blocks");
        let values = numbers(9, rows * cols);
        let mut stored = vec![0; rows * row_bytes];
        for (row, out) in values.chunks(cols).zip(stored.chunks_mut(row_bytes)) {
            quantize_row(format, row, out);
        }
        let device = device(2);
        let table =
            DeviceMatrix::upload(&device, MatrixFormat::of(format), rows, cols, &stored).expect("memory");
        let mut out = device.allocate(tokens.len() * cols).expect("memory");
        let there = device.upload(&tokens).expect("memory");
        embed(&device, tokens.len(), &table, &there, &mut out).expect("it runs");
        let out = out.to_vec().expect("there");
        for (&token, got) in tokens.iter().zip(out.chunks(cols)) {
            let mut expected = vec![f32::NAN; cols];
            if let Some(stored) = stored.chunks(row_bytes).nth(token as usize) {
                dequantize_row(format, stored, &mut expected);
            }
            for (&got, &expected) in got.iter().zip(&expected) {
                // One rounding less than the reference's two, for formats with a minimum.
                let close = (got - expected).abs() <= 4e-7 * (1.0 + expected.abs());
                assert!(close || got.is_nan() && expected.is_nan(), "{format:?}: {got}, not {expected}");
            }
        }
    }
    assert_eq!(half(f16::MAX.to_f32()), 65504.0);
}
