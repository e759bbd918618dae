//! Matrix products of a few rows, on every format, over edge shapes and schedules, against the f64 reference.

mod common;

use std::sync::Arc;

use common::{check, device, numbers};
use half::{bf16, f16};
use lockgate_emulator::{Emulator, Schedule};
use lockgate_kernels::cuda::gemm::gemm;
use lockgate_kernels::cuda::matrix::{DeviceMatrix, MatrixFormat};
use lockgate_kernels::cuda::memory::Device;
use lockgate_kernels::cuda::planes::PlaneFormat;
use lockgate_kernels::cuda::products::{Job, gemv, gemv_swiglu};
use lockgate_kernels::cuda::reference;
use lockgate_kernels::cuda::rows::{DeviceRows, Forms, activate};
use lockgate_kernels::cuda::tuning::{EightBitProducts, Trial};
use lockgate_kernels::formats::{dequantize_row, quantize_row};

const FORMATS: [MatrixFormat; 3] = [MatrixFormat::F16, MatrixFormat::Bf16, MatrixFormat::F32];

/// A random matrix: as stored, and as numbers.
struct Weights {
    format: MatrixFormat,
    rows: usize,
    cols: usize,
    stored: Vec<u8>,
    values: Vec<f32>,
}

impl Weights {
    fn new(format: MatrixFormat, rows: usize, cols: usize, seed: u64) -> Weights {
        let mut values = numbers(seed, rows * cols);
        let stored = match format {
            MatrixFormat::Planes(planes) => {
                let format = planes.stored();
                let row_bytes = format.row_bytes(cols).expect("whole blocks");
                let mut stored = vec![0; rows * row_bytes];
                for (row, out) in values.chunks_mut(cols).zip(stored.chunks_mut(row_bytes)) {
                    quantize_row(format, row, out);
                    dequantize_row(format, out, row);
                }
                stored
            }
            MatrixFormat::F16 => {
                values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
                values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect()
            }
            MatrixFormat::Bf16 => {
                values.iter_mut().for_each(|value| *value = bf16::from_f32(*value).to_f32());
                values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect()
            }
            MatrixFormat::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        Weights { format, rows, cols, stored, values }
    }

    fn upload(&self, device: &Device) -> DeviceMatrix {
        DeviceMatrix::upload(device, self.format, self.rows, self.cols, &self.stored)
            .expect("it has a layout")
    }
}

/// Rows of activations on the device, and the numbers that they stand for there.
struct Inputs {
    rows: DeviceRows,
    values: Vec<f32>,
}

impl Inputs {
    fn new(device: &Device, batch: usize, cols: usize, format: MatrixFormat, seed: u64) -> Inputs {
        let x = device.upload(&numbers(seed, batch * cols)).expect("memory");
        let eight_bits = matches!(format, MatrixFormat::Planes(_));
        let forms = Forms { floats: !eight_bits, eight_bits, bf16: false };
        let mut rows = DeviceRows::new(device, batch, cols, forms).expect("memory");
        activate(device, batch, &x, None, &mut rows).expect("it runs");
        let values = match rows.eight_bits() {
            None => rows.floats().expect("one of the two").to_vec().expect("it is there"),
            Some((values, scales)) => {
                let (values, scales) = (values.to_vec().expect("there"), scales.to_vec().expect("there"));
                values.iter().enumerate().map(|(at, &value)| f32::from(value) * scales[at / 32 * 2]).collect()
            }
        };
        Inputs { rows, values }
    }
}

fn columns(format: MatrixFormat) -> [usize; 3] {
    match format {
        MatrixFormat::Planes(planes) if planes.block_len() == 256 => [256, 768, 1280],
        MatrixFormat::Planes(_) => [32, 576, 1120],
        _ => [8, 264, 576],
    }
}

#[test]
fn products_equal_the_reference_on_every_format_shape_and_batch() {
    let planes = PlaneFormat::ALL.into_iter().map(MatrixFormat::Planes);
    let mut number = 0;
    for format in planes.chain(FORMATS) {
        for (shape, cols) in columns(format).into_iter().enumerate() {
            for batch in [1, 2, 3, 4, 5, 8] {
                number += 1;
                let rows = [1, 7, 16, 19, 33, 8][number % 6];
                let device = device(number);
                let weights = Weights::new(format, rows, cols, number as u64);
                let matrix = weights.upload(&device);
                let inputs = Inputs::new(&device, batch, cols, format, number as u64 + 1000);
                let bias = numbers(number as u64 + 2000, rows);
                let bias_there = device.upload(&bias).expect("memory");
                let before = numbers(number as u64 + 3000, batch * rows);
                let add = shape == 1;
                let mut out = match add {
                    true => device.upload(&before).expect("memory"),
                    false => device.allocate(batch * rows).expect("memory"),
                };
                let job = Job { weights: &matrix, bias: (shape != 2).then_some(&bias_there), out: &mut out };
                gemv(&device, batch, &inputs.rows, add, &mut [job]).expect("it runs");
                let out = out.to_vec().expect("there");
                for (row, x) in inputs.values.chunks(cols).enumerate() {
                    for (at, (sum, size)) in reference::gemv(&weights.values, x).into_iter().enumerate() {
                        let own = if shape == 2 { 0.0 } else { f64::from(bias[at]) };
                        let more = if add { f64::from(before[row * rows + at]) } else { 0.0 };
                        let context =
                            format!("{format:?}, {rows} x {cols}, batch {batch}, row {row}, output {at}");
                        check(out[row * rows + at], sum + own + more, 1e-6 * (size + 2.0), &context);
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_batch_around_it() {
    // The same order of operations, so the same bits, within what one kernel takes.
    for format in
        [MatrixFormat::Planes(PlaneFormat::Q4K), MatrixFormat::Planes(PlaneFormat::Q6K), MatrixFormat::Bf16]
    {
        let device = device(0);
        let weights = Weights::new(format, 21, 512, 5);
        let matrix = weights.upload(&device);
        let inputs = Inputs::new(&device, 8, 512, format, 6);
        let run = |batch: usize| {
            let mut out = device.allocate(batch * 21).expect("memory");
            let job = Job { weights: &matrix, bias: None, out: &mut out };
            gemv(&device, batch, &inputs.rows, false, &mut [job]).expect("it runs");
            out.to_vec().expect("there")
        };
        let all: Vec<u32> = run(8).iter().map(|value| value.to_bits()).collect();
        for batch in 1..8 {
            let some: Vec<u32> = run(batch).iter().map(|value| value.to_bits()).collect();
            assert_eq!(some[..], all[..batch * 21], "{format:?}, batch {batch}");
        }
    }
}

#[test]
fn matrices_of_different_formats_share_a_launch() {
    let device = device(3);
    let formats = [PlaneFormat::Q4K, PlaneFormat::Q8_0, PlaneFormat::Q6K].map(MatrixFormat::Planes);
    let inputs = Inputs::new(&device, 2, 512, formats[0], 1);
    let weights: Vec<Weights> = formats
        .iter()
        .zip([40, 3, 17])
        .map(|(&format, rows)| Weights::new(format, rows, 512, rows as u64))
        .collect();
    let matrices: Vec<DeviceMatrix> = weights.iter().map(|weights| weights.upload(&device)).collect();
    let mut outs: Vec<_> =
        weights.iter().map(|weights| device.allocate(2 * weights.rows).expect("memory")).collect();
    let mut jobs: Vec<Job<'_>> =
        matrices.iter().zip(&mut outs).map(|(weights, out)| Job { weights, bias: None, out }).collect();
    gemv(&device, 2, &inputs.rows, false, &mut jobs).expect("it runs");
    for (weights, out) in weights.iter().zip(&outs) {
        let out = out.to_vec().expect("there");
        for (row, x) in inputs.values.chunks(512).enumerate() {
            for (at, (sum, size)) in reference::gemv(&weights.values, x).into_iter().enumerate() {
                check(out[row * weights.rows + at], sum, 1e-6 * size, &format!("{:?}", weights.format));
            }
        }
    }
}

#[test]
fn gate_and_up_share_a_launch_on_every_format() {
    let planes = PlaneFormat::ALL.into_iter().map(MatrixFormat::Planes);
    for (number, format) in planes.chain(FORMATS).enumerate() {
        for batch in [1, 2, 4, 7] {
            let (rows, cols) = ([1, 6, 9, 21][(number + batch) % 4], columns(format)[1]);
            let device = device(number + batch);
            let (gate, up) = (Weights::new(format, rows, cols, 1), Weights::new(format, rows, cols, 2));
            let inputs = Inputs::new(&device, batch, cols, format, number as u64);
            let mut out = device.allocate(batch * rows).expect("memory");
            let (gate_there, up_there) = (gate.upload(&device), up.upload(&device));
            gemv_swiglu(&device, batch, &inputs.rows, &gate_there, &up_there, &mut out).expect("it runs");
            let out = out.to_vec().expect("there");
            for (row, x) in inputs.values.chunks(cols).enumerate() {
                let both = reference::gemv(&gate.values, x).into_iter().zip(reference::gemv(&up.values, x));
                for (at, ((gate, gate_size), (up, up_size))) in both.enumerate() {
                    let bound = 1e-6 * (gate_size * (up.abs() + 1.0) + up_size * (gate.abs() + 1.0));
                    let context = format!("{format:?}, {rows} x {cols}, batch {batch}, output {at}");
                    check(out[row * rows + at], reference::swiglu(gate, up), bound, &context);
                }
            }
        }
    }
}

#[test]
fn products_of_many_rows_equal_the_reference_on_every_format() {
    let planes = PlaneFormat::ALL.into_iter().map(MatrixFormat::Planes);
    let floats = [MatrixFormat::F16, MatrixFormat::Bf16];
    for (number, format) in planes.chain(floats).enumerate() {
        for (shape, cols) in columns(format).into_iter().take(2).enumerate() {
            let rows = [1, 9, 64, 65, 130][(number + shape) % 5];
            let outputs = [1, 64, 77, 3, 129][(number + 2 * shape) % 5];
            let device = device(number + shape);
            let weights = Weights::new(format, outputs, cols, number as u64);
            let matrix = weights.upload(&device);
            let x = device.upload(&numbers(number as u64 + 7, rows * cols)).expect("memory");
            let forms = Forms { floats: false, eight_bits: false, bf16: true };
            let mut inputs = DeviceRows::new(&device, rows, cols, forms).expect("memory");
            activate(&device, rows, &x, None, &mut inputs).expect("it runs");
            let inputs_are = inputs.bf16().expect("wanted").to_vec().expect("there");
            let inputs_are: Vec<f32> =
                inputs_are.into_iter().map(|bits| bf16::from_bits(bits).to_f32()).collect();
            let rounded: Vec<f32> =
                weights.values.iter().map(|&value| bf16::from_f32(value).to_f32()).collect();
            let (bias, before) = (numbers(1, outputs), numbers(2, rows * outputs));
            let bias_there = device.upload(&bias).expect("memory");
            let mut out = device.upload(&before).expect("memory");
            let given = (shape == 1).then_some(&bias_there);
            gemm(&device, rows, &inputs, &matrix, given, shape == 1, &mut out).expect("it runs");
            let out = out.to_vec().expect("there");
            for (row, x) in inputs_are.chunks(cols).enumerate() {
                for (at, (sum, size)) in reference::gemv(&rounded, x).into_iter().enumerate() {
                    let more = f64::from(bias[at]) + f64::from(before[row * outputs + at]);
                    let more = if shape == 1 { more } else { 0.0 };
                    // The weights of quantized formats are rounded after one float operation more or less.
                    let slack = if matches!(format, MatrixFormat::Planes(_)) { 2e-4 } else { 1e-6 };
                    let context = format!("{format:?}, {outputs} x {cols}, row {row} of {rows}, output {at}");
                    check(out[row * outputs + at], sum + more, slack * (size + 2.0), &context);
                }
            }
        }
    }
}

/// Every format in 8 bits, over edge shapes, with a bias and what was there before.
#[test]
fn products_of_many_rows_in_eight_bits_equal_the_reference() {
    for (number, planes) in PlaneFormat::ALL.into_iter().enumerate() {
        let format = MatrixFormat::Planes(planes);
        for (shape, cols) in columns(format).into_iter().take(2).enumerate() {
            let rows = [1, 9, 64, 65, 130][(number + shape) % 5];
            let outputs = [1, 64, 77, 3, 129][(number + 2 * shape) % 5];
            let device = device(number + shape).with_eight_bit_products(EightBitProducts::of(&[planes]));
            let weights = Weights::new(format, outputs, cols, number as u64);
            let matrix = weights.upload(&device);
            let inputs = Inputs::new(&device, rows, cols, format, number as u64 + 7);
            let (bias, before) = (numbers(1, outputs), numbers(2, rows * outputs));
            let bias_there = device.upload(&bias).expect("memory");
            let mut out = device.upload(&before).expect("memory");
            let given = (shape == 1).then_some(&bias_there);
            gemm(&device, rows, &inputs.rows, &matrix, given, shape == 1, &mut out).expect("it runs");
            let out = out.to_vec().expect("there");
            for (row, x) in inputs.values.chunks(cols).enumerate() {
                for (at, (sum, size)) in reference::gemv(&weights.values, x).into_iter().enumerate() {
                    let more = f64::from(bias[at]) + f64::from(before[row * outputs + at]);
                    let more = if shape == 1 { more } else { 0.0 };
                    let context = format!("{format:?}, {outputs} x {cols}, row {row} of {rows}, output {at}");
                    check(out[row * outputs + at], sum + more, 1e-6 * (size + 2.0), &context);
                }
            }
        }
    }
}

/// Weights in bf16 go to the vendor's library where there is one, and to our own kernel where there is none or a bias.
#[test]
fn products_in_bf16_are_the_librarys_where_there_is_one() {
    if lockgate_emulator::card().is_some() {
        // Which of the two a card has is the machine's.
        return;
    }
    let (rows, cols, outputs) = (9, 72, 13);
    let run = |library: bool, bias: bool, add: bool| {
        let emulator = Emulator::new(Schedule::InOrder);
        let emulator = Arc::new(if library { emulator.with_library() } else { emulator });
        let device = Device::new(emulator.clone());
        let weights = Weights::new(MatrixFormat::Bf16, outputs, cols, 1);
        let matrix = weights.upload(&device);
        let forms = Forms { floats: false, eight_bits: false, bf16: true };
        let mut inputs = DeviceRows::new(&device, rows, cols, forms).expect("memory");
        let x = device.upload(&numbers(2, rows * cols)).expect("memory");
        activate(&device, rows, &x, None, &mut inputs).expect("it runs");
        let (bias_is, before) = (numbers(3, outputs), numbers(4, rows * outputs));
        let bias_there = device.upload(&bias_is).expect("memory");
        let mut out = device.upload(&before).expect("memory");
        let launches = emulator.launches();
        let driver = device.driver();
        driver.begin_capture().expect("none is going on");
        gemm(&device, rows, &inputs, &matrix, bias.then_some(&bias_there), add, &mut out).expect("it runs");
        let graph = driver.end_capture().expect("one is going on");
        driver.launch_graph(graph).expect("it runs");
        let values = inputs.bf16().expect("wanted").to_vec().expect("there");
        let values: Vec<f32> = values.into_iter().map(|bits| bf16::from_bits(bits).to_f32()).collect();
        for (row, x) in values.chunks(cols).enumerate() {
            for (at, (sum, size)) in reference::gemv(&weights.values, x).into_iter().enumerate() {
                let own = if bias { f64::from(bias_is[at]) } else { 0.0 };
                let more = if add { f64::from(before[row * outputs + at]) } else { 0.0 };
                let got = out.to_vec().expect("there")[row * outputs + at];
                check(got, sum + own + more, 1e-6 * (size + 2.0), &format!("library {library}, add {add}"));
            }
        }
        emulator.launches() - launches
    };
    assert_eq!(run(true, false, false), 0, "no kernel of ours ran");
    assert_eq!(run(true, false, true), 0);
    assert_eq!(run(true, true, true), 1, "a bias is our own kernel's");
    assert_eq!(run(false, false, true), 1);
}

/// What is timed on a card runs, tiny; which of the two is faster here means nothing.
#[test]
fn both_products_can_be_timed() {
    let device = common::unwatched_device(0);
    let trial = Trial { rows: 2, width: 256, rounds: 1 };
    let found = EightBitProducts::measure(&device, trial).expect("both run");
    assert!(
        PlaneFormat::ALL
            .into_iter()
            .all(|format| { found.has(MatrixFormat::Planes(format)) == found.formats().contains(&format) })
    );
    assert!(!found.has(MatrixFormat::Bf16));
}

#[test]
fn float_matrices_of_different_formats_share_a_launch() {
    let device = device(5);
    let inputs = Inputs::new(&device, 3, 264, FORMATS[0], 1);
    let weights: Vec<Weights> = FORMATS
        .iter()
        .zip([40, 3, 17])
        .map(|(&format, rows)| Weights::new(format, rows, 264, rows as u64))
        .collect();
    let matrices: Vec<DeviceMatrix> = weights.iter().map(|weights| weights.upload(&device)).collect();
    let bias = numbers(9, 3);
    let bias_there = device.upload(&bias).expect("memory");
    let mut outs: Vec<_> =
        weights.iter().map(|weights| device.allocate(3 * weights.rows).expect("memory")).collect();
    let mut jobs: Vec<Job<'_>> = matrices
        .iter()
        .zip(&mut outs)
        .map(|(weights, out)| Job { weights, bias: (weights.rows() == 3).then_some(&bias_there), out })
        .collect();
    gemv(&device, 3, &inputs.rows, false, &mut jobs).expect("it runs");
    for (weights, out) in weights.iter().zip(&outs) {
        let out = out.to_vec().expect("there");
        for (row, x) in inputs.values.chunks(264).enumerate() {
            for (at, (sum, size)) in reference::gemv(&weights.values, x).into_iter().enumerate() {
                let own = if weights.rows == 3 { f64::from(bias[at]) } else { 0.0 };
                check(
                    out[row * weights.rows + at],
                    sum + own,
                    1e-6 * (size + 2.0),
                    &format!("{:?}", weights.format),
                );
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let device = device(0);
    let format = MatrixFormat::Planes(PlaneFormat::Q8_0);
    let weights = Weights::new(format, 4, 64, 1).upload(&device);
    let floats = Weights::new(MatrixFormat::F32, 4, 64, 1).upload(&device);
    let inputs = Inputs::new(&device, 8, 64, format, 2);
    let narrow = Inputs::new(&device, 8, 32, format, 2);
    let refusal = |batch: usize, inputs: &Inputs, weights: &DeviceMatrix, length: usize| {
        let mut out = device.allocate(length).expect("memory");
        let job = Job { weights, bias: None, out: &mut out };
        gemv(&device, batch, &inputs.rows, false, &mut [job]).expect_err("refused").to_string()
    };
    assert!(refusal(9, &inputs, &weights, 100).contains("a batch of 9, not 1 to 8"));
    assert!(refusal(0, &inputs, &weights, 100).contains("a batch of 0"));
    assert!(refusal(1, &narrow, &weights, 100).contains("64 columns of weights, 32 of activations"));
    assert!(refusal(8, &inputs, &weights, 31).contains("4 numbers a row"));
    assert!(refusal(1, &inputs, &floats, 100).contains("not there in single precision"));
    let upload =
        |rows, cols, bytes: usize| DeviceMatrix::upload(&device, format, rows, cols, &vec![0; bytes]);
    assert!(upload(4, 48, 204).expect_err("refused").to_string().contains("no kernel takes this shape"));
    assert!(upload(4, 64, 271).expect_err("refused").to_string().contains("has 272 stored bytes, not 271"));
}
