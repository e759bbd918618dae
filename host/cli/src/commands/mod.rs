//! One file a command. Each takes its arguments and answers with a result on stdout or a failure.

#[cfg(feature = "engine")]
mod bench;
mod check;
mod compile_plugin;
mod doctor;
mod key;
#[cfg(feature = "engine")]
mod logits;
mod model;
mod plugin;
mod policy;
#[cfg(feature = "engine")]
mod run;
mod serve;
#[cfg(feature = "engine")]
mod show;
#[cfg(feature = "engine")]
mod template;
#[cfg(feature = "engine")]
mod tokenize;

use std::future::Future;
use std::process::ExitCode;
#[cfg(feature = "engine")]
use std::sync::Arc;

#[cfg(feature = "engine")]
use lockgate_engine::adapter::{Adapter, AdapterFile};
#[cfg(feature = "engine")]
use lockgate_engine::model::Config as ModelShape;

#[cfg(feature = "engine")]
use crate::args::AdapterArg;
use crate::args::Command;
use crate::failure::Failure;

/// Runs a command to its end. A result that is negative is an exit code of 1, and no failure.
pub(crate) fn run(command: Command) -> Result<ExitCode, Failure> {
    let done = match command {
        Command::Serve(args) => serve::serve(args),
        Command::Pull(args) => model::pull(args),
        Command::List => model::list(),
        Command::Rm(args) => model::remove(&args),
        Command::Key(args) => key::key(args),
        Command::Plugin(args) => plugin::plugin(args),
        Command::Policy(command) => return policy::policy(command),
        Command::CompilePlugin(args) => compile_plugin::compile(&args),
        Command::Check(args) => check::check(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        #[cfg(feature = "engine")]
        Command::Run(args) => run::run(args),
        #[cfg(feature = "engine")]
        Command::Show(args) => show::show(&args),
        #[cfg(feature = "engine")]
        Command::Bench(args) => bench::bench(args),
        #[cfg(feature = "engine")]
        Command::Logits(args) => logits::logits(args),
        #[cfg(feature = "engine")]
        Command::Tokenize(args) => tokenize::tokenize(&args),
        #[cfg(feature = "engine")]
        Command::Template(args) => template::template(&args),
        #[cfg(not(feature = "engine"))]
        Command::Run(_)
        | Command::Show(_)
        | Command::Bench(_)
        | Command::Logits(_)
        | Command::Tokenize(_)
        | Command::Template(_) => {
            Err(Failure::unusable("this build has no engine: it was built with --no-default-features"))
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// The adapter that a command names, for a model of this shape.
#[cfg(feature = "engine")]
fn adapter(argument: &AdapterArg, config: &ModelShape) -> Result<Option<Arc<Adapter>>, Failure> {
    let Some(path) = &argument.path else { return Ok(None) };
    Ok(Some(Arc::new(AdapterFile::open(path)?.load(config, 1.0)?)))
}

/// Runs a future on a small runtime of its own, for commands that are not servers.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
