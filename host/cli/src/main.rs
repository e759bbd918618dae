//! The `lockgate` binary: the command line and the wiring of every other crate.
//!
//! [`args`] declares the commands, [`commands`] has one file for each, [`config`] reads the
//! configuration, [`models`] keeps model files, [`assembly`] turns a configuration into a running
//! host. Everything that decides anything lives in the libraries.
#![forbid(unsafe_code)]

mod args;
mod assembly;
mod commands;
mod config;
mod failure;
mod models;
mod terminal;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout with 0, mistakes to stderr with 2.
            let code = error.exit_code();
            let printed = error.print();
            return if code == 0 && printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
    };
    start_logging(&cli.command);
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("another TLS provider was installed first");
    }
    match commands::run(cli.command) {
        Ok(code) => code,
        Err(failure) => {
            terminal::note(&format!("lockgate: {failure}"));
            failure.exit_code()
        }
    }
}

/// What filters logs.
const FILTER: &str = "LOCKGATE_LOG";

/// Logs go to stderr; `LOCKGATE_LOG` filters them as `RUST_LOG` does elsewhere.
fn start_logging(command: &args::Command) {
    // A simulation tells itself what fails in it, which is often what it is about.
    let default = if matches!(command, args::Command::Policy(_)) { "off" } else { "warn,lockgate=info" };
    let wanted = std::env::var(FILTER).ok().filter(|text| !text.is_empty());
    let filter = wanted.map(EnvFilter::try_new).transpose().unwrap_or_else(|error| {
        terminal::note(&format!("lockgate: {FILTER}: {error}; logging as if it were not set"));
        None
    });
    let filter = filter.unwrap_or_else(|| EnvFilter::new(default));
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    let colour = std::io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb;
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
}
