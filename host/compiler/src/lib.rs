//! Compiles components apart from the host, and keeps what was compiled.
//!
//! A compiler is a large program that reads hostile bytes, so it runs in a process of its own (`child`) with limits
//! on time, memory and output, which the host outlives whatever becomes of it. What it made is kept in a folder
//! (`cache`) under the component's content, the compiler's version and settings, with a code that only this host's
//! key gives. Machine code is loaded (`trusted`) from nowhere else.
//!
//! Not owned here: which WebAssembly is allowed and how it is compiled (the engine that is passed in), what a
//! component may import, and where the folder lies.
#![deny(unsafe_code)]

mod cache;
mod child;
mod trusted;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tracing::warn;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::{Cache, Key};

pub use child::{Limits, confine, work};

/// How components are compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workshop {
    /// The program that compiles: it reads a component from its standard input and writes what [`work`] makes of it.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it may use.
    pub limits: Limits,
    /// Where results are kept; nowhere where there is none.
    pub folder: Option<PathBuf>,
}

/// Why there is no compiled component.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The compiler refuses it.
    #[error("{0}")]
    Invalid(String),
    /// It took too long.
    #[error("compiling it takes longer than {} s, the most that is allowed", .0.as_secs())]
    Time(Duration),
    /// The compiler died, most often of its limit of memory.
    #[error("the compiler died of it ({how}); it may use {} MiB of memory", memory_bytes >> 20)]
    Died {
        /// How.
        how: String,
        /// What it had.
        memory_bytes: u64,
    },
    /// More machine code than is taken.
    #[error("it compiles to more than {0} bytes")]
    Size(u64),
    /// No process.
    #[error("cannot run the compiler {}: {source}", program.display())]
    Process {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What came out is not for this engine.
    #[error("the compiler is not of this host's version: {0}")]
    Mismatch(String),
}

impl Workshop {
    /// The compiled component: a kept one, or one that is compiled now and kept.
    ///
    /// # Errors
    /// [`CompileError`]. A folder that cannot be used is no error: then nothing is kept.
    pub fn component(&self, engine: &Engine, bytes: &[u8]) -> Result<Component, CompileError> {
        let cache = self.folder.as_deref().and_then(|folder| {
            Cache::open(folder)
                .inspect_err(
                    |error| warn!(folder = %folder.display(), %error, "compiled plugins are not kept"),
                )
                .ok()
        });
        let key = key(engine, bytes);
        if let Some(kept) = cache.as_ref().and_then(|cache| cache.read(&key)) {
            match kept.load(engine) {
                Ok(component) => return Ok(component),
                Err(error) => warn!(%error, "a kept compiled plugin cannot be used and is compiled anew"),
            }
        }
        let made = child::compile(&self.program, &self.arguments, &self.limits, bytes)?;
        let component = made.load(engine).map_err(|error| CompileError::Mismatch(format!("{error:#}")))?;
        if let Some(cache) = &cache {
            cache.write(&key, &made);
        }
        Ok(component)
    }
}

/// Content, compiler and settings.
fn key(engine: &Engine, bytes: &[u8]) -> Key {
    let mut settings = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut settings);
    let mut all = Sha256::new();
    // Of this crate's own, whose version follows the host's: another host compiles anew.
    all.update(env!("CARGO_PKG_VERSION"));
    all.update(settings.finish().to_le_bytes());
    all.update(bytes);
    Key(all.finalize().into())
}
