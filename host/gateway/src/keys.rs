//! API keys: who a caller is, from a secret that is stored only as its hash.
//!
//! Keys are 192 random bits, so one round of SHA-256 is enough: there is nothing to guess, unlike with
//! a password. Every stored hash is compared, in constant time. Rate limits and budgets live elsewhere.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use lockgate_api::{KeyFacts, Labels};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use thiserror::Error;

/// Random bytes in a new key.
pub const KEY_RANDOM_BYTES: usize = 24;
const KEY_PREFIX: &str = "lockgate_";
const HASH_PREFIX: &str = "sha256:";

/// What is stored of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a presented key.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{HASH_PREFIX}{}", hex::encode(self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Text that is no key's hash. It is not repeated, since it may be the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a key's hash: use `sha256:` and 64 hexadecimal digits, as made by `lockgate key new`")]
pub struct InvalidKeyHash;

impl FromStr for KeyHash {
    type Err = InvalidKeyHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(HASH_PREFIX).ok_or(InvalidKeyHash)?;
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash).map_err(|_| InvalidKeyHash)?;
        Ok(Self(hash))
    }
}

/// A new key. The secret is shown once and never stored.
#[derive(Clone)]
pub struct NewKey {
    /// What the client presents.
    pub secret: String,
    /// What the configuration holds.
    pub hash: KeyHash,
}

impl NewKey {
    /// A key from random bytes of a cryptographic source.
    pub fn from_random(random: [u8; KEY_RANDOM_BYTES]) -> Self {
        let secret = format!("{KEY_PREFIX}{}", hex::encode(random));
        let hash = KeyHash::of(&secret);
        Self { secret, hash }
    }
}

/// Who a key belongs to and what it brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: Arc<str>,
    /// Its tenant.
    pub tenant: Arc<str>,
    /// Labels of every request made with it.
    pub labels: Labels,
    /// The router that decides about its requests; the first one where there is none.
    pub router: Option<Arc<str>>,
}

impl Key {
    /// What policies are told.
    pub fn facts(&self) -> KeyFacts {
        KeyFacts { name: Arc::clone(&self.name), tenant: Arc::clone(&self.tenant) }
    }
}

/// The keys of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<(KeyHash, Arc<Key>)>);

impl Keys {
    /// Those keys. None means that nobody is asked for one.
    pub fn new(keys: impl IntoIterator<Item = (KeyHash, Key)>) -> Self {
        Self(keys.into_iter().map(|(hash, key)| (hash, Arc::new(key))).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose key was presented. The time taken does not depend on how close a wrong one comes.
    pub fn find(&self, secret: &str) -> Option<&Arc<Key>> {
        let presented = KeyHash::of(secret);
        let mut found = Choice::from(0);
        let mut place = 0_u64;
        for (index, (hash, _)) in (0_u64..).zip(&self.0) {
            let same = hash.0.ct_eq(&presented.0);
            place.conditional_assign(&index, same);
            found |= same;
        }
        if !bool::from(found) {
            return None;
        }
        self.0.get(usize::try_from(place).ok()?).map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests;
