//! Compiles the kernels with the host's C++ compiler, twice: into this crate, with a call before every access to
//! memory (`-fsanitize=thread`, whose own runtime is not linked), and into a program with AddressSanitizer.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The machine itself: never instrumented.
const MACHINE: [&str; 5] = [
    "native/machine.cpp",
    "native/fiber.cpp",
    "native/memory.cpp",
    "native/storage.cpp",
    "native/intrinsics.cpp",
];

fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets the crate's folder"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets the output folder"));
    for folder in ["native", "include", "faults", "../cuda"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    let mut kernels = device_code(&here.join("faults"));
    kernels.extend(device_code(&here.join("../cuda")));

    let compiler = base().get_compiler();
    let found = compiler.to_command().arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(
        found,
        "the tests of the CUDA kernels need a C++ compiler, and {} does not run: apt install g++",
        compiler.path().display()
    );

    base().files(MACHINE).file("native/interface.cpp").compile("lockgate_emulator_machine");
    // Side by side here: with cc's own feature for it, crates of the binary that use cc would be built once more for
    // the tests.
    let sanitized = std::thread::scope(|scope| {
        scope.spawn(|| {
            kernel_build("thread")
                .flag("--param=tsan-instrument-func-entry-exit=0")
                .link_lib_modifier("+whole-archive")
                .files(&kernels)
                .compile("lockgate_emulator_kernels");
        });
        // Calls instead of code before every access: a third of the time to compile.
        kernel_build("address")
            .flag("--param=asan-instrumentation-with-call-threshold=0")
            .files(MACHINE)
            .file("native/replay.cpp")
            .files(&kernels)
            .out_dir(out.join("replay-objects"))
            .compile_intermediates()
    });
    let program = out.join("replay");
    let mut link: Command = compiler.to_command();
    link.arg("-fsanitize=address").args(sanitized).arg("-o").arg(&program);
    let status = link.status().expect("the C++ compiler starts, as it just did");
    assert!(status.success(), "the program with AddressSanitizer did not build: is libasan installed?");
    println!("cargo::rustc-env=LOCKGATE_REPLAY={}", program.display());
}

/// Kernels with a sanitizer; little optimised, since there are many and each runs briefly.
fn kernel_build(sanitizer: &str) -> cc::Build {
    let mut build = base();
    build
        .opt_level(1)
        .warnings(false)
        .flags(["-w", "-x", "c++", "-fno-omit-frame-pointer"])
        .flag(format!("-fsanitize={sanitizer}"));
    build
}

/// What every compilation has in common.
fn base() -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++20").opt_level(2).debug(false).include("include").include("../cuda").flags([
        "-g1",
        "-fno-exceptions",
        "-ffp-contract=off",
    ]);
    build
}

/// The `.cu` files of a folder, in order.
fn device_code(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder of device code is readable");
    let paths = entries.map(|entry| entry.expect("the folder is readable").path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "cu")).collect();
    files.sort();
    files
}
