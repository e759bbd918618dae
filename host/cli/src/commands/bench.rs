//! `bench`: prefill and decode speed, beside the limits of the device: the memory bandwidth that bounds decoding and,
//! on a card, the matrix rate that bounds prefill, both measured in the same run. Several batches and depths (`cases`)
//! are measured with one loaded model, each told as soon as it is known.

mod cases;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_engine::bench::Bench;
use lockgate_engine::gguf::{Gguf, Metadata};
use lockgate_engine::model::{CardChoice, GpuLayers, KvFormat, Mix, Model, Shape, random_model_made_there};
use lockgate_kernels::bandwidth;
use lockgate_kernels::cpu::{Level, default_threads};
use lockgate_kernels::cuda::cards::{Cards as _, OpenCard, SystemCards};
use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::cuda::limits::{CardLimits, Effort};
use lockgate_kernels::pool::ThreadPool;
use serde_json::{Value, json};

use self::cases::{Case, Fitting};
use crate::args::{BenchArgs, BenchDevice, BenchKv};
use crate::failure::Failure;
use crate::{assembly, models, terminal};

/// Seed of random weights: the same figures' work on every machine.
const WEIGHTS_SEED: u64 = 1;

pub(super) fn bench(args: BenchArgs) -> Result<(), Failure> {
    if args.prefill == 0 && args.decode == 0 {
        return Err(Failure::unusable("-p 0 and -n 0 leave nothing to measure"));
    }
    let (gguf, name) = source(&args)?;
    let pool = Arc::new(ThreadPool::new(args.threads.unwrap_or_else(default_threads)));
    let place = Place::find(args.device, &pool)?;
    let choice = place.choice();
    let cases = Case::all(&args);
    let kv = match args.kv {
        BenchKv::F16 => KvFormat::F16,
        BenchKv::Q8_0 => KvFormat::Q8_0,
    };
    let several = cases.len() > 1;
    let Fitting { options, cases, refused } = Fitting::find(&gguf, choice.as_ref(), kv, cases)?;
    if cases.is_empty() {
        return Err(nothing_fits(several, args.json, &refused)?);
    }
    let model = models::Loading::named(format!("loading {name}"))
        .track(|progress| Model::load_on(&gguf, &options, choice.as_ref(), &pool, progress))?;
    let device = place.name();
    let adapter = super::adapter(&args.adapter, model.config())?;
    let blocks = cases.iter().map(|case| case.blocks()).max().unwrap_or_default();
    let mut bench = Bench::new(&model, Arc::clone(&pool), place.level, blocks, adapter)?;

    let (bytes, weights) = (model.bytes_per_token(), model.config().layer_weights());
    let mut report = Report { several, json: args.json.then(Vec::new), begun: false };
    for case in cases {
        let before = place.limits()?;
        let rows = rows(&mut bench, case, args.repetitions.get())?;
        // The memory's speed drifts on shared machines: take it on both sides of the runs.
        let limits = before.mean(place.limits()?);
        report.add(
            &rows,
            &Facts { model: &name, device: &device, kv: kv_name(kv), case, limits, bytes, weights },
        )?;
    }
    refused.iter().try_for_each(|(case, problem)| report.refuse(*case, problem))?;
    report.end()
}

/// Tells what each case wants where there is room for none.
fn nothing_fits(several: bool, json: bool, refused: &[(Case, String)]) -> Result<Failure, Failure> {
    let mut report = Report { several, json: json.then(Vec::new), begun: false };
    if let ([(_, problem)], false) = (refused, several) {
        return Ok(Failure::unusable(format!("the model {problem}")));
    }
    refused.iter().try_for_each(|(case, problem)| report.refuse(*case, problem))?;
    report.end()?;
    Ok(Failure::unusable("none of these cases fits on the card"))
}

fn kv_name(kv: KvFormat) -> &'static str {
    match kv {
        KvFormat::F16 => "f16",
        KvFormat::Q8_0 => "q8_0",
    }
}

