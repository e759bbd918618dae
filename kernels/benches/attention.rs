//! Attention, norms and the pool, each beside the limit that this machine sets it: decode in bytes of cache a second
//! against the read bandwidth, prefill in flops against the f32 peak (both printed first). Under `--test` every case
//! runs once at a small size.
//!
//! `cargo bench -p lockgate-kernels --bench attention`
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::print_stdout, reason = "the limits are part of the report")]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Duration;

use criterion::{Bencher, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lockgate_kernels::attention::{
    Attention, KvFormat, KvLayout, KvPages, PAGE_TOKENS, Sequence, Slot, Workspace, attend,
};
use lockgate_kernels::cpu::{Level, default_threads};
use lockgate_kernels::pool::ThreadPool;
use lockgate_kernels::rope::{Pairing, RopeTable};
use lockgate_kernels::{activation, bandwidth, norm, peak, rope};

/// A model's attention: name, key-value heads, query heads of each, head dimension.
type Model = (&'static str, usize, usize, usize);
const SMOLLM2_135M: Model = ("smollm2-135m", 3, 3, 64);
const LLAMA_1B: Model = ("llama-3.2-1b", 8, 4, 64);
const QWEN_7B: Model = ("qwen2.5-7b", 4, 7, 128);
const MODELS: [Model; 3] = [SMOLLM2_135M, LLAMA_1B, QWEN_7B];

fn is_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// One pool of a thread and one of as many as the machine has.
fn pools() -> Vec<ThreadPool> {
    let all = default_threads();
    let counts = if all.get() == 1 { vec![all] } else { vec![NonZeroUsize::MIN, all] };
    counts.into_iter().map(ThreadPool::new).collect()
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index * 7919 % 1000) as f32 / 500.0 - 1.0).collect()
}

/// The caches of several layers, so that a decode step finds none of them in the processor's caches.
struct Layers {
    heads: usize,
    layout: KvLayout,
    layers: Vec<KvPages>,
    table: Vec<u32>,
}

impl Layers {
    fn new(pool: &ThreadPool, model: Model, format: KvFormat, tokens: usize, bytes: usize) -> Layers {
        let (_, kv_heads, group, head_dim) = model;
        let layout = KvLayout { kv_heads, head_dim, format };
        let pages = tokens.div_ceil(PAGE_TOKENS);
        let count = bytes.div_ceil(pages * layout.page_bytes()).max(1);
        // Pages in no order, as in a cache that has been in use for a while.
        let mut table: Vec<u32> = (0..pages as u32).collect();
        table.sort_by_key(|page| page.wrapping_mul(2_654_435_761));
        let rows = numbers(tokens * kv_heads * head_dim);
        let slots: Vec<Slot> =
            (0..tokens).map(|position| Slot::of(&table, position).expect("pages suffice")).collect();
        let layer = |_| {
            let mut layer = KvPages::new(layout, pages).expect("memory for a bench");
            layer.append(pool, Level::detect(), &slots, &rows, &rows);
            layer
        };
        Layers { heads: kv_heads * group, layout, layers: (0..count).map(layer).collect(), table }
    }

    /// Times one layer's attention for some sequences that share the pages.
    fn attend(&self, bencher: &mut Bencher, pool: &ThreadPool, sequences: &[(usize, usize)]) {
        let sequences: Vec<Sequence> = sequences
            .iter()
            .map(|&(first_position, rows)| Sequence { pages: &self.table, first_position, rows })
            .collect();
        let rows: usize = sequences.iter().map(|sequence| sequence.rows).sum();
        let queries = numbers(rows * self.heads * self.layout.head_dim);
        let (mut out, mut workspace) = (vec![0.0; queries.len()], Workspace::default());
        let scale = 1.0 / (self.layout.head_dim as f32).sqrt();
        let mut layers = self.layers.iter().cycle();
        bencher.iter(|| {
            let pages = layers.next().expect("there is a layer");
            let job = Attention { pages, heads: self.heads, scale, sequences: &sequences, queries: &queries };
            attend(pool, Level::detect(), &job, &mut workspace, &mut out).expect("memory for a bench");
            black_box(&mut out);
        });
    }
}

