//! `policy new`: a project that builds, passes its tests and its scenarios, and runs in the server.
//!
//! The guest crate travels inside this binary and is written beside the policy, so that a project needs nothing but
//! crates from the registry.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::args::{Language, NewArgs};
use crate::failure::Failure;
use crate::terminal;

/// The guest crate's sources, and its dependency on the generator of bindings: made by the build script.
mod sdk {
    include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
}

/// The files of a project and what is in them, with `NAME` and `TYPE` to be replaced.
const FILES: [(&str, &str); 7] = [
    ("Cargo.toml", include_str!("new/Cargo.toml.txt")),
    ("README.md", include_str!("new/README.md.txt")),
    ("src/lib.rs", include_str!("new/lib.rs.txt")),
    ("scenarios/NAME.scenario.toml", include_str!("new/scenario.toml.txt")),
    ("rust-toolchain.toml", include_str!("../../../../../rust-toolchain.toml")),
    (".gitignore", "/target\n"),
    ("sdk/Cargo.toml", include_str!("new/sdk.toml.txt")),
];

const NAME_BYTES_MAX: usize = 64;
/// Names that cargo or the project itself has taken.
const TAKEN: [&str; 7] = ["alloc", "core", "lockgate-plugin", "proc-macro", "sdk", "std", "test"];

pub(super) fn new(args: &NewArgs) -> Result<(), Failure> {
    let name = args.name.as_str();
    let Language::Rust = args.lang;
    check(name)?;
    let folder = Path::new(name);
    if folder.exists() {
        return Err(Failure::unusable(format!("{name} exists already; nothing was written")));
    }
    let kind = type_name(name);
    let project = FILES.iter().map(|(path, text)| {
        let text = text.replace("NAME", name).replace("TYPE", &kind).replace("WIT_BINDGEN", sdk::WIT_BINDGEN);
        (path.replace("NAME", name), text)
    });
    let guest = sdk::FILES.iter().map(|(path, text)| (format!("sdk/{path}"), (*text).to_owned()));
    for (path, text) in project.chain(guest) {
        write(&folder.join(path), &text)?;
    }
    terminal::result(&format!(
        "{name} is ready; try:\n  cd {name}\n  cargo test\n  lockgate policy test scenarios\n  \
         cargo build --release --target wasm32-wasip2"
    ))?;
    Ok(())
}

fn check(name: &str) -> Result<(), Failure> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_word = name.bytes().all(plain)
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && !name.ends_with('-')
        && !name.contains("--");
    if !is_word || name.len() > NAME_BYTES_MAX {
        return Err(Failure::unusable(format!(
            "`{name}` cannot be a policy's name: use 1 to {NAME_BYTES_MAX} lower-case letters, digits and single \
             hyphens, beginning with a letter"
        )));
    }
    if TAKEN.contains(&name) {
        return Err(Failure::unusable(format!(
            "the name `{name}` is taken by another crate; use another one"
        )));
    }
    Ok(())
}

/// `by-length` as a type: `ByLength`.
fn type_name(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    name.split('-').map(word).collect()
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    Ok(written.with_context(|| format!("cannot write {}", path.display()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_crates() {
        for name in ["a", "by-length", "p2"] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["", "By", "2p", "a_b", "a--b", "a-", "../x", "core", "sdk", &"x".repeat(65)] {
            assert!(check(name).is_err(), "{name}");
        }
        assert_eq!(type_name("by-length2"), "ByLength2");
    }
}
