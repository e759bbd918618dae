//! `policy`: the workbench's commands.

mod evaluate;
mod new;
mod replay;
mod test;
mod watch;

use std::process::ExitCode;

use lockgate_sandbox::Sandbox;

use crate::args::PolicyCommand;
use crate::assembly;
use crate::failure::Failure;

pub(super) fn policy(command: PolicyCommand) -> Result<ExitCode, Failure> {
    let done = match command {
        PolicyCommand::Test(args) => return test::test(&args),
        PolicyCommand::New(args) => new::new(&args),
        PolicyCommand::Replay(args) => replay::replay(&args),
        PolicyCommand::Evaluate(args) => evaluate::evaluate(&args),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// The sandbox of the workbench's commands: by fuel, so that nothing depends on this machine's speed.
fn sandbox() -> Result<Sandbox, Failure> {
    Ok(Sandbox::new(&lockgate_workbench::simulating(&assembly::sandbox_options(assembly::For::Workbench)))?)
}

/// `NAME=VALUE`, as `--set` takes it.
fn setting(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::unusable(format!("--set {text}: it takes NAME=VALUE"))),
    }
}

/// Rows of words, in columns as wide as they need to be. The first column is words, the others are numbers.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("  {cell:>width$}"),
        });
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
