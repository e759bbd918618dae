//! `doctor`: what this machine can do.

use serde_json::{Value, json};

use crate::args::DoctorArgs;
use crate::failure::Failure;
use crate::terminal;

pub(super) fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    let facts = facts()?;
    if args.json {
        terminal::result(&facts.to_string())?;
        return Ok(());
    }
    for (name, value) in facts.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        terminal::result(&format!("{:32} {text}", name.replace('_', " ")))?;
    }
    Ok(())
}

#[cfg(feature = "engine")]
fn facts() -> Result<Value, Failure> {
    use lockgate_kernels::bandwidth;
    use lockgate_kernels::cpu::{Level, default_threads};
    use lockgate_kernels::pool::ThreadPool;

    let level = Level::detect();
    let pool = ThreadPool::new(default_threads());
    let bytes = bandwidth::probe_bytes();
    let speed = bandwidth::read_bandwidth(&pool, level, bytes)?;
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "architecture": std::env::consts::ARCH,
        "processor": processor(),
        "kernels": level.name(),
        "threads": pool.threads(),
        "read_bandwidth_gb_per_second": (speed * 10.0).round() / 10.0,
        "gpu": "not supported by this version",
    }))
}

#[cfg(not(feature = "engine"))]
fn facts() -> Result<Value, Failure> {
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "architecture": std::env::consts::ARCH,
        "processor": processor(),
        "engine": "this build has none (--no-default-features)",
    }))
}

/// The processor's name, where Linux tells it.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
