//! The metadata of a model file: an ordered map of keys to values, with typed getters.
//!
//! Every getter says which key it wanted, as what, and what it found. Integers of any width are accepted where
//! their value fits, since writers disagree on widths; floats, strings and booleans are never converted.

use indexmap::IndexMap;

use super::value::{Array, Value};

/// The metadata of a model file, in file order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    values: IndexMap<String, Value>,
}

/// A key that is missing, or holds something else than what is needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The key is not there.
    #[error("key `{key}` ({expected}) is missing; the file is incomplete or of another kind")]
    Missing {
        /// The key.
        key: String,
        /// The type that is needed.
        expected: &'static str,
    },
    /// The key holds another type.
    #[error("key `{key}` must be {expected}, but it is {found}; the file is damaged or of another kind")]
    WrongType {
        /// The key.
        key: String,
        /// The type that is needed.
        expected: &'static str,
        /// The type that is there.
        found: &'static str,
    },
    /// The key holds a value that does not fit.
    #[error("key `{key}` must be {expected}, but it is {found}; the file is damaged or of another kind")]
    OutOfRange {
        /// The key.
        key: String,
        /// What is needed.
        expected: String,
        /// The value, in words.
        found: String,
    },
}

/// Turns a missing key into `None`; a key of the wrong type stays an error.
///
/// # Errors
/// Everything but [`MetadataError::Missing`].
pub fn optional<T>(result: Result<T, MetadataError>) -> Result<Option<T>, MetadataError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MetadataError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Metadata {
    /// Metadata without keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`, and returns what it held before.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        self.values.insert(key.into(), value.into())
    }

    /// The value of `key`, whatever its type.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Whether `key` is there.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// All keys and values, in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A string.
    ///
    /// # Errors
    /// The key is missing or no string.
    pub fn string(&self, key: &str) -> Result<&str, MetadataError> {
        match self.required(key, "a string")? {
            Value::String(value) => Ok(value),
            other => Err(wrong_type(key, "a string", other)),
        }
    }

    /// A boolean.
    ///
    /// # Errors
    /// The key is missing or no boolean.
    pub fn bool(&self, key: &str) -> Result<bool, MetadataError> {
        match self.required(key, "a boolean")? {
            Value::Bool(value) => Ok(*value),
            other => Err(wrong_type(key, "a boolean", other)),
        }
    }

    /// An integer from 0 to 2³² − 1, stored at any width.
    ///
    /// # Errors
    /// The key is missing, no integer, or out of that range.
    pub fn u32(&self, key: &str) -> Result<u32, MetadataError> {
        const EXPECTED: &str = "an unsigned 32-bit integer";
        let value = self.required(key, EXPECTED)?;
        let integer = value.integer().ok_or_else(|| wrong_type(key, EXPECTED, value))?;
        u32::try_from(integer).map_err(|_| out_of_range(key, EXPECTED, integer.to_string()))
    }

    /// An integer from 0 to 2⁶⁴ − 1, stored at any width.
    ///
    /// # Errors
    /// The key is missing, no integer, or negative.
    pub fn u64(&self, key: &str) -> Result<u64, MetadataError> {
        const EXPECTED: &str = "an unsigned 64-bit integer";
        let value = self.required(key, EXPECTED)?;
        let integer = value.integer().ok_or_else(|| wrong_type(key, EXPECTED, value))?;
        u64::try_from(integer).map_err(|_| out_of_range(key, EXPECTED, integer.to_string()))
    }

    /// A finite 32-bit float.
    ///
    /// # Errors
    /// The key is missing, no 32-bit float, or not finite.
    pub fn f32(&self, key: &str) -> Result<f32, MetadataError> {
        const EXPECTED: &str = "a finite 32-bit float";
        match self.required(key, EXPECTED)? {
            Value::F32(value) if value.is_finite() => Ok(*value),
            Value::F32(value) => Err(out_of_range(key, EXPECTED, value.to_string())),
            other => Err(wrong_type(key, EXPECTED, other)),
        }
    }

    /// An array of strings.
    ///
    /// # Errors
    /// The key is missing or no array of strings.
    pub fn array_of_strings(&self, key: &str) -> Result<&[String], MetadataError> {
        const EXPECTED: &str = "an array of strings";
        match self.required(key, EXPECTED)? {
            Value::Array(Array::Strings(values)) => Ok(values),
            other => Err(wrong_type(key, EXPECTED, other)),
        }
    }

    /// An array of 32-bit floats. They may be anything, NaN included: who uses them checks them.
    ///
    /// # Errors
    /// The key is missing or no array of 32-bit floats.
    pub fn array_of_f32(&self, key: &str) -> Result<&[f32], MetadataError> {
        const EXPECTED: &str = "an array of 32-bit floats";
        match self.required(key, EXPECTED)? {
            Value::Array(Array::F32(values)) => Ok(values),
            other => Err(wrong_type(key, EXPECTED, other)),
        }
    }

    /// An array of signed 32-bit integers (also when stored unsigned, if every element fits).
    ///
    /// # Errors
    /// The key is missing, no array of 32-bit integers, or has an element over 2³¹ − 1.
    pub fn array_of_i32(&self, key: &str) -> Result<Vec<i32>, MetadataError> {
        const EXPECTED: &str = "an array of 32-bit integers";
        match self.required(key, EXPECTED)? {
            Value::Array(Array::I32(values)) => Ok(values.clone()),
            Value::Array(Array::U32(values)) => values
                .iter()
                .map(|value| {
                    i32::try_from(*value).map_err(|_| out_of_range(key, EXPECTED, format!("holding {value}")))
                })
                .collect(),
            other => Err(wrong_type(key, EXPECTED, other)),
        }
    }

    fn required(&self, key: &str, expected: &'static str) -> Result<&Value, MetadataError> {
        self.values.get(key).ok_or_else(|| MetadataError::Missing { key: key.to_owned(), expected })
    }
}

fn wrong_type(key: &str, expected: &'static str, found: &Value) -> MetadataError {
    MetadataError::WrongType { key: key.to_owned(), expected, found: found.type_name() }
}

fn out_of_range(key: &str, expected: &str, found: String) -> MetadataError {
    MetadataError::OutOfRange { key: key.to_owned(), expected: expected.to_owned(), found }
}
