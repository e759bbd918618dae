//! GGUF model files, versions 2 and 3, little-endian.
//!
//! Owns: reading the header, the metadata and the tensor directory by positioned reads, with every count,
//! length, offset, product and type checked before it is used; and writing small files ([`GgufWriter`]).
//! Does not own: what the keys mean (`model`, `tokenizer`) or how weights are computed with (the kernels).
//!
//! The file is hostile until proven otherwise: nothing is reserved before the bytes that it stands for are known
//! to exist, and no mapping is made, since a file cut while mapped is a bus error. Start at [`Gguf::open`].

mod cursor;
mod error;
mod limits;
mod metadata;
mod read_at;
mod reader;
mod tensor;
mod value;
mod writer;

pub use error::{GgufError, Problem};
pub use limits::Limits;
pub use metadata::{Metadata, MetadataError, optional};
pub use read_at::{FileSource, ReadAt};
pub use reader::Gguf;
pub use tensor::{TensorInfo, TensorType};
pub use value::{Array, Value};
pub use writer::{Directory, GgufWriter};

/// The first four bytes of every GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// The alignment of tensor data when `general.alignment` is absent, in bytes.
pub const ALIGNMENT_DEFAULT: u64 = 32;

#[cfg(test)]
mod tests;
