//! Embeds the built CUDA kernels. Compiles nothing: `cargo xtask kernels` did, and this refuses what it did not do for
//! the sources as they are.

#[path = "sources.rs"]
mod sources;

use std::fmt::Write;
use std::path::PathBuf;

fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets the crate's folder"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets the output folder"));
    println!("cargo::rerun-if-changed=cuda");
    println!("cargo::rerun-if-changed=sources.rs");
    let (cuda, built) = (here.join("cuda"), here.join("cuda/built"));
    let digest = sources::digest(&cuda).expect("the kernels' sources are readable");
    let manifest = std::fs::read_to_string(built.join(sources::MANIFEST)).unwrap_or_default();
    let line = format!("sources {digest}");
    if !manifest.lines().any(|known| known == line) {
        println!(
            "cargo::error=kernels/cuda/built is not made of the kernels as they are: run `cargo xtask kernels`"
        );
        return;
    }
    // Aligned as compilers align what they embed: the driver is not known to take it from anywhere.
    let mut text = String::from("#[repr(align(16))]\nstruct Image<const BYTES: usize>([u8; BYTES]);\n");
    text.push_str("/// The built kernels: a module's name, and machine code for several architectures.\n");
    text.push_str("pub static MODULES: &[(&str, &[u8])] = &[\n");
    for line in manifest.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("module") {
            continue;
        }
        let name = words.next().expect("a module's line has a name");
        let path = built.join(name);
        writeln!(text, "    ({name:?}, &Image(*include_bytes!({path:?})).0),")
            .expect("a string takes any text");
    }
    text.push_str("];\n");
    writeln!(
        text,
        "/// The digest of the sources that they are made of.\npub const SOURCES: &str = {digest:?};"
    )
    .expect("a string takes any text");
    std::fs::write(out.join("modules.rs"), text).expect("the output folder is writable");
}
