//! Which component an operator means: by the digest of its bytes, or by who signed them.
//!
//! Checked at every load, on the very bytes that are compiled then. Not owned here: reading the files and
//! how keys are kept.

use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};
use sha2::{Digest as _, Sha256};

use crate::load::LoadError;

/// The SHA-256 of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub(crate) [u8; 32]);

/// What a component must be to be loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pin {
    /// Exactly these bytes.
    pub digest: Option<Digest>,
    /// Bytes that this key signed.
    pub signer: Option<Signer>,
}

/// A minisign public key.
#[derive(Clone, Debug, PartialEq)]
pub struct Signer(PublicKey);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first twelve digits: enough to tell versions apart in a log.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self}")
    }
}

impl std::str::FromStr for Digest {
    type Err = String;

    /// Reads 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let mut digest = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() == digest.len() && rest.is_empty() {
            let bytes: Option<Vec<u8>> =
                pairs.iter().map(|&[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8)).collect();
            if let Some(bytes) = bytes {
                digest.copy_from_slice(&bytes);
                return Ok(Self(digest));
            }
        }
        Err("a SHA-256 is 64 hexadecimal digits, as `sha256sum FILE` prints them".to_owned())
    }
}

impl std::str::FromStr for Signer {
    type Err = String;

    /// Reads a minisign public key: the second line of its `.pub` file.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        PublicKey::from_base64(text).map(Self).map_err(|error| {
            format!("not a minisign public key, which is the second line of its .pub file: {error}")
        })
    }
}

impl Pin {
    /// Where the signature of the component at `path` lies, when one is demanded.
    pub fn signature_path(&self, path: &Path) -> Option<PathBuf> {
        self.signer.as_ref()?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".minisig");
        Some(beside.into())
    }

    /// Holds `bytes` against the pin. `signature` is the text of the minisign signature beside the component.
    pub(crate) fn check(
        &self,
        name: &str,
        bytes: &[u8],
        digest: Digest,
        signature: Option<&str>,
    ) -> Result<(), LoadError> {
        let refused = |problem: String| LoadError::Pinned { name: name.to_owned(), problem };
        if let Some(expected) = self.digest.filter(|expected| *expected != digest) {
            return Err(refused(format!(
                "its SHA-256 is {digest}, and `sha256` pins {expected}; if the change is meant, change the pin"
            )));
        }
        let Some(Signer(signer)) = &self.signer else { return Ok(()) };
        let signature = signature.ok_or_else(|| {
            refused(format!(
                "`signer` demands a signature in {name}.minisig, and there is none; `minisign -Sm {name}` makes one"
            ))
        })?;
        let signed =
            Signature::decode(signature).and_then(|signature| signer.verify(bytes, &signature, false));
        signed.map_err(|error| refused(format!("{name}.minisig is not its signature by `signer`: {error}")))
    }
}

#[cfg(test)]
mod tests;
