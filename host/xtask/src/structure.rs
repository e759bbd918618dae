//! The shape that ARCHITECTURE.md promises, checked: which crate may know which, where unsafe code may
//! be, how long a file may grow.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Crates of this workspace that each crate may depend on, outside its tests.
const ARROWS: &[(&str, &[&str])] = &[
    ("kernels", &[]),
    ("kernels/emulator", &["lockgate-kernels"]),
    ("kernels/libcuda", &["lockgate-emulator", "lockgate-kernels"]),
    ("host/api", &[]),
    ("host/engine", &["lockgate-api", "lockgate-kernels"]),
    ("host/compiler", &[]),
    ("host/sandbox", &["lockgate-api", "lockgate-compiler"]),
    ("host/providers", &["lockgate-api"]),
    ("host/gateway", &["lockgate-api"]),
    ("host/server", &["lockgate-api", "lockgate-gateway"]),
    ("host/problems", &[]),
    ("host/toolchain", &[]),
    (
        "host/workbench",
        &[
            "lockgate-api",
            "lockgate-gateway",
            "lockgate-plugin-build",
            "lockgate-problems",
            "lockgate-sandbox",
        ],
    ),
    (
        "host/cli",
        &[
            "lockgate-api",
            "lockgate-engine",
            "lockgate-gateway",
            "lockgate-kernels",
            "lockgate-problems",
            "lockgate-providers",
            "lockgate-sandbox",
            "lockgate-server",
            "lockgate-toolchain",
            "lockgate-workbench",
        ],
    ),
    ("host/xtask", &["lockgate-plugin-build"]),
    ("plugins/build", &[]),
    ("plugins/sdk", &[]),
    ("plugins/scan", &[]),
    ("plugins/difficulty", &["lockgate-plugin", "lockgate-scan"]),
    ("plugins/privacy-first", &["lockgate-difficulty", "lockgate-plugin", "lockgate-scan"]),
    ("plugins/cascade", &["lockgate-plugin"]),
    ("plugins/failover", &["lockgate-plugin"]),
    ("plugins/json-guard", &["lockgate-plugin"]),
    ("plugins/cost-saver", &["lockgate-difficulty", "lockgate-plugin"]),
    ("plugins/support-triage", &["lockgate-plugin"]),
    ("plugins/semantic-router", &["lockgate-difficulty", "lockgate-plugin"]),
    ("plugins/personal-data", &["lockgate-plugin", "lockgate-scan"]),
    ("plugins/redactor", &["lockgate-plugin", "lockgate-scan"]),
    ("tests/careless", &["lockgate-plugin"]),
    ("tests/reader", &["lockgate-plugin"]),
    ("tests/clouds", &[]),
    ("tests/hostile", &["lockgate-plugin"]),
    ("tests/hostile-filter", &["lockgate-plugin"]),
    ("tests/hostile-adapter", &["lockgate-plugin"]),
];

/// Libraries that only these crates may use.
const SOLE_USERS: &[(&str, &[&str])] = &[
    ("wasmtime", &["host/compiler", "host/sandbox"]),
    ("aws-sdk-bedrockruntime", &["host/providers"]),
    ("tokenizers", &["host/engine"]),
    ("minijinja", &["host/engine"]),
    ("wit-bindgen-c", &["host/toolchain"]),
    ("wit-component", &["host/toolchain"]),
];

/// Files outside `kernels` that may hold unsafe code, and what for.
const EDGES: &[(&str, &str)] = &[("host/compiler/src/trusted.rs", "loads machine code that the host made")];

/// Files that a tool writes; a test beside each keeps it fresh.
const GENERATED: &[&str] = &[
    "plugins/sdk/src/guest/bindings/adapter.rs",
    "plugins/sdk/src/guest/bindings/guard.rs",
    "plugins/sdk/src/guest/bindings/preprocessor.rs",
    "plugins/sdk/src/guest/bindings/reviewer.rs",
    "plugins/sdk/src/guest/bindings/router.rs",
];

