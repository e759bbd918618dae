//! The sandbox of every command, and by which program it compiles components: this one, started anew.

use std::path::PathBuf;

use lockgate_sandbox::{COMPONENT_BYTES_MAX, CompileLimits, SandboxOptions, Workshop};

use crate::models;

/// What a sandbox is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Requests of this moment.
    Serving,
    /// Simulations, which `lockgate_workbench::simulating` makes of it.
    Workbench,
}

/// The sandbox of every command: it compiles by this program, and keeps the results in the data folder's `plugins`.
pub(crate) fn sandbox_options(purpose: For) -> SandboxOptions {
    let limits = CompileLimits::default();
    let mut arguments = vec![
        "compile-plugin".to_owned(),
        // Before it has read a component, it knows only what the largest may take. The sandbox watches the clock.
        format!("--seconds={}", limits.time_for(COMPONENT_BYTES_MAX).as_secs()),
        format!("--memory-bytes={}", limits.memory_bytes_max),
    ];
    if purpose == For::Workbench {
        arguments.push("--fuel".to_owned());
    }
    let workshop = Workshop {
        program: program(),
        arguments,
        limits,
        // Without a data folder nothing is kept.
        folder: models::data_folder().map(|folder| folder.join("plugins")).ok(),
    };
    SandboxOptions { workshop: Some(workshop), ..SandboxOptions::default() }
}

/// This very program, also after its file was replaced by a newer one.
pub(super) fn program() -> PathBuf {
    if cfg!(target_os = "linux") {
        return PathBuf::from("/proc/self/exe");
    }
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("lockgate"))
}
