//! Compiles a guest crate to a WebAssembly component, from a build script or from a test.
//!
//! Owns the nested `cargo build`: its target, its flags, an environment that the outer build does not
//! leak into, and folders of its own (a nested build that shares the outer one's folders waits for their
//! lock for ever). Does not own what the component may do; the host checks that when it loads it.
//!
//! In a build script, [`component`] is all there is to it:
//!
//! ```no_run
//! let path = lockgate_plugin_build::component("../../plugins/privacy-first").expect("the policy compiles");
//! println!("cargo::rustc-env=PRIVACY_FIRST={}", path.display());
//! ```
#![forbid(unsafe_code)]

mod environment;
mod sources;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use thiserror::Error;

/// The target that guests are compiled for.
pub const TARGET: &str = "wasm32-wasip2";

/// Bytes of a guest's own stack. Small, since a fresh instance pays for each page of memory that it
/// touches, and the stack comes first in it. Overflow is a trap: nothing lies below the stack.
pub const STACK_BYTES: u32 = 32 * 1024;

/// Bytes of heap that a guest has from the beginning. Memory that grows during a call is mapped for it and taken back
/// after it, which takes longer than a simple decision does.
pub const HEAP_BYTES: u32 = 64 * 1024;

/// Why there is no component.
#[derive(Debug, Error)]
pub enum BuildError {
    /// There is no crate there.
    #[error("{} is not a crate: {problem}", folder.display())]
    Folder {
        /// The folder that was named.
        folder: PathBuf,
        /// What is missing or wrong.
        problem: String,
    },
    /// [`component`] was called outside a build script.
    #[error("OUT_DIR is not set: outside a build script, name a folder for the build's files")]
    NoOutFolder,
    /// The toolchain cannot compile for WebAssembly.
    #[error("the target {TARGET} is not installed; run: rustup target add {TARGET}")]
    NoTarget,
    /// `cargo` did not start.
    #[error("cannot run {}: {source}", program.display())]
    NoCargo {
        /// The program that was tried.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The guest does not compile. Holds the compiler's own words.
    #[error("{} does not compile for {TARGET}:\n{message}", folder.display())]
    Compile {
        /// The guest crate.
        folder: PathBuf,
        /// What cargo wrote to standard error.
        message: String,
    },
    /// It compiled, and no component came out.
    #[error("{} compiled but left no component at {}; is its crate-type cdylib?", folder.display(), expected.display())]
    NoComponent {
        /// The guest crate.
        folder: PathBuf,
        /// Where the component should be.
        expected: PathBuf,
    },
}

/// A component that was just built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The component's file.
    pub path: PathBuf,
    /// Every file that it was made from.
    pub sources: Vec<PathBuf>,
}

/// Compiles the guest crate in `folder` (relative to the crate whose build script this is) below
/// `OUT_DIR`, tells cargo when to do so again, and returns the component's file.
///
/// # Errors
/// See [`BuildError`].
pub fn component(folder: impl AsRef<Path>) -> Result<PathBuf, BuildError> {
    let out = std::env::var_os("OUT_DIR").ok_or(BuildError::NoOutFolder)?;
    let built = build(folder, Path::new(&out))?;
    for line in rerun_lines(&built.sources) {
        write_line(&line);
    }
    Ok(built.path)
}

/// Compiles the guest crate in `folder`, keeping the build's files below `out`. Builds that share `out`
/// share what they have in common, and wait for each other.
///
/// # Errors
/// See [`BuildError`].
pub fn build(folder: impl AsRef<Path>, out: &Path) -> Result<Built, BuildError> {
    build_with(folder.as_ref(), out, Lockfile::AsItIs)
}

/// What becomes of the guest's `Cargo.lock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockfile {
    /// It must be there and is not changed: for builds that repeat.
    AsItIs,
    /// Cargo may make or change it: for somebody who is just writing the guest.
    Changing,
}

/// [`build`] with a choice about the guest's `Cargo.lock`.
///
/// # Errors
/// See [`BuildError`].
pub fn build_with(folder: &Path, out: &Path, lockfile: Lockfile) -> Result<Built, BuildError> {
    let unusable = |problem: String| BuildError::Folder { folder: folder.to_owned(), problem };
    let folder_full = folder.canonicalize().map_err(|error| unusable(error.to_string()))?;
    let manifest = folder_full.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| unusable(format!("Cargo.toml: {error}")))?;
    let package = sources::package_name(&text)
        .ok_or_else(|| unusable("Cargo.toml has no [package] with a name".to_owned()))?;

    let program: PathBuf = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")).into();
    let target_folder = out.join("guest-target");
    let mut command = command(&program, &manifest, &target_folder, &out.join("guest-build"));
    if lockfile == Lockfile::AsItIs {
        command.arg("--locked");
    }
    let output = command.output().map_err(|source| BuildError::NoCargo { program, source })?;
    if !output.status.success() {
        return Err(failure(folder, &output));
    }

    let artifact = target_folder.join(TARGET).join("release").join(package.replace('-', "_"));
    let path = artifact.with_extension("wasm");
    if !path.is_file() {
        return Err(BuildError::NoComponent { folder: folder.to_owned(), expected: path });
    }
    let mut files = match fs::read_to_string(artifact.with_extension("d")) {
        Ok(text) => sources::dependencies(&text),
        Err(_) => vec![folder_full],
    };
    files.push(manifest);
    Ok(Built { path, sources: files })
}

/// The nested `cargo build`.
fn command(program: &Path, manifest: &Path, target_folder: &Path, build_folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["build", "--release", "--lib", "--target", TARGET, "--manifest-path"]);
    command.arg(manifest);
    for name in std::env::vars_os().map(|(name, _)| name) {
        if environment::belongs_to_outer_build(&name) {
            command.env_remove(name);
        }
    }
    // Cargo separates encoded flags by this byte.
    let stack = format!("link-arg=-zstack-size={STACK_BYTES}");
    let heap = format!("link-arg=--initial-heap={HEAP_BYTES}");
    let flags = ["-C", &stack, "-C", &heap, "-C", "target-feature=+simd128"].join("\x1f");
    command
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", target_folder)
        .env("CARGO_BUILD_BUILD_DIR", build_folder)
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        // The names stay, for the backtrace of a guest that panics.
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        .env("CARGO_TERM_COLOR", "never");
    command
}

fn failure(folder: &Path, output: &Output) -> BuildError {
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    let missing = message.contains(&format!("`{TARGET}` target may not be installed"))
        || message.contains("can't find crate for `core`")
        || message.contains("can't find crate for `std`");
    if missing {
        return BuildError::NoTarget;
    }
    BuildError::Compile { folder: folder.to_owned(), message }
}

/// What a build script prints so that cargo runs it again when the guest changes.
fn rerun_lines(files: &[PathBuf]) -> impl Iterator<Item = String> + '_ {
    files.iter().map(|file| format!("cargo::rerun-if-changed={}", file.display()))
}

#[allow(clippy::print_stdout, reason = "standard output is how a build script speaks to cargo")]
fn write_line(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests;
