//! What a device makes of a rule for random weights is what this side makes of it and sends there, bit for bit.

mod common;

use common::device;
use lockgate_kernels::cuda::matrix::{DeviceMatrix, MatrixFormat};
use lockgate_kernels::cuda::planes::PlaneFormat;
use lockgate_kernels::formats::Format;
use lockgate_kernels::random::RandomWeights;

#[test]
fn weights_made_there_are_those_sent_there() {
    // One block; tails of a block of threads, and of a unit of floats; several blocks of threads.
    let shapes: [(usize, usize); 7] = [(1, 256), (3, 768), (70, 512), (7, 96), (1, 8), (5, 24), (33, 72)];
    for (number, format) in Format::ALL.into_iter().filter(|format| *format != Format::F32).enumerate() {
        for (rows, cols) in shapes.into_iter().filter(|(_, cols)| cols.is_multiple_of(format.block_len())) {
            let device = device(number);
            let weights = RandomWeights { deviation: 0.02, seed: 77 + rows as u64 };
            let mut stored = vec![0; rows * format.row_bytes(cols).expect("whole blocks")];
            weights.read(format, 0, &mut stored);
            let there = MatrixFormat::of(format);
            let sent = DeviceMatrix::upload(&device, there, rows, cols, &stored).expect("memory");
            let made = DeviceMatrix::random(&device, there, rows, cols, weights).expect("it runs");
            let (sent, made) = (sent.to_vec().expect("there"), made.to_vec().expect("there"));
            let differs = sent.iter().zip(&made).position(|(sent, made)| sent != made);
            assert_eq!((differs, sent.len()), (None, made.len()), "{format:?}, {rows} x {cols}");
        }
    }
}

#[test]
fn another_seed_makes_other_weights() {
    let device = device(1);
    let made = |seed| {
        let format = MatrixFormat::Planes(PlaneFormat::Q8_0);
        let weights = RandomWeights { deviation: 1.0, seed };
        DeviceMatrix::random(&device, format, 2, 64, weights).expect("it runs").to_vec().expect("there")
    };
    assert_ne!(made(1), made(2));
    assert_eq!(made(1), made(1));
}

#[test]
fn what_no_model_is_stored_in_is_refused() {
    let device = device(2);
    for (format, cols) in
        [(MatrixFormat::F32, 8), (MatrixFormat::Planes(PlaneFormat::Q4K), 32), (MatrixFormat::Bf16, 4)]
    {
        let weights = RandomWeights { deviation: 1.0, seed: 1 };
        assert!(DeviceMatrix::random(&device, format, 1, cols, weights).is_err(), "{format:?}");
    }
}
