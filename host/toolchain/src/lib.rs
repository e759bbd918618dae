//! What a policy in C needs beside its compiler: the bindings of its world, and a component made of the module that
//! came out.
//!
//! A compiler's module speaks WASI's first version where its C library asks the system for something; an adapter turns
//! that into the second, which the sandbox answers with nothing. Not owned here: running a compiler, and which imports
//! a component may have.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use thiserror::Error;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;
use wit_component::ComponentEncoder;

/// Why there are no bindings, or no component.
#[derive(Debug, Error)]
pub enum ToolchainError {
    /// The WIT makes no sense, or has no such world.
    #[error("{}: {problem}", path.display())]
    Wit {
        /// The folder or file.
        path: PathBuf,
        /// The parser's words.
        problem: String,
    },
    /// The module cannot become a component.
    #[error(
        "the module cannot become a component: {0}; link it with the bindings' object file and -mexec-model=reactor"
    )]
    Module(String),
}

/// A file of the bindings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingsFile {
    /// Its name, after the world: `WORLD.c`, `WORLD.h`, `WORLD_component_type.o`.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The C bindings of the one world of a WIT package, or of the named one. The package is a folder of `*.wit` files,
/// with what it uses in `deps`.
///
/// # Errors
/// [`ToolchainError::Wit`].
pub fn c_bindings(wit: &Path, world: Option<&str>) -> Result<Vec<BindingsFile>, ToolchainError> {
    let unusable = |problem: String| ToolchainError::Wit { path: wit.to_owned(), problem };
    let mut resolve = Resolve::default();
    let (package, _) = match resolve.push_path(wit) {
        Ok(package) => package,
        // With the line that is wrong.
        Err(error) => return Err(unusable(resolve.render_error(&error))),
    };
    let world = resolve.select_world(&[package], world).map_err(|error| unusable(format!("{error:#}")))?;
    let mut files = Files::default();
    let mut generator = wit_bindgen_c::Opts::default().build();
    generator.generate(&mut resolve, world, &mut files).map_err(|error| unusable(format!("{error:#}")))?;
    Ok(files
        .iter()
        .map(|(name, bytes)| BindingsFile { name: name.to_owned(), bytes: bytes.to_vec() })
        .collect())
}

/// The component that a core module is, by what the bindings' object file says of it.
///
/// # Errors
/// [`ToolchainError::Module`].
pub fn component(module: &[u8]) -> Result<Vec<u8>, ToolchainError> {
    let (adapter, bytes) = (WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER);
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.adapter(adapter, bytes))
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| ToolchainError::Module(format!("{error:#}")))
}

#[cfg(test)]
mod tests;
