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

/// Logs go to stderr; `LOCKGATE_LOG` filters them as `RUST_LOG` does elsewhere.
fn start_logging(command: &args::Command) {
    // A simulation tells itself what fails in it, which is often what it is about.
    let default = if matches!(command, args::Command::Policy(_)) { "off" } else { "warn,lockgate=info" };
    let filter = EnvFilter::try_from_env("LOCKGATE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
}
