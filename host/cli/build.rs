//! Compiles the default policy from source, and packs up the guest crate for `policy new`: both are embedded into the
//! binary.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const SDK: &str = "../../plugins/sdk";
const WORKSPACE: &str = "../../Cargo.toml";

fn main() {
    match lockgate_plugin_build::component("../../plugins/privacy-first") {
        Ok(path) => println!("cargo::rustc-env=LOCKGATE_PRIVACY_FIRST={}", path.display()),
        Err(error) => {
            for line in error.to_string().lines() {
                println!("cargo::error={line}");
            }
        }
    }
    if let Err(error) = pack_sdk() {
        println!("cargo::error=cannot pack {SDK}: {error}");
    }
}

/// Writes a module with every source of the guest crate, and with what the workspace says of its one dependency.
fn pack_sdk() -> io::Result<()> {
    println!("cargo::rerun-if-changed={SDK}/src");
    println!("cargo::rerun-if-changed={WORKSPACE}");
    let root = Path::new(SDK).canonicalize()?;
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files)?;
    files.sort();
    let mut module = String::from("pub(super) const FILES: &[(&str, &str)] = &[\n");
    for path in files {
        let inside = path.strip_prefix(&root).map_err(io::Error::other)?;
        let _infallible =
            writeln!(module, "    ({:?}, include_str!({:?})),", inside.display().to_string(), path);
    }
    let workspace = fs::read_to_string(WORKSPACE)?;
    let dependency = workspace.lines().find_map(|line| line.strip_prefix("wit-bindgen = "));
    let dependency = dependency.ok_or_else(|| io::Error::other("the workspace has no wit-bindgen"))?;
    let _infallible = writeln!(module, "];\npub(super) const WIT_BINDGEN: &str = {dependency:?};");
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    fs::write(Path::new(&out).join("sdk.rs"), module)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