/// Measures a case.
fn rows(bench: &mut Bench<'_>, case: Case, repetitions: usize) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    bench.begin(case.batch, case.depth)?;
    if case.prefill > 0 {
        let speeds = measure(bench, case, repetitions, case.prefill, |bench, tokens| bench.prefill(tokens))?;
        rows.push(Row { test: format!("pp{}", case.prefill), speeds, passes_read_all: false });
    }
    if case.decode > 0 {
        let speeds = measure(bench, case, repetitions, case.decode, |bench, tokens| {
            (0..tokens).try_for_each(|_| bench.decode())
        })?;
        rows.push(Row { test: format!("tg{}", case.decode), speeds, passes_read_all: true });
    }
    Ok(rows)
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
                random_model_made_there(&of, mix, WEIGHTS_SEED, &Metadata::new())?,
                format!("{shape} {quant} (random weights)"),
            ))
        }
        _ => Err(Failure::unusable("--model, or --shape with --quant, is needed")),
    }
}

/// Where the model is computed.
struct Place {
    /// A card does not drift: its limits are those from before the model is there, when they can be measured.
    card: Option<(OpenCard, Limits)>,
    pool: Arc<ThreadPool>,
    level: Level,
}

impl Place {
    fn find(device: BenchDevice, pool: &Arc<ThreadPool>) -> Result<Self, Failure> {
        let card = match device {
            BenchDevice::Cpu => None,
            BenchDevice::Cuda(number) => {
                let problem = |problem| Failure::unusable(format!("device cuda:{number}: {problem}"));
                let card = SystemCards.open(number, assembly::kernels().as_deref()).map_err(problem)?;
                let limits = card_limits(&card).map_err(problem)?;
                Some((card, limits))
            }
        };
        Ok(Self { card, pool: Arc::clone(pool), level: Level::detect() })
    }

    /// The card for the whole model: what does not fit is refused, since part of it would be another benchmark.
    fn choice(&self) -> Option<CardChoice> {
        self.card.as_ref().map(|(card, _)| CardChoice::of(card, GpuLayers::Count(usize::MAX)))
    }

    fn name(&self) -> String {
        match &self.card {
            Some((card, _)) => format!("{}, CUDA {}", card.info.name, card.info.cuda_version()),
            None => format!("cpu, {} threads, {}", self.pool.threads(), self.level.name()),
        }
    }

    fn limits(&self) -> Result<Limits, Failure> {
        match self.card {
            Some((_, limits)) => Ok(limits),
            None => {
                let bytes = bandwidth::probe_bytes();
                let bandwidth = bandwidth::read_bandwidth(&self.pool, self.level, bytes)?;
                Ok(Limits { bandwidth, matrix: None })
            }
        }
    }
}

fn card_limits(card: &OpenCard) -> Result<Limits, DriverError> {
    let most = Effort::CARD;
    // A copy has two buffers.
    let copy_bytes = most.copy_bytes.min(usize::try_from(card.free_bytes / 4).unwrap_or(usize::MAX));
    let limits = CardLimits::measure(&card.device, Effort { copy_bytes, ..most })?;
    Ok(Limits {
        bandwidth: limits.copy_bytes_per_second / 1e9,
        matrix: Some(limits.matrix_operations_per_second / 1e12),
    })
}

/// What the device does at most.
#[derive(Clone, Copy)]
struct Limits {
    /// GB/s: what a processor reads, and what a card copies, reads and writes counted.
    bandwidth: f64,
    /// A card's bf16 products, in 10¹² operations a second.
    matrix: Option<f64>,
}

impl Limits {
    fn mean(self, other: Limits) -> Limits {
        let matrix = self.matrix.zip(other.matrix).map(|(one, another)| (one + another) / 2.0);
        Limits { bandwidth: (self.bandwidth + other.bandwidth) / 2.0, matrix }
    }
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
    kv: &'static str,
    case: Case,
    limits: Limits,
    /// Of weights, for a pass over one token.
    bytes: u64,
    /// Numbers that each token of a prompt is multiplied by.
    weights: u64,
}

