//! `plugin bindings` and `plugin componentize`: the steps of a build in C that no compiler does.

use std::fs;
use std::io;
use std::path::Path;

use crate::failure::Failure;

pub(super) fn bindings(wit: &Path, world: Option<&str>, out: &Path) -> Result<(), Failure> {
    let files =
        lockgate_toolchain::c_bindings(wit, world).map_err(|error| Failure::unusable(error.to_string()))?;
    fs::create_dir_all(out).map_err(|error| unwritten(out, &error))?;
    for file in files {
        let path = out.join(&file.name);
        fs::write(&path, &file.bytes).map_err(|error| unwritten(&path, &error))?;
    }
    Ok(())
}

pub(super) fn componentize(module: &Path, out: &Path) -> Result<(), Failure> {
    let bytes =
        fs::read(module).map_err(|error| Failure::unusable(format!("{}: {error}", module.display())))?;
    let component = lockgate_toolchain::component(&bytes)
        .map_err(|error| Failure::unusable(format!("{}: {error}", module.display())))?;
    fs::write(out, component).map_err(|error| unwritten(out, &error))
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::unusable(format!("cannot write {}: {error}", path.display()))
}
