//! Machine code that this host made: the one place where it becomes a component.

use wasmtime::Engine;
use wasmtime::component::Component;

/// Compiled bytes that came from this host's own compiler: straight from its process, or out of the folder with this
/// host's code on them. Made by `child` and `cache` alone.
pub(crate) struct Trusted(Vec<u8>);

impl Trusted {
    /// Vouches for the bytes.
    pub(crate) fn vouch(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The component. Wasmtime checks version and settings.
    #[allow(unsafe_code, reason = "the one edge where machine code is loaded")]
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: the bytes are what `Engine::precompile_component` returned, unmodified: they came through a pipe from a
        // process of this host's own program, or from a file whose HMAC under this host's key was just checked.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}
