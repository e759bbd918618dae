//! Builds every shipped plugin to `target/plugins/NAME.wasm`.

use std::path::Path;

use anyhow::{Context, Result};

use crate::step;

/// The crates under `plugins/` that are plugins, not tools for making them.
const SHIPPED: [&str; 8] = [
    "cascade",
    "cost-saver",
    "failover",
    "json-guard",
    "personal-data",
    "privacy-first",
    "redactor",
    "semantic-router",
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
    }
    Ok(())
}
