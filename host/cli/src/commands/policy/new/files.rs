//! What is in a new project, by language. `NAME` is replaced, and in Rust `TYPE` and `WIT_BINDGEN`.

use crate::args::Language;

/// The guest crate's sources, the WIT package, and the guest crate's dependency on the generator of bindings: made by
/// the build script.
mod packed {
    include!(concat!(env!("OUT_DIR"), "/packed.rs"));
}

pub(super) use packed::{CONTRACT, SDK, WIT_BINDGEN};

/// A file's path, and what is in it.
type File = (&'static str, &'static str);

const SCENARIOS: File = ("scenarios/NAME.scenario.toml", include_str!("scenario.toml.txt"));
const WORLD: File = ("wit/policy.wit", include_str!("component/policy.wit.txt"));

const RUST: &[File] = &[
    ("Cargo.toml", include_str!("rust/Cargo.toml.txt")),
    ("README.md", include_str!("rust/README.md.txt")),
    ("src/lib.rs", include_str!("rust/lib.rs.txt")),
    SCENARIOS,
    ("rust-toolchain.toml", include_str!("../../../../../../rust-toolchain.toml")),
    (".gitignore", "/target\n"),
    ("sdk/Cargo.toml", include_str!("rust/sdk.toml.txt")),
];

const PYTHON: &[File] = &[
    ("README.md", include_str!("python/README.md.txt")),
    ("policy.py", include_str!("python/policy.py.txt")),
    ("policy.toml", include_str!("python/policy.toml.txt")),
    ("build.sh", include_str!("python/build.sh.txt")),
    // The shipped example is built with the same tools, pinned once.
    ("requirements.txt", include_str!("../../../../../../plugins/python/office-hours/requirements.txt")),
    (".gitignore", include_str!("python/gitignore.txt")),
    SCENARIOS,
    WORLD,
];

const JAVASCRIPT: &[File] = &[
    ("README.md", include_str!("javascript/README.md.txt")),
    ("policy.js", include_str!("javascript/policy.js.txt")),
    ("policy.toml", include_str!("javascript/policy.toml.txt")),
    ("build.sh", include_str!("javascript/build.sh.txt")),
    // The shipped example is built with the same tools, pinned once.
    ("package.json", include_str!("../../../../../../plugins/javascript/by-language/package.json")),
    ("package-lock.json", include_str!("../../../../../../plugins/javascript/by-language/package-lock.json")),
    ("tsconfig.json", include_str!("javascript/tsconfig.json.txt")),
    (".gitignore", include_str!("javascript/gitignore.txt")),
    SCENARIOS,
    WORLD,
];

const C: &[File] = &[
    ("README.md", include_str!("c/README.md.txt")),
    ("policy.c", include_str!("c/policy.c.txt")),
    ("policy.toml", include_str!("c/policy.toml.txt")),
    ("build.sh", include_str!("c/build.sh.txt")),
    (".gitignore", "/build\n"),
    SCENARIOS,
    WORLD,
];

/// The files of a project in this language, beside what is packed.
pub(super) fn of(language: Language) -> &'static [File] {
    match language {
        Language::Rust => RUST,
        Language::Python => PYTHON,
        Language::JavaScript => JAVASCRIPT,
        Language::C => C,
    }
}
