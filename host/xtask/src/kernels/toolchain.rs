//! The compiler: NVIDIA's wheels of one release in a virtual environment of their own. All are pinned, since the
//! compiler's wheel names its parts without versions, and parts of another release do not fit.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{run, step};

/// What the manifest calls it.
pub(super) const NAME: &str = "nvcc 13.0.88";

const WHEELS: [&str; 5] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
];

pub(super) struct Toolchain {
    nvcc: PathBuf,
}

impl Toolchain {
    /// Installs the wheels into `target/kernels/venv` when others are there.
    pub(super) fn install(root: &Path) -> Result<Toolchain> {
        let environment = root.join("target/kernels/venv");
        let installed = environment.join("installed.txt");
        let wanted = WHEELS.join("\n");
        if std::fs::read_to_string(&installed).ok().as_deref() != Some(wanted.as_str()) {
            step("install the CUDA compiler (195 MB, once)");
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))
                .context("Python 3 with its venv module is needed for the CUDA compiler's wheels")?;
            run(Command::new(environment.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"])
                .args(WHEELS))?;
            std::fs::write(&installed, &wanted)
                .with_context(|| format!("cannot write {}", installed.display()))?;
        }
        // The folder's name holds Python's version.
        let libraries = environment.join("lib");
        let found = std::fs::read_dir(&libraries)
            .with_context(|| format!("cannot read {}", libraries.display()))?
            .filter_map(|entry| Some(entry.ok()?.path().join("site-packages/nvidia/cu13/bin/nvcc")))
            .find(|path| path.is_file());
        let nvcc = found.with_context(|| format!("the wheels in {} hold no nvcc", libraries.display()))?;
        let host = Command::new("g++").arg("--version").output();
        ensure!(
            host.is_ok_and(|output| output.status.success()),
            "nvcc needs a C++ compiler beside it, and g++ does not run: apt install g++"
        );
        Ok(Toolchain { nvcc })
    }

    pub(super) fn compiler(&self) -> Command {
        Command::new(&self.nvcc)
    }
}
