//! `cargo xtask …`: what developers and CI run.
//!
//! `test` is the one entry point: it builds the shipped plugins and the binary, fetches the test model
//! once, and runs the Rust tests and the Python client tests. `plugins` only builds the plugins, and the binary, which
//! those in C are built with. `kernels` compiles the CUDA kernels, which are committed, and `gpu-bundle`
//! packs what checks and times them on a machine with a card.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "a developer's tool tells what it does")]

mod gpu_bundle;
mod kernels;
mod languages;
mod plugins;
mod python;
#[cfg(test)]
mod structure;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask test      build the plugins and run every test
       cargo xtask plugins   build the shipped plugins into target/plugins
       cargo xtask kernels   compile the CUDA kernels into kernels/cuda/built; --check only compares
       cargo xtask gpu-bundle   pack kernels/gpu_check.sh and what it runs into target/lockgate-gpu.tar.gz";

fn main() -> Result<()> {
    let root = workspace_root()?;
    let tasks: Vec<String> = std::env::args().skip(1).collect();
    match tasks.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => test(&root),
        ["plugins"] => {
            plugins::build(&root)?;
            let binary = binary(&root)?;
            languages::build(&root, &binary).map(drop)
        }
        ["kernels"] => kernels::build(&root),
        ["kernels", "--check"] => kernels::check(&root),
        ["gpu-bundle"] => gpu_bundle::build(&root),
        _ => bail!(USAGE),
    }
}

fn test(root: &Path) -> Result<()> {
    plugins::build(root)?;
    let binary = binary(root)?;
    let skipped = languages::build(root, &binary)?;

    step("fetch the test model (once)");
    let home = root.join("target/test-home");
    run(Command::new(&binary).args(["pull", "smollm2"]).env("LOCKGATE_HOME", &home))?;
    let model = home.join("models/smollm2.gguf");

    step("Rust tests");
    // Release, so that the dependencies are built once for the binary and the tests; to the end, so that one run tells
    // every failure.
    run(cargo(root)
        .args(["test", "--release", "--workspace", "--no-fail-fast"])
        .env("LOCKGATE_TEST_MODEL", &model))?;

    step("the kernels for AVX-512, with its instructions emulated");
    let features = ["--features", "lockgate-kernels/emulated-avx512"];
    run(cargo(root).args(["test", "--release", "--workspace", "--test", "emulated-avx512"]).args(features))?;

    step("scenarios of the shipped plugins");
    run(Command::new(&binary)
        .args(["policy", "test"])
        .args(languages::folders(root, &skipped)?)
        .current_dir(root)
        .env("LOCKGATE_HOME", &home))?;

    step("Python clients and peers");
    python::test(root, &binary, &home)
}

fn binary(root: &Path) -> Result<PathBuf> {
    step("build the binary");
    run(cargo(root).args(["build", "--release", "--package", "lockgate"]))?;
    Ok(root.join("target/release/lockgate"))
}

fn workspace_root() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.ancestors().nth(2).context("the xtask crate lies two folders below the root")?;
    Ok(root.to_owned())
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // What cargo tells this program about its own package. Build scripts look at it, and would run again, with all that
    // depends on them, each time that cargo is called by hand and from here in turn.
    let is_own = |name: &OsStr| {
        let name = name.to_string_lossy();
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_own(name)) {
        command.env_remove(name);
    }
    command
}

fn step(what: &str) {
    eprintln!("==> {what}");
}

fn run(command: &mut Command) -> Result<()> {
    let shown: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let shown = shown.join(OsStr::new(" ")).to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}
