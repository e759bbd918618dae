//! `doctor`: what this machine can do.

#[cfg(feature = "engine")]
use lockgate_kernels::cuda::cards::{CardInfo, Cards, SystemCards, bf16_products};
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
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let lines =
            value.as_array().map_or_else(|| vec![plain(value)], |list| list.iter().map(plain).collect());
        for (number, text) in lines.iter().enumerate() {
            let name = if number == 0 { name.replace('_', " ") } else { String::new() };
            terminal::result(&format!("{name:32} {text}"))?;
        }
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
        "cards": cards(&SystemCards),
        "bf16_products_of_cards": bf16_products(),
    }))
}

/// A line for each card, with what is against it; or one that says why there is none.
#[cfg(feature = "engine")]
fn cards(machine: &dyn Cards) -> Vec<String> {
    let found = match machine.list() {
        Ok(found) if found.is_empty() => return vec!["none: the driver shows no card".to_owned()],
        Ok(found) => found,
        Err(error) => return vec![format!("none: {error}")],
    };
    let line = |(number, card): (usize, &CardInfo)| {
        let (major, minor) = card.capability;
        let verdict =
            card.check().map_or_else(|error| format!("not used: {error}"), |()| "can be used".to_owned());
        let memory = card.memory_bytes.div_ceil(1 << 20);
        format!("cuda:{number}: {}, compute capability {major}.{minor}, {memory} MiB; {verdict}", card.name)
    };
    found.iter().enumerate().map(line).collect()
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

#[cfg(all(test, feature = "engine"))]
mod tests {
    use std::path::Path;

    use lockgate_kernels::cuda::cards::OpenCard;
    use lockgate_kernels::cuda::driver::DriverError;

    use super::*;

    struct Machine(Result<Vec<CardInfo>, DriverError>);

    impl Cards for Machine {
        fn list(&self) -> Result<Vec<CardInfo>, DriverError> {
            self.0.clone()
        }

        fn open(&self, _: usize, _: Option<&Path>) -> Result<OpenCard, DriverError> {
            panic!("a doctor only looks")
        }
    }

    #[test]
    fn each_card_has_a_line_and_so_has_their_absence() {
        let card = CardInfo {
            name: "A card".to_owned(),
            capability: (9, 0),
            driver_version: 13_000,
            memory_bytes: 80 << 30,
            multiprocessors: 1,
        };
        let old = CardInfo { capability: (7, 5), ..card.clone() };
        let lines = cards(&Machine(Ok(vec![card, old])));
        assert_eq!(lines[0], "cuda:0: A card, compute capability 9.0, 81920 MiB; can be used");
        assert!(lines[1].starts_with("cuda:1: A card, compute capability 7.5"), "{lines:?}");
        assert!(lines[1].contains("not used") && lines[1].contains("need 8.0"), "{lines:?}");
        let missing = DriverError::Unavailable("libcuda.so.1 is not on this machine".to_owned());
        assert!(cards(&Machine(Err(missing)))[0].contains("libcuda.so.1"));
        assert!(cards(&Machine(Ok(Vec::new())))[0].contains("no card"));
    }
}
