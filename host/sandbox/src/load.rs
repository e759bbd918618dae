//! From bytes to a component that is ready to be called: what it is, whether it fits the world and the
//! grants, compiled once.
//!
//! Owns every complaint about a component. A complaint names the file and says what to do.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lockgate_compiler::{CompileError, Workshop};
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::call::Call;
use crate::grant::{Access, Grant, PACKAGE, VERSION, World, access, own_interface, speaks};
use crate::limits::Limits;
use crate::pin::Digest;
use crate::{contract, wasi};

/// Bytes of the largest component that is compiled. A policy in Rust has a tenth of a megabyte, one in
/// Python, with its interpreter, some 40.
pub const COMPONENT_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a signature file that are read; it has four lines.
const SIGNATURE_BYTES_MAX: u64 = 16 << 10;

/// Why a component is not loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// More bytes than are compiled.
    #[error("{name}: larger than {COMPONENT_BYTES_MAX} bytes, the most that is compiled")]
    TooLarge {
        /// The file, or the plugin.
        name: String,
    },
    /// Not the component that the operator pinned.
    #[error("{name}: {problem}")]
    Pinned {
        /// The file, or the plugin.
        name: String,
        /// What differs.
        problem: String,
    },
    /// Not a component at all.
    #[error("{name}: {problem}")]
    NotAComponent {
        /// The file, or the plugin.
        name: String,
        /// What it is instead, and what to do.
        problem: String,
    },
    /// WebAssembly that does not pass its checks.
    #[error("{name}: truncated, corrupted, or using a feature that is off: {problem}")]
    Invalid {
        /// The file, or the plugin.
        name: String,
        /// The compiler's words.
        problem: String,
    },
    /// Compiling it took more than it may.
    #[error("{name}: {source}")]
    Compile {
        /// The file, or the plugin.
        name: String,
        /// What happened.
        source: CompileError,
    },
    /// A component of another world.
    #[error("{name}: not a component of the world `{world}`: {problem}")]
    WrongWorld {
        /// The file, or the plugin.
        name: String,
        /// The world that it was to be loaded into.
        world: World,
        /// What differs.
        problem: String,
    },
    /// It imports what only a grant gives.
    #[error(
        "{name}: imports {import}, which needs the grant `{grant}`; to allow it, add to this plugin: \
         grants = [{}]",
        with(had, grant)
    )]
    NotGranted {
        /// The file, or the plugin.
        name: String,
        /// The import.
        import: String,
        /// What would allow it.
        grant: Grant,
        /// The grants that it has.
        had: Vec<Grant>,
    },
    /// It imports what no plugin has.
    #[error("{name}: imports {import}, which this version offers to no plugin of the world `{world}`")]
    UnknownImport {
        /// The file, or the plugin.
        name: String,
        /// The import.
        import: String,
        /// The world.
        world: World,
    },
    /// It cannot say what adapter it is.
    #[error("{name}: as an adapter it does not describe itself: {problem}")]
    Described {
        /// The file, or the plugin.
        name: String,
        /// How it failed, or which part makes no sense.
        problem: String,
    },
    /// It cannot run within the plugin's limits.
    #[error("{name}: {problem}")]
    Limits {
        /// The file, or the plugin.
        name: String,
        /// Which limit, and what to raise.
        problem: String,
    },
}

/// The grants as a configuration file would list them.
fn with(had: &[Grant], more: &Grant) -> String {
    let all = had.iter().chain([more]).map(|grant| format!("\"{grant}\""));
    all.collect::<Vec<_>>().join(", ")
}

/// What turns bytes into components.
pub(crate) struct Compiler {
    /// Which WebAssembly is taken, and what its machine code is for.
    pub(crate) engine: Engine,
    pub(crate) workshop: Option<Workshop>,
}

