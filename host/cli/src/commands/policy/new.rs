//! `policy new`: a project that builds, passes its scenarios and runs in the server.
//!
//! What a project needs of ours travels inside this binary: a Rust project gets the guest crate, the others get the WIT
//! package. The rest comes from each language's registry.

mod files;

use std::fs;
use std::path::Path;

use anyhow::Context;

use self::files::{CONTRACT, SDK, WIT_BINDGEN, of};
use crate::args::{Language, NewArgs};
use crate::failure::Failure;
use crate::terminal;

const NAME_BYTES_MAX: usize = 64;
/// Names that cargo or the project itself has taken.
const TAKEN: [&str; 7] = ["alloc", "core", "lockgate-plugin", "proc-macro", "sdk", "std", "test"];
/// Words of Rust, which no crate can be named after.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

pub(super) fn new(args: &NewArgs) -> Result<(), Failure> {
    let name = args.name.as_str();
    check(name, args.lang)?;
    let folder = Path::new(name);
    if folder.exists() {
        return Err(Failure::unusable(format!("{name} exists already; nothing was written")));
    }
    let kind = type_name(name);
    let project = of(args.lang).iter().map(|(path, text)| {
        let mut text = text.replace("NAME", name);
        if args.lang == Language::Rust {
            text = text.replace("TYPE", &kind).replace("WIT_BINDGEN", WIT_BINDGEN);
        }
        (path.replace("NAME", name), text)
    });
    let (ours, place) = match args.lang {
        Language::Rust => (SDK, "sdk"),
        Language::Python | Language::JavaScript | Language::C => (CONTRACT, "wit/deps/lockgate-plugin"),
    };
    let ours = ours.iter().map(|(path, text)| (format!("{place}/{path}"), (*text).to_owned()));
    for (path, text) in project.chain(ours) {
        write(&folder.join(path), &text)?;
    }
    let commands = match args.lang {
        Language::Rust => {
            "cargo test\n  lockgate policy test scenarios\n  cargo build --release --target wasm32-wasip2"
        }
        Language::Python | Language::JavaScript | Language::C => "sh build.sh\n  lockgate policy test .",
    };
    terminal::result(&format!("{name} is ready; try:\n  cd {name}\n  {commands}"))?;
    Ok(())
}

fn check(name: &str, lang: Language) -> Result<(), Failure> {
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
    if lang == Language::Rust && (TAKEN.contains(&name) || KEYWORDS.contains(&name)) {
        return Err(Failure::unusable(format!(
            "the name `{name}` is taken by Rust or another crate; use another one"
        )));
    }
    Ok(())
}

/// `by-length` as a type, `ByLengthPolicy`: no name of Rust's or the guest crate's, whatever the policy is called.
fn type_name(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    name.split('-').map(word).collect::<String>() + "Policy"
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
            assert!(check(name, Language::Rust).is_ok(), "{name}");
        }
        for name in ["", "By", "2p", "a_b", "a--b", "a-", "../x", "core", "sdk", "self", &"x".repeat(65)] {
            assert!(check(name, Language::Rust).is_err(), "{name}");
            let of_rust = TAKEN.contains(&name) || KEYWORDS.contains(&name);
            assert_eq!(check(name, Language::C).is_err(), !of_rust, "{name}");
        }
        assert_eq!(type_name("by-length2"), "ByLength2Policy");
    }
}