/// Runs a test at the case's depth, once to warm up and then as often as asked: tokens per second of each run.
fn measure<E: Into<anyhow::Error>>(
    bench: &mut Bench<'_>,
    case: Case,
    repetitions: usize,
    tokens: usize,
    mut work: impl FnMut(&mut Bench<'_>, usize) -> Result<(), E>,
) -> Result<Vec<f64>, Failure> {
    let mut run = |tokens: usize| -> Result<Duration, Failure> {
        let start = Instant::now();
        work(bench, tokens).map_err(Into::into)?;
        let elapsed = start.elapsed();
        bench.rewind(case.depth);
        Ok(elapsed)
    };
    run(tokens.min(16))?;
    let computed = (tokens * case.batch) as f64;
    (0..repetitions).map(|_| Ok(computed / run(tokens)?.as_secs_f64())).collect()
}

/// What is told of the cases, in the order in which they come.
struct Report {
    several: bool,
    /// Told at the end, where it is to be JSON.
    json: Option<Vec<Value>>,
    /// Whether the model and the device were told.
    begun: bool,
}

impl Report {
    fn add(&mut self, rows: &[Row], facts: &Facts<'_>) -> Result<(), Failure> {
        let values = rows.iter().map(|row| row_json(row, facts));
        if let Some(json) = &mut self.json {
            json.extend(values);
            return Ok(());
        }
        let Limits { bandwidth, matrix } = facts.limits;
        if !self.begun {
            let limits = match matrix {
                Some(matrix) => {
                    format!("copies {bandwidth:.1} GB/s, multiplies bf16 at {matrix:.1} Tflop/s")
                }
                None => format!("reads {bandwidth:.1} GB/s"),
            };
            terminal::result(&format!("{}, cache {}\n{}, {limits}", facts.model, facts.kv, facts.device))?;
            self.begun = true;
        }
        if self.several {
            terminal::result(&format!("batch {}, depth {}", facts.case.batch, facts.case.depth))?;
        }
        for value in values {
            let number = |key: &str| value[key].as_f64().unwrap_or_default();
            let share = |key: &str, of: &str| {
                value[key].as_f64().map(|fraction| format!("  {:3.0} % of the {of}", fraction * 100.0))
            };
            let of_bandwidth = if matrix.is_some() { "copy bandwidth" } else { "read bandwidth" };
            let share =
                share("bandwidth_fraction", of_bandwidth).or_else(|| share("matrix_fraction", "matrix rate"));
            let share = share.unwrap_or_default();
            terminal::result(&format!(
                "{:8} {:10.2} ± {:.2} tokens/s{share}",
                value["test"].as_str().unwrap_or_default(),
                number("tokens_per_second"),
                number("stddev"),
            ))?;
        }
        Ok(())
    }

    /// Tells of a case that there is no room for.
    fn refuse(&mut self, case: Case, problem: &str) -> Result<(), Failure> {
        match &mut self.json {
            Some(json) => json.push(json!({ "batch": case.batch, "depth": case.depth, "problem": problem })),
            None => terminal::result(&format!("batch {}, depth {}: {problem}", case.batch, case.depth))?,
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        if let Some(json) = self.json {
            terminal::result(&Value::Array(json).to_string())?;
        }
        Ok(())
    }
}

fn row_json(row: &Row, facts: &Facts<'_>) -> Value {
    let count = row.speeds.len() as f64;
    let mean = row.speeds.iter().sum::<f64>() / count;
    let squares: f64 = row.speeds.iter().map(|speed| (speed - mean).powi(2)).sum();
    let stddev = if row.speeds.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 };
    let batch = facts.case.batch as f64;
    let Limits { bandwidth, matrix } = facts.limits;
    let fraction = row.passes_read_all.then(|| mean / batch * facts.bytes as f64 / (bandwidth * 1e9));
    // Two operations a weight and token; those of attention come on top and are not counted.
    let operations = mean * 2.0 * facts.weights as f64 / 1e12;
    let matrix_fraction = matrix.filter(|_| !row.passes_read_all).map(|matrix| operations / matrix);
    json!({
        "test": row.test,
        "tokens_per_second": mean,
        "stddev": stddev,
        "bytes_per_token": facts.bytes,
        "bandwidth_fraction": fraction,
        "read_bandwidth_gb_per_second": matrix.is_none().then_some(bandwidth),
        "copy_bandwidth_gb_per_second": matrix.map(|_| bandwidth),
        "matrix_tflops": matrix,
        "matrix_fraction": matrix_fraction,
        "batch": facts.case.batch,
        "depth": facts.case.depth,
        "kv": facts.kv,
        "device": facts.device,
        "model": facts.model,
    })
}
