//! Matrix products of every format beside the limits that this machine sets them: one and eight tokens in bytes of
//! weights a second against the read bandwidth, 512 tokens in operations a second against the 8-bit peak (the f32 peak
//! for float formats). A table follows the timings. Weights of fewer than 8 bits can exceed the 8-bit peak where there
//! is no instruction for four products a lane. Under `--test` every case runs once at a small size.
//!
//! `cargo bench -p lockgate-kernels --bench matmul`
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::print_stdout, reason = "the table is the report")]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lockgate_kernels::cpu::{Level, default_threads};
use lockgate_kernels::formats::{self, Format};
use lockgate_kernels::matmul::{Activations, MatmulJob, PackedMatrix, matmul, reference};
use lockgate_kernels::pool::ThreadPool;
use lockgate_kernels::{bandwidth, peak};

/// Tokens of a product: decoding one sequence, decoding eight, reading a prompt.
const TOKENS: [usize; 3] = [1, 8, 512];

/// Sizes of a run: rows and columns of the matrices, and bytes of them that a case goes through.
struct Size {
    rows: usize,
    cols: usize,
    bytes: usize,
    tokens_max: usize,
    probe_bytes: usize,
    peak_iterations: usize,
}

impl Size {
    /// Small under `--test`; else matrices of a 1B model, more of them than a cache holds.
    fn of_run() -> Size {
        if std::env::args().any(|argument| argument == "--test") {
            let (rows, cols) = (20, 256);
            return Size { rows, cols, bytes: 0, tokens_max: 9, probe_bytes: 1 << 20, peak_iterations: 1000 };
        }
        let (rows, cols, bytes) = (2048, 2048, 128 << 20);
        let probe_bytes = bandwidth::probe_bytes();
        Size { rows, cols, bytes, tokens_max: 512, probe_bytes, peak_iterations: 3_000_000 }
    }
}

/// One pool of a thread and one of as many as the machine has.
fn pools() -> Vec<ThreadPool> {
    let all = default_threads();
    let counts = if all.get() == 1 { vec![all] } else { vec![NonZeroUsize::MIN, all] };
    counts.into_iter().map(ThreadPool::new).collect()
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index * 7919 % 1009) as f32 / 504.0 - 1.0).collect()
}

/// Equal matrices of one format, each of its own memory.
struct Weights {
    stored: Vec<u8>,
    matrices: Vec<PackedMatrix>,
}

impl Weights {
    fn new(format: Format, size: &Size) -> Weights {
        let row_bytes = format.row_bytes(size.cols).expect("columns are whole blocks");
        let mut stored = vec![0; size.rows * row_bytes];
        let values = numbers(size.rows * size.cols);
        for (row, bytes) in values.chunks(size.cols).zip(stored.chunks_mut(row_bytes)) {
            formats::quantize_row(format, row, bytes);
        }
        let count = (size.bytes / stored.len()).max(1);
        let matrix = |_| {
            let mut matrix = PackedMatrix::new(format, size.rows, size.cols).expect("memory for a bench");
            for mut panel in matrix.panels_mut() {
                let (first, rows) = (panel.first_row() * row_bytes, panel.rows() * row_bytes);
                panel.pack(&stored[first..first + rows]);
            }
            matrix
        };
        let matrices = (0..count).map(matrix).collect();
        Weights { stored, matrices }
    }

    /// The first product must be the reference's, bit for bit.
    fn check(&self, x: &[f32], out: &[f32]) {
        let matrix = &self.matrices[0];
        let row_bytes = self.stored.len() / matrix.rows();
        for row in [0, matrix.rows() - 1] {
            let stored = &self.stored[row * row_bytes..][..row_bytes];
            let expected = reference::dot(matrix.format(), stored, &x[..matrix.cols()]);
            assert_eq!(out[row].to_bits(), expected.to_bits(), "{} row {row}", matrix.format().name());
        }
    }
}

/// A line of the table.
struct Line {
    format: Format,
    tokens: usize,
    threads: usize,
    seconds: f64,
    bytes: f64,
    operations: f64,
    checksum: f64,
}

