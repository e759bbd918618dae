//! Compiles the CUDA kernels with a pinned compiler, from wheels, and keeps what comes out in `kernels/cuda/built`, so
//! that nobody else needs one. `--check` compiles again and fails where a byte differs, where a kernel spills registers
//! or uses local memory.
//!
//! For each `kernels/cuda/*.cu` one file: machine code for every architecture below and PTX for cards after them. The
//! manifest beside them names the compiler and the digest of the sources; the `kernels` crate compares that digest.

mod report;
#[path = "../../../kernels/sources.rs"]
mod sources;
mod toolchain;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sources::{BUILT, MANIFEST, digest, sources};

use crate::step;
use toolchain::Toolchain;

/// What each kernel is compiled for, as nvcc takes it: machine code for Ampere (data centre, desktop) and Ada, with PTX for
/// any other card from there on, then Hopper, then Blackwell (desktop).
const TARGETS: [&str; 3] = [
    "arch=compute_80,code=[sm_80,sm_86,sm_89,compute_80]",
    "arch=compute_90a,code=sm_90a",
    "arch=compute_120,code=sm_120",
];

pub(crate) fn build(root: &Path) -> Result<()> {
    let built = compile(root)?;
    let folder = root.join(BUILT);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, contents) in &built {
        let path = folder.join(name);
        std::fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let bytes: usize = built.iter().map(|(_, contents)| contents.len()).sum();
    step(&format!("{} files, {bytes} bytes, in {BUILT}", built.len()));
    Ok(())
}

pub(crate) fn check(root: &Path) -> Result<()> {
    for (name, contents) in compile(root)? {
        let path = root.join(BUILT).join(&name);
        let committed = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            committed == contents,
            "{} is not what its source compiles to: run `cargo xtask kernels`",
            path.display()
        );
    }
    step("the committed kernels are what their sources compile to");
    Ok(())
}

/// All files of the folder, by name.
fn compile(root: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let toolchain = Toolchain::install(root)?;
    let cuda = root.join("kernels/cuda");
    let files = sources(&cuda).with_context(|| format!("cannot read {}", cuda.display()))?;
    let kernels: Vec<&PathBuf> =
        files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "cu")).collect();
    ensure!(!kernels.is_empty(), "{} holds no kernels", cuda.display());
    let work = root.join("target/kernels/built");
    std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;

    let mut manifest = String::new();
    writeln!(manifest, "sources {}", digest(&cuda).context("cannot read the kernels' sources")?)?;
    writeln!(manifest, "compiler {}", toolchain::NAME)?;
    writeln!(manifest, "targets {}", TARGETS.join(" "))?;
    let mut built = Vec::new();
    let mut problems = Vec::new();
    let next = std::sync::Mutex::new(kernels.into_iter());
    let results = std::sync::Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let taken = next.lock().ok().and_then(|mut next| next.next());
                    let Some(path) = taken else { break };
                    let result = compile_one(&toolchain, &cuda, path, &work);
                    if let Ok(mut results) = results.lock() {
                        results.push((path, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().map_err(|_| anyhow::anyhow!("a compilation panicked"))?;
    results.sort_by_key(|(path, _)| *path);
    for (_, result) in results {
        let (name, contents, found) = result?;
        writeln!(manifest, "module {name} {} bytes", contents.len())?;
        problems.extend(found);
        built.push((name, contents));
    }
    if !problems.is_empty() {
        bail!("kernels that use local memory:\n{}", problems.join("\n"));
    }
    built.push((MANIFEST.to_owned(), manifest.into_bytes()));
    Ok(built)
}

fn compile_one(
    toolchain: &Toolchain,
    cuda: &Path,
    source: &Path,
    work: &Path,
) -> Result<(String, Vec<u8>, Vec<String>)> {
    let stem = source.file_stem().and_then(|stem| stem.to_str()).context("a kernel's file has a name")?;
    step(&format!("compile {stem}.cu"));
    let name = format!("{stem}.fatbin");
    let out = work.join(&name);
    let mut command: Command = toolchain.compiler();
    command.current_dir(cuda).args(["-fatbin", "-std=c++20", "-Iptx", "-I."]);
    // Paths and line numbers stay out of the result, so that it is the same wherever it is made.
    command.args(["--compress-mode=size", "-Xptxas", "-v"]);
    command.args(TARGETS.map(|target| format!("-gencode={target}")));
    command.arg("-o").arg(&out).arg(format!("{stem}.cu"));
    let output = command.output().with_context(|| format!("cannot run the compiler for {stem}.cu"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{stem}.cu does not compile:\n{text}");
    let contents = std::fs::read(&out).with_context(|| format!("cannot read {}", out.display()))?;
    Ok((name, contents, report::problems(&text)))
}
