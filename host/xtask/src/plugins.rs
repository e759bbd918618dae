//! Builds every shipped plugin to `target/plugins/NAME.wasm`, and puts the weights that it comes with (its folder
//! `adapter`) beside it, in the folder `NAME`.

use std::path::Path;

use anyhow::{Context, Result};

use crate::step;

/// The crates under `plugins/` that are plugins, not tools for making them.
const SHIPPED: [&str; 9] = [
    "cascade",
    "cost-saver",
    "failover",
    "json-guard",
    "personal-data",
    "privacy-first",
    "redactor",
    "semantic-router",
    "support-triage",
];

pub(crate) fn build(root: &Path) -> Result<()> {
    let out = root.join("target/plugins");
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    for name in SHIPPED {
        step(&format!("build the plugin {name}"));
        let component = lockgate_plugin_build::build(root.join("plugins").join(name), &out)?.path;
        let target = out.join(format!("{name}.wasm"));
        if component != target {
            std::fs::copy(&component, &target)
                .with_context(|| format!("cannot write {}", target.display()))?;
        }
        let weights = root.join("plugins").join(name).join("adapter");
        if weights.is_dir() {
            place(&weights, &out.join(name))
                .with_context(|| format!("cannot put {} beside the plugin", weights.display()))?;
        }
    }
    Ok(())
}

/// Makes `to` a folder of exactly the files of `from`.
fn place(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
