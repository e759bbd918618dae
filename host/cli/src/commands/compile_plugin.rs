//! `compile-plugin`: the program that the sandbox has compile a component, which is this one started anew. Hidden: its
//! pipes are a private matter of the two.

use std::time::Duration;

use lockgate_sandbox::{CompileLimits, compile_apart};

use crate::args::CompilePluginArgs;
use crate::assembly::{self, For};
use crate::failure::Failure;

pub(super) fn compile(args: &CompilePluginArgs) -> Result<(), Failure> {
    let limits = CompileLimits {
        time_max: Duration::from_secs(args.seconds),
        memory_bytes_max: args.memory_bytes,
        ..CompileLimits::default()
    };
    let options = assembly::sandbox_options(if args.fuel { For::Workbench } else { For::Serving });
    let options = if args.fuel { lockgate_workbench::simulating(&options) } else { options };
    Ok(compile_apart(&options, &limits)?)
}
