//! What can be wrong with a GGUF file, said so that the reader knows which file, where in it, and what to do.

use std::io;

/// A GGUF file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct GgufError {
    /// The file, as it was named by the caller.
    pub file: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// The ways in which a GGUF file is refused. Offsets are in bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The system refused to open or read the file.
    #[error("cannot read at byte {offset}: {reason}")]
    Read {
        /// Where the read began.
        offset: u64,
        /// The system's reason.
        reason: io::Error,
    },
    /// The first bytes are not `GGUF`.
    #[error("not a GGUF file: it begins with {}; give the path of a .gguf model", found.escape_ascii())]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The file was written for big-endian machines.
    #[error("this GGUF file is big-endian (version field {found:#010x}); convert it to little-endian")]
    BigEndian {
        /// The version field as read.
        found: u32,
    },
    /// A version that is not read.
    #[error(
        "GGUF version {found} is not supported, only 2 and 3; convert the model again with a current tool"
    )]
    Version {
        /// The version field.
        found: u32,
    },
    /// The file ends before something that it announces.
    #[error(
        "byte {offset}: {what} needs {needed} bytes but the file has {remaining} left; \
         the download is incomplete or damaged, fetch it again"
    )]
    Truncated {
        /// What was being read.
        what: String,
        /// Where it begins.
        offset: u64,
        /// Bytes that it needs at least.
        needed: u64,
        /// Bytes that are left.
        remaining: u64,
    },
    /// A count or length beyond a quota.
    #[error("byte {offset}: {what} is {found}, over the limit of {limit}; the file is damaged or hostile")]
    Quota {
        /// What is counted.
        what: String,
        /// Where the count stands.
        offset: u64,
        /// The count.
        found: u64,
        /// The quota.
        limit: u64,
    },
    /// A size that overflows 64 bits.
    #[error("byte {offset}: {what} overflows; the file is damaged or hostile")]
    Overflow {
        /// What was computed.
        what: String,
        /// Where the description stands.
        offset: u64,
    },
    /// A string that is not UTF-8.
    #[error("byte {offset}: {what} is not valid UTF-8; the file is damaged, fetch it again")]
    Utf8 {
        /// Which string.
        what: String,
        /// Where it begins.
        offset: u64,
    },
    /// A metadata type that the format does not know.
    #[error("byte {offset}: key `{key}` has the unknown value type {found}; the file is damaged or too new")]
    ValueType {
        /// The metadata key.
        key: String,
        /// Where the type stands.
        offset: u64,
        /// The type's number.
        found: u32,
    },
    /// An array within an array.
    #[error("byte {offset}: key `{key}` holds an array of arrays, which no model needs; the file is refused")]
    NestedArray {
        /// The metadata key.
        key: String,
        /// Where the element type stands.
        offset: u64,
    },
    /// A boolean that is neither 0 nor 1.
    #[error("byte {offset}: key `{key}` holds the boolean {found}, neither 0 nor 1; the file is damaged")]
    Bool {
        /// The metadata key.
        key: String,
        /// Where the byte stands.
        offset: u64,
        /// The byte.
        found: u8,
    },
    /// An empty key or tensor name.
    #[error("byte {offset}: {what} is empty; the file is damaged")]
    EmptyName {
        /// `a metadata key` or `a tensor name`.
        what: &'static str,
        /// Where it stands.
        offset: u64,
    },
    /// A metadata key that occurs twice.
    #[error("byte {offset}: key `{key}` occurs twice; the file is ambiguous and refused")]
    DuplicateKey {
        /// The metadata key.
        key: String,
        /// Where its second occurrence begins.
        offset: u64,
    },
    /// A tensor that occurs twice.
    #[error("byte {offset}: tensor `{tensor}` occurs twice; the file is ambiguous and refused")]
    DuplicateTensor {
        /// The tensor's name.
        tensor: String,
        /// Where its second description begins.
        offset: u64,
    },
    /// A `general.alignment` that is unusable.
    #[error("`general.alignment` is {found}; it must be an unsigned 32-bit power of two from 8 to 1048576")]
    Alignment {
        /// The value, in words.
        found: String,
    },
    /// A tensor without dimensions, with too many, or with an empty one.
    #[error(
        "byte {offset}: tensor `{tensor}` has the dimensions {found:?}; one to four are allowed, each at least 1"
    )]
    Dimensions {
        /// The tensor's name.
        tensor: String,
        /// Where its description begins.
        offset: u64,
        /// The dimensions read (only their number, when there are too many).
        found: Vec<u64>,
    },
    /// A tensor type that the format does not know.
    #[error("byte {offset}: tensor `{tensor}` has the unknown type {found}; the file is damaged or too new")]
    TensorType {
        /// The tensor's name.
        tensor: String,
        /// Where the type stands.
        offset: u64,
        /// The type's number.
        found: u32,
    },
    /// Rows that do not consist of whole blocks.
    #[error(
        "byte {offset}: rows of tensor `{tensor}` have {row} elements, not a multiple of the {block} of a block of \
         {tensor_type}"
    )]
    RowBlock {
        /// The tensor's name.
        tensor: String,
        /// Where its description begins.
        offset: u64,
        /// Elements of a row.
        row: u64,
        /// Elements of a block.
        block: u64,
        /// The tensor's type.
        tensor_type: &'static str,
    },
    /// Tensor data at an offset that is not aligned.
    #[error(
        "byte {offset}: tensor `{tensor}` begins at {found}, not a multiple of the alignment {alignment}"
    )]
    Unaligned {
        /// The tensor's name.
        tensor: String,
        /// Where its description begins.
        offset: u64,
        /// The data's offset within the data section.
        found: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// Two tensors that share bytes.
    #[error("tensors `{first}` and `{second}` overlap in the file; it is damaged or hostile")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The one that begins inside it.
        second: String,
    },
    /// A tensor that was asked for and is not there.
    #[error("tensor `{tensor}` is missing; the file is incomplete or of another architecture")]
    MissingTensor {
        /// The tensor's name.
        tensor: String,
    },
}
