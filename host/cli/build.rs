//! Compiles the default policy from source, and packs up the guest crate and the WIT package for `policy new`: all are
//! embedded into the binary.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const SDK: &str = "../../plugins/sdk";
const WIT: &str = "../../wit";
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
    if let Err(error) = pack() {
        println!("cargo::error=cannot pack {SDK} and {WIT}: {error}");
    }
}

/// Writes a module with every source of the guest crate, what the workspace says of its one dependency, and the WIT
/// package.
fn pack() -> io::Result<()> {
    println!("cargo::rerun-if-changed={WORKSPACE}");
    let workspace = fs::read_to_string(WORKSPACE)?;
    let dependency = workspace.lines().find_map(|line| line.strip_prefix("wit-bindgen = "));
    let dependency = dependency.ok_or_else(|| io::Error::other("the workspace has no wit-bindgen"))?;
    let mut module = String::new();
    pack_folder(&mut module, "SDK", SDK, "src")?;
    pack_folder(&mut module, "CONTRACT", WIT, "")?;
    let _infallible = writeln!(module, "pub(in super::super) const WIT_BINDGEN: &str = {dependency:?};");
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    fs::write(Path::new(&out).join("packed.rs"), module)
}

/// Writes a constant with every file of a folder's part: its path in the folder, and what is in it.
fn pack_folder(module: &mut String, name: &str, folder: &str, part: &str) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", Path::new(folder).join(part).display());
    let root = Path::new(folder).canonicalize()?;
    let mut files = Vec::new();
    collect(&root.join(part), &mut files)?;
    files.sort();
    let _infallible = writeln!(module, "pub(in super::super) const {name}: &[(&str, &str)] = &[");
    for path in files {
        let inside = path.strip_prefix(&root).map_err(io::Error::other)?;
        let _infallible =
            writeln!(module, "    ({:?}, include_str!({:?})),", inside.display().to_string(), path);
    }
    module.push_str("];\n");
    Ok(())
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
