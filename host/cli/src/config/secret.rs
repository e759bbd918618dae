//! Secrets: named in the configuration by where they are, read once, never printed.

use std::fmt;
use std::path::{Path, PathBuf};

use lockgate_providers::Secret;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Where a secret is kept: `{ env = "NAME" }` or `{ file = "PATH" }`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase", remote = "Self")]
pub(crate) enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file, relative to the configuration's folder; one line end at its end is ignored.
    File(PathBuf),
}

/// A text in its place is likely to be the secret itself, which no message may repeat.
impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Place;
        impl<'de> Visitor<'de> for Place {
            type Value = SecretSource;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("{ env = \"NAME\" } or { file = \"PATH\" }")
            }

            fn visit_str<E: de::Error>(self, _secret: &str) -> Result<SecretSource, E> {
                Err(E::custom(
                    "a secret does not stand in the configuration: use { env = \"NAME\" } or { file = \"PATH\" }",
                ))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretSource, A::Error> {
                SecretSource::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Place)
    }
}

impl SecretSource {
    /// Reads the secret. The error is a sentence that does not contain it.
    pub(crate) fn read(&self, folder: &Path) -> Result<Secret, String> {
        let value = match self {
            Self::Env(name) => std::env::var(name)
                .map_err(|_| format!("the environment variable `{name}` is not set (or is not UTF-8)"))?,
            Self::File(path) => {
                let path = folder.join(path);
                std::fs::read_to_string(&path)
                    .map_err(|error| format!("cannot read the secret file {}: {error}", path.display()))?
            }
        };
        let value = value.trim_end_matches(['\r', '\n']);
        if value.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        if value.chars().any(char::is_control) {
            return Err("the secret contains a control character".to_owned());
        }
        Ok(Secret::new(value))
    }
}
