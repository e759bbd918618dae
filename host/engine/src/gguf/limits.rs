//! The quotas of the parser: what a file may at most ask for, whatever its size.

/// Upper bounds on a GGUF file's directory. [`Limits::default`] is generous for every published model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Metadata entries.
    pub keys_max: u64,
    /// Bytes of one metadata key.
    pub key_bytes_max: u64,
    /// Bytes of one string.
    pub string_bytes_max: u64,
    /// Elements of one array.
    pub array_elements_max: u64,
    /// Bytes of the whole header, metadata and tensor directory.
    pub directory_bytes_max: u64,
    /// Tensors.
    pub tensors_max: u64,
    /// Bytes of one tensor's name.
    pub tensor_name_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keys_max: 16_384,
            key_bytes_max: 1_024,
            string_bytes_max: 16 << 20,
            array_elements_max: 16 << 20,
            directory_bytes_max: 256 << 20,
            tensors_max: 65_536,
            tensor_name_bytes_max: 256,
        }
    }
}

/// Dimensions of a tensor: one to this many.
pub(super) const DIMENSIONS_MAX: u32 = 4;
/// The smallest `general.alignment`, in bytes.
pub(super) const ALIGNMENT_BYTES_MIN: u64 = 8;
/// The largest `general.alignment`, in bytes.
pub(super) const ALIGNMENT_BYTES_MAX: u64 = 1 << 20;
