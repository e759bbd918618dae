//! Reading the two small texts around a build: a manifest's package name and rustc's list of sources.

use std::path::PathBuf;

/// The `name` of `[package]`. Reads just enough of TOML for that: a manifest that writes it in another
/// way (an inline table, a multi-line string) has no name here.
pub(crate) fn package_name(manifest: &str) -> Option<String> {
    let mut in_package = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            in_package = line == "[package]";
        } else if in_package
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "name"
        {
            let value = value.split('#').next()?.trim();
            let name = value.strip_prefix('"')?.strip_suffix('"')?;
            return (!name.is_empty()).then(|| name.to_owned());
        }
    }
    None
}

/// The files in a dep-info file (`target: a b\ c`), where spaces in names are escaped.
pub(crate) fn dependencies(dep_info: &str) -> Vec<PathBuf> {
    let Some((_, list)) = dep_info.lines().next().and_then(|line| line.split_once(": ")) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    let mut name = String::new();
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&' ') => {
                characters.next();
                name.push(' ');
            }
            ' ' => files.push(std::mem::take(&mut name)),
            other => name.push(other),
        }
    }
    files.push(name);
    files.into_iter().filter(|name| !name.is_empty()).map(PathBuf::from).collect()
}
