//! The one wasmtime engine of a host: which WebAssembly it takes, how it is compiled, and the pool that
//! instances come from.
//!
//! The settings are few and each has its reason beside it; those that cost or save time are measured by
//! `benches/decision.rs`.

use std::time::Duration;

use lockgate_compiler::Workshop;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    RegallocAlgorithm, Strategy, WasmBacktraceDetails,
};

use crate::SandboxError;
use crate::limits::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX};

/// How large the sandbox is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxOptions {
    /// Plugin calls at once, those of guards aside. More wait; see [`crate::Limits::time_max`].
    pub calls_max: u32,
    /// Answers' choices that guards watch or adapters steer at once, each plugin counted. More wait in the same way.
    pub guards_max: u32,
    /// The most memory that any one plugin may be given, in bytes. Address space for this much is reserved
    /// for each call at once; memory is used as guests touch it.
    pub memory_bytes_max: usize,
    /// Entries that a table may have.
    pub table_elements_max: usize,
    /// How often a running guest looks up, and the longest that it keeps a thread without yielding.
    pub tick: Duration,
    /// Bytes of each memory that are wiped and kept rather than given back to the system after a call.
    pub memory_resident_bytes: usize,
    /// Whether a fresh memory maps the component's image, rather than having it copied in.
    pub copy_on_write: bool,
    /// Whether instances come from a pool, rather than each being mapped anew. `memory_resident_bytes` is the pool's.
    pub pooling: bool,
    /// Instances of each plugin that lie ready before the calls that they are for. A fresh one serves each call in any
    /// case.
    pub ready_max: usize,
    /// What a plugin's time is measured by.
    pub metering: Metering,
    /// Where components are compiled; in this process where there is none, which is for tests.
    pub workshop: Option<Workshop>,
}

/// What a plugin's own time is measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metering {
    /// The machine's clock. Instructions are counted and not limited.
    #[default]
    Clock,
    /// Instructions, so that a call takes as much on any machine at any time: see [`crate::Limits::fuel_max`]. For
    /// simulations. Other time limits follow Tokio's clock, which may be paused.
    Fuel,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self {
            calls_max: 64,
            guards_max: 512,
            memory_bytes_max: 64 << 20,
            table_elements_max: 20_000,
            tick: Duration::from_millis(2),
            memory_resident_bytes: 128 << 10,
            copy_on_write: true,
            pooling: true,
            ready_max: 16,
            metering: Metering::Clock,
            workshop: None,
        }
    }
}

/// Bytes of compiled code's own stack. Guests keep most of their data on a stack of their own, in their
/// memory.
const WASM_STACK_BYTES: usize = 512 << 10;
/// Bytes of a call's whole stack: what is beyond the guest's part is for the host's functions.
const CALL_STACK_BYTES: usize = 1 << 20;

/// The engine that plugins run in.
pub(crate) fn engine(options: &SandboxOptions) -> Result<Engine, SandboxError> {
    let mut config = config(options);
    if options.pooling {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    }
    Engine::new(&config).map_err(|error| SandboxError::Engine { message: format!("{error:#}") })
}

/// An engine that compiles what the other one runs, and has no pool.
pub(crate) fn compiling_engine(options: &SandboxOptions) -> Result<Engine, SandboxError> {
    Engine::new(&config(options)).map_err(|error| SandboxError::Engine { message: format!("{error:#}") })
}

fn config(options: &SandboxOptions) -> Config {
    let mut config = Config::new();
    compiler(&mut config);
    features(&mut config);
    config
        // Guests yield at a tick, and are ended when their own time is over.
        .epoch_interruption(true)
        // Counts instructions, which are told of each plugin whatever measures its time; for one twentieth more of
        // its own time.
        .consume_fuel(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(CALL_STACK_BYTES)
        // Compiled code reads no slot of its stack that it has not written, so that what an earlier call left there
        // is out of reach; wiping it took two microseconds a call.
        .async_stack_zeroing(false)
        .memory_init_cow(options.copy_on_write)
        // Reserve what a plugin may use rather than the 4 GiB that would save its bounds checks: the checks
        // are also what holds against speculative reads beyond the memory.
        .memory_reservation(reservation(options.memory_bytes_max))
        .memory_reservation_for_growth(0)
        .memory_guard_size(64 << 10)
        .memory_may_move(false);
    config
}

fn compiler(config: &mut Config) {
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_regalloc_algorithm(RegallocAlgorithm::Backtracking)
        .parallel_compilation(true)
        // Not read from the environment of whoever starts the host.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
}

/// What a policy has no use for stays off: each is code that a hostile component could reach. Garbage
/// collection, exceptions, threads and stack switching are not even compiled in.
fn features(config: &mut Config) {
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        // The same decision on every machine.
        .wasm_relaxed_simd(false)
        .cranelift_nan_canonicalization(true);
}

fn pool(options: &SandboxOptions) -> PoolingAllocationConfig {
    let calls = options.calls_max.max(1).saturating_add(options.guards_max);
    let each = |count: usize| calls.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(each(CORE_INSTANCES_MAX))
        .total_memories(each(MEMORIES_MAX))
        .total_tables(each(TABLES_MAX))
        .total_stacks(calls)
        .max_core_instances_per_component(count(CORE_INSTANCES_MAX))
        .max_memories_per_component(count(MEMORIES_MAX))
        .max_tables_per_component(count(TABLES_MAX))
        .max_memories_per_module(1)
        .max_tables_per_module(count(TABLES_MAX))
        .max_memory_size(options.memory_bytes_max)
        .table_elements(options.table_elements_max)
        .linear_memory_keep_resident(options.memory_resident_bytes)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::No);
    pool
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Whole pages of 64 KiB, as memories grow by them.
fn reservation(bytes: usize) -> u64 {
    (bytes as u64).next_multiple_of(64 << 10)
}
