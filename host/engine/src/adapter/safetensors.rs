//! The directory of a safetensors file, read by positioned reads.
//!
//! ```text
//! u64:n   n bytes of JSON {name: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {…}}   data
//! ```
//! Tensors lie one behind the other and fill the data exactly, as the format demands: no gap, no overlap, nothing
//! behind. Only float tensors are known here, since adapters have no others. Not the crate of that name: it wants
//! the whole file in memory and takes the last of two tensors that share a name.

use std::fmt;
use std::io;

use indexmap::IndexMap;
use lockgate_kernels::formats::Format;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::gguf::ReadAt;

/// Bytes of the JSON. A large model's adapter has some 500 tensors of about 150 bytes each.
const HEADER_BYTES_MAX: u64 = 4 << 20;
const TENSORS_MAX: usize = 1 << 15;

/// The ways in which a safetensors file is refused.
#[derive(Debug, thiserror::Error)]
pub enum SafetensorsProblem {
    /// The file cannot be read.
    #[error("cannot read at byte {offset}: {reason}")]
    Read {
        /// Where the read began.
        offset: u64,
        /// The system's reason.
        reason: io::Error,
    },
    /// The file ends before its directory does.
    #[error(
        "the directory needs {needed} bytes but the file has {size}; \
         it is no safetensors file, or the download is incomplete"
    )]
    Truncated {
        /// Bytes that the directory needs.
        needed: u64,
        /// Bytes of the file.
        size: u64,
    },
    /// A directory beyond the limit.
    #[error("a directory of {found} bytes is over the limit of {HEADER_BYTES_MAX}; it is no adapter")]
    TooLarge {
        /// Bytes of the directory.
        found: u64,
    },
    /// The directory is not the JSON that it should be.
    #[error("the directory is damaged: {0}")]
    Directory(String),
    /// A tensor of another type than the three that are known.
    #[error("tensor `{tensor}` is stored as {found}; save the adapter as F32, F16 or BF16")]
    Type {
        /// The tensor's name.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// A tensor whose bytes are not those of its shape.
    #[error(
        "tensor `{tensor}` has the bytes {begin} to {end}, which is not its shape {shape:?}; it is damaged"
    )]
    Size {
        /// The tensor's name.
        tensor: String,
        /// Its shape.
        shape: Vec<u64>,
        /// Where its data begins, from the start of the data.
        begin: u64,
        /// Where its data ends.
        end: u64,
    },
    /// A tensor that does not begin where the one before it ends.
    #[error(
        "tensor `{tensor}` begins at {begin} where {expected} is expected; tensors overlap or leave a gap"
    )]
    Place {
        /// The tensor's name.
        tensor: String,
        /// Where it begins.
        begin: u64,
        /// Where the one before it ends.
        expected: u64,
    },
    /// Data that is longer or shorter than the tensors are.
    #[error("the tensors need {needed} bytes of data but the file has {found}; the download is damaged")]
    Data {
        /// Bytes of all tensors.
        needed: u64,
        /// Bytes behind the directory.
        found: u64,
    },
}

/// A tensor of the file.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) format: Format,
    /// Slowest first.
    pub(super) shape: Vec<u64>,
    begin: u64,
    end: u64,
}

/// A file whose directory has been read and checked.
pub(super) struct Safetensors {
    source: Box<dyn ReadAt>,
    data_start: u64,
    tensors: IndexMap<String, Tensor>,
}

impl Safetensors {
    /// Reads and checks the directory of `source`.
    pub(super) fn read(source: Box<dyn ReadAt>) -> Result<Self, SafetensorsProblem> {
        let size = source.size_bytes();
        let truncated = |needed| SafetensorsProblem::Truncated { needed, size };
        if size < 8 {
            return Err(truncated(8));
        }
        let mut length = [0; 8];
        read(source.as_ref(), 0, &mut length)?;
        let length = u64::from_le_bytes(length);
        if length > HEADER_BYTES_MAX {
            return Err(SafetensorsProblem::TooLarge { found: length });
        }
        let data_start = 8 + length;
        let data_bytes = size.checked_sub(data_start).ok_or_else(|| truncated(data_start))?;
        let mut header = vec![0; length as usize];
        read(source.as_ref(), 8, &mut header)?;
        let Directory(entries) = serde_json::from_slice(&header)
            .map_err(|error| SafetensorsProblem::Directory(error.to_string()))?;
        let tensors = check(entries, data_bytes)?;
        Ok(Self { source, data_start, tensors })
    }

    /// All tensors, in the directory's order.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The bytes of a tensor of this file.
    pub(super) fn read_data(&self, name: &str) -> Result<Vec<u8>, SafetensorsProblem> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(SafetensorsProblem::Directory(format!("there is no tensor `{name}`")));
        };
        // The directory check has shown that these bytes are inside the file.
        let mut bytes = vec![0; (tensor.end - tensor.begin) as usize];
        read(self.source.as_ref(), self.data_start + tensor.begin, &mut bytes)?;
        Ok(bytes)
    }
}

fn read(source: &dyn ReadAt, offset: u64, target: &mut [u8]) -> Result<(), SafetensorsProblem> {
    source.read_exact_at(target, offset).map_err(|reason| SafetensorsProblem::Read { offset, reason })
}

/// Checks types, sizes and places of all tensors against the bytes that there are.
fn check(
    entries: IndexMap<String, Entry>,
    data_bytes: u64,
) -> Result<IndexMap<String, Tensor>, SafetensorsProblem> {
    let mut tensors = IndexMap::with_capacity(entries.len());
    for (tensor, Entry { dtype, shape, data_offsets: [begin, end] }) in entries {
        let format = match dtype.as_str() {
            "F32" => Format::F32,
            "F16" => Format::F16,
            "BF16" => Format::Bf16,
            _ => return Err(SafetensorsProblem::Type { tensor, found: dtype }),
        };
        let elements = shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
        let bytes = elements.and_then(|elements| elements.checked_mul(format.block_bytes() as u64));
        if bytes.is_none() || end.checked_sub(begin) != bytes {
            return Err(SafetensorsProblem::Size { tensor, shape, begin, end });
        }
        tensors.insert(tensor, Tensor { format, shape, begin, end });
    }
    let mut places: Vec<(&String, &Tensor)> = tensors.iter().collect();
    places.sort_by_key(|(_, tensor)| (tensor.begin, tensor.end));
    let mut expected = 0;
    for (name, tensor) in places {
        if tensor.begin != expected {
            let (tensor, begin) = (name.clone(), tensor.begin);
            return Err(SafetensorsProblem::Place { tensor, begin, expected });
        }
        expected = tensor.end;
    }
    if expected != data_bytes {
        return Err(SafetensorsProblem::Data { needed: expected, found: data_bytes });
    }
    Ok(tensors)
}

/// A tensor as the directory describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The directory. A reader of its own, since a map would silently drop one of two tensors of the same name.
struct Directory(IndexMap<String, Entry>);

impl<'de> Deserialize<'de> for Directory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Directory;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Directory, A::Error> {
                let mut entries = IndexMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if entries.len() == TENSORS_MAX {
                        return Err(A::Error::custom(format!("more than {TENSORS_MAX} tensors")));
                    }
                    let entry = map.next_value::<Entry>()?;
                    if entries.contains_key(&name) {
                        return Err(A::Error::custom(format!("there are two tensors `{name}`")));
                    }
                    entries.insert(name, entry);
                }
                Ok(Directory(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