/// Lines of a source file that is neither a test nor generated.
const LINES_MAX: usize = 500;

fn root() -> PathBuf {
    crate::workspace_root().expect("the workspace has a root")
}

fn dependencies(folder: &str) -> BTreeSet<String> {
    let path = root().join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).expect("the manifest is readable");
    let manifest: toml::Table = text.parse().expect("the manifest is TOML");
    let table = manifest.get("dependencies").and_then(|value| value.as_table());
    table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn arrows_point_down() {
    let workspace: BTreeSet<String> =
        ["privacy-first".to_owned(), "xtask".to_owned(), "lockgate".to_owned()].into();
    for (folder, allowed) in ARROWS {
        for dependency in dependencies(folder) {
            let ours = dependency.starts_with("lockgate-") || workspace.contains(&dependency);
            assert!(
                !ours || allowed.contains(&dependency.as_str()),
                "{folder} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn every_crate_has_its_arrows() {
    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml"))
        .expect("the manifest is readable")
        .parse()
        .expect("the manifest is TOML");
    let members = manifest["workspace"]["members"].as_array().expect("there are members");
    for member in members.iter().filter_map(|member| member.as_str()) {
        let folders = match member.strip_suffix("/*") {
            None => vec![member.to_owned()],
            Some(parent) => std::fs::read_dir(root().join(parent))
                .expect("the folder is readable")
                .filter_map(|entry| Some(format!("{parent}/{}", entry.ok()?.file_name().to_str()?)))
                .filter(|folder| root().join(folder).join("Cargo.toml").is_file())
                .collect(),
        };
        for folder in folders {
            assert!(ARROWS.iter().any(|(known, _)| *known == folder), "{folder} is missing from ARROWS");
        }
    }
}

#[test]
fn heavy_libraries_have_few_users() {
    for (library, users) in SOLE_USERS {
        for user in *users {
            assert!(dependencies(user).contains(*library), "{user} uses {library}");
        }
        for (folder, _) in ARROWS.iter().filter(|(folder, _)| *folder != "tests/clouds") {
            let may = users.contains(folder);
            assert!(may || !dependencies(folder).contains(*library), "{folder} must not use {library}");
        }
    }
}

#[test]
fn unsafe_code_lives_in_kernels() {
    for (folder, _) in ARROWS.iter().filter(|(folder, _)| folder.starts_with("host/")) {
        let source = root().join(folder).join("src");
        let entry =
            ["lib.rs", "main.rs"].map(|name| source.join(name)).into_iter().find(|path| path.is_file());
        let text = std::fs::read_to_string(entry.expect("a crate has a root")).expect("it is readable");
        // A crate with an edge denies what its other files hold; the edge alone allows it.
        let has_edge = EDGES.iter().any(|(edge, _)| edge.starts_with(folder));
        let wanted = if has_edge { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
        assert!(text.contains(wanted), "{folder} has {wanted} in its root");
        for path in sources(&source) {
            let is_edge = EDGES.iter().any(|(edge, _)| root().join(edge) == path);
            let text = std::fs::read_to_string(&path).expect("it is readable");
            // In two pieces, so that this file does not find itself.
            let allows = concat!("allow(", "unsafe_code");
            assert!(is_edge || !text.contains(allows), "{} is no edge", path.display());
        }
    }
}

#[test]
fn a_file_is_one_concept() {
    for (folder, _) in ARROWS {
        for path in sources(&root().join(folder).join("src")) {
            let is_test = path.components().any(|part| part.as_os_str() == "tests")
                || path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("tests.rs"));
            let is_generated = GENERATED.iter().any(|generated| path.ends_with(generated));
            let lines = std::fs::read_to_string(&path).expect("it is readable").lines().count();
            assert!(
                is_test || is_generated || lines <= LINES_MAX,
                "{} has {lines} lines: split it",
                path.display()
            );
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
