//! `compile-plugin`: the program that the sandbox has compile a component, which is this one started anew. Hidden: its
//! pipes are a private matter of the two.

use std::time::Duration;

use lockgate_sandbox::{CompileLimits, compile_apart};

use crate::args::CompilePluginArgs;
use crate::assembly;
use crate::failure::Failure;

pub(super) fn compile(args: &CompilePluginArgs) -> Result<(), Failure> {
    let limits =
        CompileLimits { time_max: Duration::from_secs(args.seconds), memory_bytes_max: args.memory_bytes };
    Ok(compile_apart(&assembly::sandbox_options(), &limits)?)
}
