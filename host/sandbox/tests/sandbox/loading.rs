//! What loads, and what each complaint says.

use std::fs::{self, File};

use lockgate_sandbox::{Grant, Limits, LoadError, Pin, PluginSpec, World};

use crate::support::{guest, hostile, sandbox, spec};

fn complaint(bytes: &[u8]) -> LoadError {
    let folder = tempfile::tempdir().expect("there is room for a file");
    let path = folder.path().join("plugin.wasm");
    fs::write(&path, bytes).expect("there is room for a file");
    let error = sandbox().load_file(&path, spec()).expect_err("it must not load");
    assert!(error.to_string().contains("plugin.wasm"), "the file is named: {error}");
    error
}

fn patched(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "lengths are written in front of names");
    let mut bytes = hostile();
    let mut found = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "{from} is in the component");
    bytes
}

#[test]
fn files_that_are_no_component_are_told_apart() {
    for (bytes, words) in [
        (&b""[..], "is empty"),
        (b"fn main() {}", "not WebAssembly"),
        (b"\0asm", "unknown version, or cut off"),
        (b"\0asm\x01\0\0\0", "a core module, not a component"),
        (b"\0asm\x0c\0\x01\0", "unknown version"),
    ] {
        let error = complaint(bytes);
        assert!(matches!(error, LoadError::NotAComponent { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_truncated_component_is_invalid_wherever_it_ends() {
    let bytes = hostile();
    let sandbox = sandbox();
    for part in 1..16 {
        let cut = &bytes[..bytes.len() * part / 16];
        let error = sandbox.load(cut, spec()).expect_err("a part of a component is none");
        assert!(matches!(error, LoadError::Invalid { .. } | LoadError::WrongWorld { .. }), "{error}");
    }
}

#[test]
fn a_corrupted_component_does_not_panic() {
    let bytes = hostile();
    let sandbox = sandbox();
    let mut state = 7u32;
    for _ in 0..12 {
        let mut bytes = bytes.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = state as usize % bytes.len();
            bytes[at] ^= 1 << (state >> 29);
        }
        // Names and code are most of it, so some of these load; none may do more than that.
        let _outcome = sandbox.load(&bytes, spec());
    }
}

#[test]
fn a_giant_file_is_not_read() {
    let folder = tempfile::tempdir().expect("there is room for a file");
    let path = folder.path().join("giant.wasm");
    File::create(&path).and_then(|file| file.set_len(1 << 40)).expect("the file has no blocks");
    let error = sandbox().load_file(&path, spec()).expect_err("it must not load");
    assert!(matches!(error, LoadError::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("giant.wasm"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error =
        sandbox().load_file("/no/such/plugin.wasm".as_ref(), spec()).expect_err("there is no such file");
    assert!(error.to_string().contains("/no/such/plugin.wasm"), "{error}");
}

#[test]
fn another_world_is_named_with_what_it_exports() {
    // A component without anything in it.
    let error = complaint(b"\0asm\x0d\0\x01\0");
    assert!(
        error.to_string().contains("must export lockgate:plugin/route@0.1, and exports nothing"),
        "{error}"
    );
}

#[test]
fn another_version_is_named() {
    let error = complaint(&patched("lockgate:plugin/route@0.1.0", "lockgate:plugin/route@0.2.0"));
    assert!(error.to_string().contains("built for version 0.2.0"), "{error}");
    assert!(error.to_string().contains("this host speaks 0.1"), "{error}");
}

#[test]
fn a_later_patch_version_loads() {
    let bytes = patched("lockgate:plugin/catalog@0.1.0", "lockgate:plugin/catalog@0.1.9");
    sandbox().load(&bytes, spec()).expect("versions that differ in the last number are compatible");
}

#[test]
fn an_import_without_its_grant_is_refused_with_the_line_to_add() {
    let spec = PluginSpec { grants: spec().grants.split_off(1), ..spec() };
    let error = sandbox().load(&hostile(), spec).expect_err("it imports the log");
    assert!(matches!(error, LoadError::NotGranted { grant: Grant::Log, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("lockgate:plugin/log@0.1.0"), "{text}");
    let line = r#"grants = ["state", "clock", "random", "inference:here", "cloud:claude", "log"]"#;
    assert!(text.ends_with(line), "{text}");
}

#[test]
fn an_import_that_nobody_has_is_refused() {
    let error = complaint(&patched("lockgate:plugin/log@0.1.0", "lockgate:plugin/gol@0.1.0"));
    assert!(matches!(error, LoadError::UnknownImport { .. }), "{error}");
    assert!(error.to_string().contains("lockgate:plugin/gol@0.1.0"), "{error}");
}

#[test]
fn a_memory_that_does_not_fit_is_told_at_load() {
    let limits = Limits { memory_bytes_max: 1 << 10, ..Limits::default() };
    let error = sandbox().load(&hostile(), PluginSpec { limits, ..spec() }).expect_err("it starts larger");
    assert!(error.to_string().contains("raise limits.memory_mib"), "{error}");

    let limits = Limits { memory_bytes_max: 1 << 30, ..Limits::default() };
    let error = sandbox().load(&hostile(), PluginSpec { limits, ..spec() }).expect_err("the pool is smaller");
    assert!(error.to_string().contains("more than the pool's"), "{error}");
}

#[test]
fn unused_grants_are_reported() {
    let spec = PluginSpec { grants: vec![Grant::Clock], ..spec() };
    let plugin =
        sandbox().load_preprocessor(&guest("plugins/personal-data"), spec).expect("the component loads");
    assert_eq!(plugin.grants_unused(), [Grant::Clock]);
    assert!(!plugin.compile_time().is_zero());
}

#[test]
fn a_report_says_what_a_component_needs() {
    let path = guest("tests/hostile");
    let report = sandbox().inspect(&path).expect("it is a component");
    assert_eq!(report.worlds, [World::Router]);
    assert_eq!(report.version.as_deref(), Some("0.1.0"));
    let mut grants = report.grants;
    grants.sort();
    let named = [Grant::Cloud("TARGET".to_owned()), Grant::Inference("MODEL".to_owned())];
    let plain = [Grant::State, Grant::Clock, Grant::Random, Grant::Log];
    assert_eq!(grants, [&named[..], &plain].concat());
    assert_eq!(report.bytes, fs::metadata(&path).expect("the file is there").len());
    assert!(report.imports.iter().any(|import| import == "lockgate:plugin/request@0.1.0"));
}

#[test]
fn a_pinned_component_loads_and_another_does_not() {
    let folder = tempfile::tempdir().expect("there is room for a file");
    let path = folder.path().join("plugin.wasm");
    fs::write(&path, hostile()).expect("there is room for a file");
    let sandbox = sandbox();
    let digest = sandbox.inspect(&path).expect("it is a component").digest;
    let pinned = || PluginSpec { pin: Pin { digest: Some(digest), ..Pin::default() }, ..spec() };
    assert_eq!(sandbox.load_file(&path, pinned()).expect("it is the one").digest(), digest);
    // Still a component, and a good one: a custom section of no bytes is added.
    let mut bytes = hostile();
    bytes.extend([0, 1, 0]);
    fs::write(&path, bytes).expect("there is room for a file");
    sandbox.load_file(&path, spec()).expect("without the pin it loads");
    let error = sandbox.load_file(&path, pinned()).expect_err("it is another");
    assert!(matches!(error, LoadError::Pinned { .. }), "{error}");
    assert!(error.to_string().contains("plugin.wasm"), "{error}");
}

#[test]
fn a_signer_demands_a_signature_beside_the_component() {
    let folder = tempfile::tempdir().expect("there is room for a file");
    let path = folder.path().join("plugin.wasm");
    fs::write(&path, hostile()).expect("there is room for a file");
    let signer = "RWSwGcHC9TiMxEiaO3VqBVbZiPoYvzmhRUBjSWGw/0DWePq5XLnA2ewo".parse().expect("it is a key");
    let signed = PluginSpec { pin: Pin { signer: Some(signer), ..Pin::default() }, ..spec() };
    let error = sandbox().load_file(&path, signed.clone()).expect_err("there is no signature");
    assert!(error.to_string().contains("plugin.wasm.minisig, and there is none"), "{error}");
    fs::write(folder.path().join("plugin.wasm.minisig"), "untrusted comment: forged\nRUSwGc\n")
        .expect("there is room for a file");
    let error = sandbox().load_file(&path, signed).expect_err("it is no signature");
    assert!(error.to_string().contains("plugin.wasm.minisig is not its signature"), "{error}");
}
