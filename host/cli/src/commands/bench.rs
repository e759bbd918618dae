//! `bench`: prefill and decode speed, beside the memory bandwidth that bounds decoding.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_engine::bench::Bench;
use lockgate_engine::gguf::{Gguf, Metadata};
use lockgate_engine::model::{LoadOptions, Mix, Model, Shape, random_model};
use lockgate_kernels::bandwidth;
use lockgate_kernels::cpu::{Level, default_threads};
use lockgate_kernels::pool::ThreadPool;
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::failure::Failure;
use crate::{models, terminal};

/// Seed of random weights: the same figures' work on every machine.
const WEIGHTS_SEED: u64 = 1;

pub(super) fn bench(args: BenchArgs) -> Result<(), Failure> {
    if args.prefill == 0 && args.decode == 0 {
        return Err(Failure::unusable("-p 0 and -n 0 leave nothing to measure"));
    }
    let (gguf, name) = source(&args)?;
    let pool = Arc::new(ThreadPool::new(args.threads.unwrap_or_else(default_threads)));
    let level = Level::detect();
    let options = LoadOptions {
        context: Some(args.depth + args.prefill.max(args.decode)),
        sequences: args.batch.get(),
        ..LoadOptions::default()
    };
    let model = models::Loading::named(format!("loading {name}"))
        .track(|progress| Model::load(&gguf, &options, &pool, progress))?;
    let device = format!("cpu, {} threads, {}", pool.threads(), level.name());
    let adapter = super::adapter(&args.adapter, model.config())?;
    let mut bench = Bench::new(&model, Arc::clone(&pool), level, args.batch.get(), adapter)?;

    let mut rows = Vec::new();
    let bandwidth_before = read_bandwidth(&pool, level)?;
    if args.prefill > 0 {
        let speeds = measure(&mut bench, &args, args.prefill, |bench, tokens| bench.prefill(tokens))?;
        rows.push(Row { test: format!("pp{}", args.prefill), speeds, passes_read_all: false });
    }
    if args.decode > 0 {
        let speeds = measure(&mut bench, &args, args.decode, |bench, tokens| {
            (0..tokens).try_for_each(|_| bench.decode())
        })?;
        rows.push(Row { test: format!("tg{}", args.decode), speeds, passes_read_all: true });
    }
    // The memory's speed drifts on shared machines: take it on both sides of the runs.
    let bandwidth = (bandwidth_before + read_bandwidth(&pool, level)?) / 2.0;
    let facts =
        Facts { model: &name, device: &device, args: &args, bandwidth, bytes: model.bytes_per_token() };
    report(&rows, &facts)
}

fn source(args: &BenchArgs) -> Result<(Gguf, String), Failure> {
    match (&args.model, &args.shape, &args.quant) {
        (Some(model), _, _) => {
            let path = models::find(model)?;
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            Ok((Gguf::open(&path)?, name))
        }
        (None, Some(shape), Some(quant)) => {
            let (of, mix) = (Shape::named(shape)?, Mix::named(quant)?);
            Ok((
                random_model(&of, mix, WEIGHTS_SEED, &Metadata::new())?,
                format!("{shape} {quant} (random weights)"),
            ))
        }
        _ => Err(Failure::unusable("--model, or --shape with --quant, is needed")),
    }
}

fn read_bandwidth(pool: &ThreadPool, level: Level) -> Result<f64, Failure> {
    Ok(bandwidth::read_bandwidth(pool, level, bandwidth::probe_bytes())?)
}

struct Row {
    test: String,
    /// Tokens per second of each run.
    speeds: Vec<f64>,
    /// Whether each pass computes one token a sequence, so that the weights are read once for it.
    passes_read_all: bool,
}

struct Facts<'a> {
    model: &'a str,
    device: &'a str,
    args: &'a BenchArgs,
    /// GB/s.
    bandwidth: f64,
    /// Of weights, for a pass over one token.
    bytes: u64,
}

/// Runs a test after filling the context to its depth, once to warm up and then as often as asked.
fn measure<E: Into<anyhow::Error>>(
    bench: &mut Bench<'_>,
    args: &BenchArgs,
    tokens: usize,
    mut work: impl FnMut(&mut Bench<'_>, usize) -> Result<(), E>,
) -> Result<Vec<f64>, Failure> {
    bench.rewind(0);
    bench.prefill(args.depth)?;
    let mut run = |tokens: usize| -> Result<Duration, Failure> {
        let start = Instant::now();
        work(bench, tokens).map_err(Into::into)?;
        let elapsed = start.elapsed();
        bench.rewind(args.depth);
        Ok(elapsed)
    };
    run(tokens.min(16))?;
    let computed = (tokens * args.batch.get()) as f64;
    (0..args.repetitions.get()).map(|_| Ok(computed / run(tokens)?.as_secs_f64())).collect()
}

fn report(rows: &[Row], facts: &Facts<'_>) -> Result<(), Failure> {
    let values: Vec<Value> = rows.iter().map(|row| row_json(row, facts)).collect();
    if facts.args.json {
        terminal::result(&Value::Array(values).to_string())?;
        return Ok(());
    }
    terminal::result(&format!("{}\n{}, reads {:.1} GB/s", facts.model, facts.device, facts.bandwidth))?;
    for value in values {
        let number = |key: &str| value[key].as_f64().unwrap_or_default();
        let share = match value["bandwidth_fraction"].as_f64() {
            Some(fraction) => format!("  {:3.0} % of the read bandwidth", fraction * 100.0),
            None => String::new(),
        };
        terminal::result(&format!(
            "{:8} {:10.2} ± {:.2} tokens/s{share}",
            value["test"].as_str().unwrap_or_default(),
            number("tokens_per_second"),
            number("stddev"),
        ))?;
    }
    Ok(())
}

fn row_json(row: &Row, facts: &Facts<'_>) -> Value {
    let count = row.speeds.len() as f64;
    let mean = row.speeds.iter().sum::<f64>() / count;
    let squares: f64 = row.speeds.iter().map(|speed| (speed - mean).powi(2)).sum();
    let stddev = if row.speeds.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 };
    let batch = facts.args.batch.get() as f64;
    let fraction = row.passes_read_all.then(|| mean / batch * facts.bytes as f64 / (facts.bandwidth * 1e9));
    json!({
        "test": row.test,
        "tokens_per_second": mean,
        "stddev": stddev,
        "bytes_per_token": facts.bytes,
        "bandwidth_fraction": fraction,
        "read_bandwidth_gb_per_second": facts.bandwidth,
        "batch": facts.args.batch,
        "depth": facts.args.depth,
        "device": facts.device,
        "model": facts.model,
    })
}