fn products(criterion: &mut Criterion) {
    let (size, level) = (Size::of_run(), Level::detect());
    let mut lines = Vec::new();
    for pool in pools() {
        for format in Format::ALL {
            let weights = Weights::new(format, &size);
            for tokens in TOKENS.map(|tokens| tokens.min(size.tokens_max)) {
                lines.push(case(criterion, &pool, level, &weights, tokens));
            }
        }
        table(&size, &pool, level, &lines);
        lines.clear();
    }
}

/// Times the product of a few tokens and each matrix in turn.
fn case(
    criterion: &mut Criterion,
    pool: &ThreadPool,
    level: Level,
    weights: &Weights,
    tokens: usize,
) -> Line {
    let (format, rows, cols) =
        (weights.matrices[0].format(), weights.matrices[0].rows(), weights.matrices[0].cols());
    let (x, mut out) = (numbers(tokens * cols), vec![0.0; tokens * rows]);
    let mut activations = Activations::new();
    activations.set(pool, level, tokens, cols, &x);
    let first = &mut [MatmulJob { weights: &weights.matrices[0], out: &mut out }];
    matmul(pool, level, first, &mut activations);
    weights.check(&x, &out);
    let checksum = out.iter().map(|&out| f64::from(out)).sum();

    let (bytes, operations) = (weights.matrices[0].bytes(), 2 * rows * cols * tokens);
    let mut samples = Vec::new();
    let mut matrices = weights.matrices.iter().cycle();
    let mut group = criterion.benchmark_group(format!("tokens-{tokens}"));
    group.throughput(if tokens < 64 {
        Throughput::Bytes(bytes as u64)
    } else {
        Throughput::Elements(operations as u64)
    });
    group.bench_function(BenchmarkId::new(format.name(), pool.threads()), |bencher| {
        bencher.iter_custom(|iterations| {
            let start = Instant::now();
            for _ in 0..iterations {
                // Inputs are new for every product of a model, so their quantization belongs to it.
                activations.set(pool, level, tokens, cols, &x);
                let weights = matrices.next().expect("there is a matrix");
                matmul(pool, level, &mut [MatmulJob { weights, out: &mut out }], &mut activations);
                black_box(&mut out);
            }
            let elapsed = start.elapsed();
            samples.push(elapsed.as_secs_f64() / iterations as f64);
            elapsed
        });
    });
    group.finish();
    samples.sort_by(f64::total_cmp);
    let seconds = samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN);
    let (bytes, operations) = (bytes as f64, operations as f64);
    Line { format, tokens, threads: pool.threads(), seconds, bytes, operations, checksum }
}

/// Prints medians beside limits that are measured here and now.
fn table(size: &Size, pool: &ThreadPool, level: Level, lines: &[Line]) {
    let read = bandwidth::read_bandwidth(pool, level, size.probe_bytes).expect("memory for a bench");
    let peak = peak::measure(pool, level, size.peak_iterations);
    let int8 = peak.int8_gops.unwrap_or(f64::NAN);
    println!(
        "\n{} threads, {}: reads {read:.1} GB/s, peaks {int8:.0} Gop/s (8 bits), {:.0} Gflop/s (f32)",
        pool.threads(),
        level.name(),
        peak.f32_gflops
    );
    println!("| format | tokens | threads | GB/s | of bandwidth | Gop/s | of peak | checksum |");
    println!("|---|---|---|---|---|---|---|---|");
    for line in lines {
        let (bytes, operations) = (line.bytes / line.seconds / 1e9, line.operations / line.seconds / 1e9);
        let limit = if line.format.block_len() == 1 { peak.f32_gflops } else { int8 };
        println!(
            "| {} | {} | {} | {bytes:.1} | {:.0}% | {operations:.0} | {:.0}% | {:.3} |",
            line.format.name(),
            line.tokens,
            line.threads,
            100.0 * bytes / read,
            100.0 * operations / limit,
            line.checksum
        );
    }
    println!();
}

fn settings() -> Criterion {
    let (warm_up, measurement) = (Duration::from_millis(100), Duration::from_millis(400));
    Criterion::default().sample_size(20).warm_up_time(warm_up).measurement_time(measurement)
}

criterion_group! { name = benches; config = settings(); targets = products }
criterion_main!(benches);
