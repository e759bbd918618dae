//! Which variables of the outer build must not reach the nested one.
//!
//! Cargo describes the outer package to its build script, and wrappers such as clippy's steer rustc, all
//! through the environment. Where dependencies come from (`CARGO_HOME`, registries, proxies, offline mode)
//! and which toolchain is used stays as it is.

use std::ffi::OsStr;

const EXACT: &[&str] = &[
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_DIR",
    "CARGO_TARGET_TMPDIR",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "DEBUG",
    "HOST",
    "MAKEFLAGS",
    "MFLAGS",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "TARGET",
    "__CARGO_DEFAULT_LIB_METADATA",
];

const PREFIXES: &[&str] = &[
    "CARGO_BIN_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_LLVM_COV",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_WASM32_",
    "DEP_",
    "NEXTEST",
];

/// Whether the variable is about the outer build alone.
pub(crate) fn belongs_to_outer_build(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    EXACT.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