/// What a component is and wants, found without calling it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The worlds that it belongs to: none, one, or the two of a filter.
    pub worlds: Vec<World>,
    /// The version of the contract that it was built for.
    pub version: Option<String>,
    /// Every import, by its full name.
    pub imports: Vec<String>,
    /// Grants that it needs, in the order of its imports.
    pub grants: Vec<Grant>,
    /// Bytes of the file.
    pub bytes: u64,
    /// The SHA-256 of those bytes.
    pub digest: Digest,
    /// What compiling it took, or loading what was kept of an earlier time.
    pub compile_time: Duration,
}

/// A component, compiled and linked to what it is granted.
pub(crate) struct Loaded<T> {
    /// What its world's calls start from.
    pub(crate) instance: T,
    pub(crate) compile_time: Duration,
    /// Grants that no import asks for.
    pub(crate) grants_unused: Vec<Grant>,
}

/// Reads a component's file, and no more of it than would be compiled.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Reads a minisign signature, if there is one at `path`.
pub(crate) fn read_signature(path: &Path) -> Result<Option<String>, LoadError> {
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(SIGNATURE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Compiles the component and says what it is.
pub(crate) fn inspect(compiler: &Compiler, name: &str, bytes: &[u8]) -> Result<Report, LoadError> {
    let engine = &compiler.engine;
    let (component, compile_time) = compile(compiler, name, bytes)?;
    let imports = import_names(engine, &component);
    let exported = |world: &World| export_version(engine, &component, *world);
    let worlds: Vec<World> = World::ALL.into_iter().filter(|world| exported(world).is_some()).collect();
    let version = worlds.first().and_then(exported);
    let mut grants = Vec::new();
    for (world, import) in worlds.iter().flat_map(|world| imports.iter().map(move |import| (world, import))) {
        if let Access::Needs(grant) = access(*world, import)
            && !grants.contains(&grant)
        {
            grants.push(grant);
        }
    }
    let digest = Digest::of(bytes);
    Ok(Report { worlds, version, imports, grants, bytes: bytes.len() as u64, digest, compile_time })
}

/// Compiles and links a component of the world. `bind` finds the world's exports in it.
pub(crate) fn load<T>(
    compiler: &Compiler,
    name: &str,
    bytes: &[u8],
    world: World,
    grants: &[Grant],
    limits: &Limits,
    bind: impl FnOnce(InstancePre<Call>) -> wasmtime::Result<T>,
) -> Result<Loaded<T>, LoadError> {
    let engine = &compiler.engine;
    let (component, compile_time) = compile(compiler, name, bytes)?;
    check_world(engine, name, &component, world)?;
    let mut used = Vec::new();
    for import in import_names(engine, &component) {
        match access(world, &import) {
            Access::Free | Access::Closed => {}
            Access::Needs(grant) if grants.iter().any(|had| had.is_of_kind(&grant)) => used.push(grant),
            Access::Needs(grant) => {
                return Err(LoadError::NotGranted {
                    name: name.to_owned(),
                    import,
                    grant,
                    had: grants.to_vec(),
                });
            }
            Access::Unknown => {
                return Err(LoadError::UnknownImport { name: name.to_owned(), import, world });
            }
        }
    }
    check_limits(name, &component, limits)?;

    let mismatch = |error: wasmtime::Error| LoadError::WrongWorld {
        name: name.to_owned(),
        world,
        problem: format!("{error:#}"),
    };
    let mut linker = Linker::new(engine);
    contract::link(&mut linker, world, grants).map_err(mismatch)?;
    wasi::link(&mut linker, &component).map_err(mismatch)?;
    let instance = linker.instantiate_pre(&component).and_then(bind).map_err(mismatch)?;
    let grants_unused =
        grants.iter().filter(|grant| !used.iter().any(|used| used.is_of_kind(grant))).cloned().collect();
    Ok(Loaded { instance, compile_time, grants_unused })
}

fn compile(compiler: &Compiler, name: &str, bytes: &[u8]) -> Result<(Component, Duration), LoadError> {
    if bytes.len() as u64 > COMPONENT_BYTES_MAX {
        return Err(LoadError::TooLarge { name: name.to_owned() });
    }
    if let Some(problem) = not_a_component(bytes) {
        return Err(LoadError::NotAComponent { name: name.to_owned(), problem: problem.to_owned() });
    }
    let start = Instant::now();
    let invalid = |problem: String| LoadError::Invalid { name: name.to_owned(), problem };
    let component = match &compiler.workshop {
        None => {
            Component::from_binary(&compiler.engine, bytes).map_err(|error| invalid(format!("{error:#}")))?
        }
        Some(workshop) => workshop.component(&compiler.engine, bytes).map_err(|error| match error {
            CompileError::Invalid(problem) => invalid(problem),
            error => LoadError::Compile { name: name.to_owned(), source: error },
        })?,
    };
    Ok((component, start.elapsed()))
}

/// What the bytes are, when they are not a component: told by the first eight.
fn not_a_component(bytes: &[u8]) -> Option<&'static str> {
    const MAGIC: &[u8] = b"\0asm";
    match bytes {
        [] => Some("the file is empty"),
        _ if !bytes.starts_with(MAGIC) => {
            Some("not WebAssembly; a plugin is a compiled component, such as cargo makes for wasm32-wasip2")
        }
        [_, _, _, _, 0x0d, 0, 1, 0, ..] => None,
        [_, _, _, _, 1, 0, 0, 0, ..] => Some(
            "a core module, not a component; compile for wasm32-wasip2, or wrap it: wasm-tools component new",
        ),
        _ => Some("WebAssembly of an unknown version, or cut off after its first bytes"),
    }
}

fn import_names(engine: &Engine, component: &Component) -> Vec<String> {
    component.component_type().imports(engine).map(|(name, _)| name.to_owned()).collect()
}

/// Whether the component exports one of our interfaces, in whatever version.
pub(crate) fn exports(component: &Component, interface: &str) -> bool {
    let component_type = component.component_type();
    component_type
        .exports(component.engine())
        .any(|(name, _)| own_interface(name).is_some_and(|(own, _)| own == interface))
}

/// The version in which the component exports the world's hook.
fn export_version(engine: &Engine, component: &Component, world: World) -> Option<String> {
    component.component_type().exports(engine).find_map(|(name, _)| {
        let (interface, version) = own_interface(name)?;
        (interface == world.hook()).then(|| version.to_owned())
    })
}

fn check_world(engine: &Engine, name: &str, component: &Component, world: World) -> Result<(), LoadError> {
    let hook = world.hook();
    let problem = match export_version(engine, component, world) {
        Some(version) if speaks(&version) => return Ok(()),
        Some(version) => {
            format!("it was built for version {version} of {PACKAGE}, and this host speaks {VERSION}")
        }
        None => {
            let exports: Vec<_> =
                component.component_type().exports(engine).map(|(name, _)| name.to_owned()).collect();
            let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
            format!("it must export {PACKAGE}/{hook}@{VERSION}, and exports {exports}")
        }
    };
    Err(LoadError::WrongWorld { name: name.to_owned(), world, problem })
}

/// What can be told before the first call, so that it does not fail then.
fn check_limits(name: &str, component: &Component, limits: &Limits) -> Result<(), LoadError> {
    let Some(needed) = component.resources_required() else {
        return Err(LoadError::Limits {
            name: name.to_owned(),
            problem: "it is made of modules that it does not contain".to_owned(),
        });
    };
    let memory_bytes = needed.max_initial_memory_size.unwrap_or(0).saturating_mul(64 << 10);
    if memory_bytes > limits.memory_bytes_max as u64 {
        let problem = format!(
            "it starts with {memory_bytes} bytes of memory and may have {}; raise limits.memory_mib",
            limits.memory_bytes_max
        );
        return Err(LoadError::Limits { name: name.to_owned(), problem });
    }
    let elements = needed.max_initial_table_size.unwrap_or(0);
    if elements > limits.table_elements_max as u64 {
        let problem = format!(
            "it starts with a table of {elements} entries and may have {}",
            limits.table_elements_max
        );
        return Err(LoadError::Limits { name: name.to_owned(), problem });
    }
    Ok(())
}