fn limits(_: &mut Criterion) {
    let (bytes, iterations) = if is_test() { (1 << 20, 1000) } else { (bandwidth::probe_bytes(), 3_000_000) };
    for pool in pools() {
        let level = Level::detect();
        let read = bandwidth::read_bandwidth(&pool, level, bytes).expect("memory for a bench");
        let peak = peak::measure(&pool, level, iterations);
        println!("{}, {} threads: reads {read:.1} GB/s, {peak:.0?}", level.name(), pool.threads());
    }
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let (depths, bytes): (&[usize], usize) = if is_test() { (&[20], 0) } else { (&[128, 4096], 96 << 20) };
    for model in MODELS {
        for &depth in depths {
            for pool in pools() {
                for (kv, format) in [("f16", KvFormat::F16), ("q8_0", KvFormat::Q8_0)] {
                    let layers = Layers::new(&pool, model, format, depth, bytes);
                    let token_bytes = layers.layout.page_bytes() / PAGE_TOKENS;
                    group.throughput(Throughput::Bytes((depth * token_bytes) as u64));
                    let name = BenchmarkId::new(format!("{}/{depth}/{kv}", model.0), pool.threads());
                    group.bench_function(name, |bencher| layers.attend(bencher, &pool, &[(depth - 1, 1)]));
                }
            }
        }
    }
}

fn batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode-batch-8");
    let depth = if is_test() { 20 } else { 512 };
    for pool in pools() {
        let layers = Layers::new(&pool, SMOLLM2_135M, KvFormat::F16, depth, 0);
        let name = BenchmarkId::new(format!("{}/{depth}", SMOLLM2_135M.0), pool.threads());
        group.bench_function(name, |bencher| layers.attend(bencher, &pool, &[(depth - 1, 1); 8]));
    }
}

fn prefill(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prefill");
    let tokens = if is_test() { 20 } else { 512 };
    for model in MODELS {
        for pool in pools() {
            let layers = Layers::new(&pool, model, KvFormat::F16, tokens, 0);
            let (_, kv_heads, heads_of_one, head_dim) = model;
            let flops = tokens * (tokens + 1) / 2 * kv_heads * heads_of_one * head_dim * 4;
            group.throughput(Throughput::Elements(flops as u64));
            let name = BenchmarkId::new(format!("{}/{tokens}", model.0), pool.threads());
            group.bench_function(name, |bencher| layers.attend(bencher, &pool, &[(0, tokens)]));
        }
    }
}

fn elementwise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("row");
    let (pool, level) = (ThreadPool::new(NonZeroUsize::MIN), Level::detect());
    for (name, hidden, feed_forward, heads) in [("135m", 576, 1536, 12), ("1b", 2048, 8192, 40)] {
        let (x, weight, mut out) = (numbers(hidden), numbers(hidden), vec![0.0; feed_forward]);
        group.bench_function(BenchmarkId::new("rms-norm", name), |bencher| {
            bencher.iter(|| norm::rms_norm(&pool, level, black_box(&x), &weight, 1e-5, &mut out[..hidden]));
        });
        group.bench_function(BenchmarkId::new("add", name), |bencher| {
            bencher.iter(|| norm::add(&pool, level, &mut out[..hidden], black_box(&x)));
        });
        let gate = numbers(feed_forward);
        group.bench_function(BenchmarkId::new("silu-mul", name), |bencher| {
            bencher.iter(|| activation::silu_mul(&pool, level, black_box(&gate), &gate, &mut out));
        });
        let frequencies: Vec<f64> = (0..32).map(|pair| 0.75_f64.powi(pair)).collect();
        let table = RopeTable::new(Pairing::Interleaved, &frequencies, 16, 1.0).expect("memory for a bench");
        let mut queries_and_keys = numbers(heads * 64);
        group.bench_function(BenchmarkId::new("rope", name), |bencher| {
            bencher.iter(|| {
                rope::apply(&pool, level, &table, &[7], heads, 64, black_box(&mut queries_and_keys))
            });
        });
    }
}

fn dispatch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool");
    for pool in pools() {
        group.bench_function(BenchmarkId::new("empty-run", pool.threads()), |bencher| {
            bencher.iter(|| pool.run(&|thread| _ = black_box(thread)));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .without_plots();
    targets = limits, dispatch, elementwise, decode, batch, prefill
}
criterion_main!(benches);
