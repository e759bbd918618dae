use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::environment::belongs_to_outer_build;
use crate::sources::{dependencies, package_name};
use crate::{BuildError, build, command, rerun_lines};

#[test]
fn the_package_name_is_read_from_its_own_table() {
    let manifest =
        "[lib]\nname = \"other\"\n\n[package]\n# name = \"no\"\nversion = \"1\"\nname = \"my-guest\" # yes\n";
    assert_eq!(package_name(manifest).as_deref(), Some("my-guest"));
    assert_eq!(package_name("[workspace]\nmembers = []\n"), None);
    assert_eq!(package_name("[package]\nname = my-guest\n"), None);
}

#[test]
fn dependencies_with_spaces_are_whole() {
    let files = dependencies("/t/a.wasm: /s/lib.rs /s/with\\ space.rs /w/types.wit\n\n/s/lib.rs:\n");
    let expected = ["/s/lib.rs", "/s/with space.rs", "/w/types.wit"].map(PathBuf::from);
    assert_eq!(files, expected);
    assert!(dependencies("").is_empty());
}

#[test]
fn the_outer_build_does_not_leak_in() {
    for name in ["RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_FEATURE_CUDA", "CARGO_PKG_NAME", "OUT_DIR"] {
        assert!(belongs_to_outer_build(OsStr::new(name)), "{name}");
    }
    for name in ["PATH", "HOME", "CARGO_HOME", "CARGO_NET_OFFLINE", "RUSTUP_TOOLCHAIN", "https_proxy"] {
        assert!(!belongs_to_outer_build(OsStr::new(name)), "{name}");
    }
}

#[test]
fn the_nested_build_has_both_folders_of_its_own() {
    let command = command(
        Path::new("cargo"),
        Path::new("/guest/Cargo.toml"),
        Path::new("/out/target"),
        Path::new("/out/build"),
    );
    let value = |wanted: &str| {
        command
            .get_envs()
            .find(|(name, _)| *name == OsStr::new(wanted))
            .and_then(|(_, value)| value?.to_str())
            .map(str::to_owned)
    };
    assert_eq!(value("CARGO_TARGET_DIR").as_deref(), Some("/out/target"));
    assert_eq!(value("CARGO_BUILD_BUILD_DIR").as_deref(), Some("/out/build"));
    assert_eq!(
        value("CARGO_ENCODED_RUSTFLAGS").as_deref(),
        Some(
            "-C\x1flink-arg=-zstack-size=32768\x1f-C\x1flink-arg=--initial-heap=65536\x1f-C\x1ftarget-feature=+simd128"
        )
    );
}

#[test]
fn a_folder_that_is_no_crate_is_named() {
    let folder = std::env::temp_dir().join("lockgate-build-no-such-crate");
    let error = build(&folder, Path::new("/nowhere")).expect_err("there is no such crate");
    assert!(matches!(error, BuildError::Folder { .. }), "{error}");
    assert!(error.to_string().contains("lockgate-build-no-such-crate"), "{error}");
}

#[test]
fn cargo_hears_of_every_source() {
    let lines: Vec<String> = rerun_lines(&[PathBuf::from("/a.rs"), PathBuf::from("/b.wit")]).collect();
    assert_eq!(lines, ["cargo::rerun-if-changed=/a.rs", "cargo::rerun-if-changed=/b.wit"]);
}
