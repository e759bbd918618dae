//! `policy test`: runs scenario files in a simulated world.
//!
//! Results on stdout; progress, real time and files that cannot be run on stderr.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use lockgate_sandbox::Sandbox;
use lockgate_workbench::report::{self, Counts, FileResult};
use lockgate_workbench::{bench, find, run, scenario};

use super::watch;
use crate::args::PolicyTestArgs;
use crate::failure::Failure;
use crate::terminal;

pub(super) fn test(args: &PolicyTestArgs) -> Result<ExitCode, Failure> {
    if !args.watch {
        return once(args).map(|(code, _)| code);
    }
    loop {
        let files = match once(args) {
            Ok((_, files)) => files,
            Err(failure) => {
                terminal::note(&format!("lockgate: {failure}"));
                Vec::new()
            }
        };
        terminal::note("waiting for a change; Ctrl-C ends");
        watch::wait(&args.paths, &files);
    }
}

/// One run over all files. Returns what was read for it, too.
fn once(args: &PolicyTestArgs) -> Result<(ExitCode, Vec<PathBuf>), Failure> {
    let began = Instant::now();
    let find::Found { files: paths, empty } = find::files(&args.paths)
        .map_err(|(path, error)| Failure::unusable(format!("{}: {error}", path.display())))?;
    if paths.is_empty() {
        let empty = empty.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        let problem = format!("no scenario found: no file ends in `{}` in {empty}", scenario::SUFFIX);
        return Err(Failure::unusable(problem));
    }
    for path in empty {
        terminal::note(&format!("note: there is no scenario in {}", path.display()));
    }
    let sandbox = super::sandbox()?;
    let crates = if args.no_build { bench::Crates::Refused } else { bench::Crates::Built };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut results = Vec::with_capacity(paths.len());
    let mut sources = paths.clone();
    for path in &paths {
        let outcome = file(&sandbox, path, crates, threads);
        if let Ok((loaded, _)) = &outcome {
            sources.extend(loaded.sources.iter().cloned());
            loaded.notes.iter().for_each(|note| terminal::note(&format!("note: {note}")));
        }
        let result = FileResult { path: path.display().to_string(), outcome };
        match (&result.outcome, args.json) {
            (Err(problems), _) => terminal::note(problems),
            (Ok(_), false) => terminal::raw(report::file(&result).as_bytes())?,
            (Ok(_), true) => {}
        }
        results.push(result);
    }
    if args.json {
        terminal::result(&serde_json::to_string_pretty(&report::json(&results))?)?;
    } else {
        if args.coverage {
            terminal::raw(report::coverage(&results).as_bytes())?;
        }
        terminal::raw(report::summary(&results).as_bytes())?;
    }
    if let Some(junit) = &args.junit {
        std::fs::write(junit, report::junit(&results))
            .map_err(|error| Failure::unusable(format!("cannot write {}: {error}", junit.display())))?;
    }
    terminal::note(&format!("took {:.2} s", began.elapsed().as_secs_f64()));
    Ok((ExitCode::from(Counts::of(&results).exit_code()), sources))
}

fn file(
    sandbox: &Sandbox,
    path: &Path,
    crates: bench::Crates,
    threads: usize,
) -> Result<(bench::Loaded, run::SuiteResult), String> {
    let suite =
        scenario::load(path, &lockgate_server::decode_chat).map_err(|problems| problems.to_string())?;
    let loaded = bench::load(sandbox, suite, crates).map_err(|unusable| unusable.to_string())?;
    let result = run::run(sandbox, &loaded, &lockgate_server::decode_chat, threads)
        .map_err(|problem| format!("{}: {problem}", path.display()))?;
    Ok((loaded, result))
}
